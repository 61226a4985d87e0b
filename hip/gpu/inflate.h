// Decompression of the code objects inside this library (DEFLATE, RFC 1951).
#pragma once
#include <cstddef>
#include <cstdint>

namespace rf {
namespace gpu {

// Fills out[0 … size) from `n` bytes of a raw DEFLATE stream; false when the stream is damaged or is not of that size.
bool inflate(const uint8_t* data, size_t n, uint8_t* out, size_t size);

}  // namespace gpu
}  // namespace rf
