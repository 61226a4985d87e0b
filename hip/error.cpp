#include "error.h"

#include <cstdio>

namespace rf {

void fail(RfStatus status, const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  throw Error{status, text};
}

uint64_t checked_mul(uint64_t a, uint64_t b, const char* what, RfStatus status) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) fail(status, "%s overflows 64 bits", what);
  return product;
}

uint64_t checked_add(uint64_t a, uint64_t b, const char* what, RfStatus status) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) fail(status, "%s overflows 64 bits", what);
  return sum;
}

}  // namespace rf
