// Errors inside the library: code throws rf::Error, and abi.cpp returns it as a status and keeps its message for rf_last_error.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <string>

#include "abi.h"

namespace rf {

struct Error {
  RfStatus status;
  std::string message;
};

[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(RfStatus status, const char* format, ...);

// a · b and a + b, or an error where the result does not fit 64 bits. Sizes from files and callers are computed with these. what:
// the name of the result, for the message.
uint64_t checked_mul(uint64_t a, uint64_t b, const char* what, RfStatus status = RF_INVALID_ARGUMENT);
uint64_t checked_add(uint64_t a, uint64_t b, const char* what, RfStatus status = RF_INVALID_ARGUMENT);

}  // namespace rf
