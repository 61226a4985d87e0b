// How native code refuses: it throws rf::Error inside the library, and abi.cpp turns that into a status and a sentence.
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

// a · b and a + b, or an error when they do not fit: no size that comes from a file or a caller is used unchecked.
uint64_t checked_mul(uint64_t a, uint64_t b, const char* what, RfStatus status = RF_INVALID_ARGUMENT);
uint64_t checked_add(uint64_t a, uint64_t b, const char* what, RfStatus status = RF_INVALID_ARGUMENT);

}  // namespace rf
