// How the paged K/V cache keeps its numbers, for every backend. Plain C++17, read by the host and by the GPU kernels.
//
// A block holds 16 tokens. K and V each hold [n_blocks, n_kv_heads] tiles, and a tile the rows of its 16 tokens (of one K/V head), each of
// head_dim elements, of an RfDtype:
// - f32, f16: the elements.
// - q8_0: as ggml rounds them. Each 32 neighbouring elements of a row share an f16 scale = amax / 127, and are kept as int8 round(x / scale):
//   first the int8 of all rows, [16, head_dim], then their scales, [16, head_dim / 32]. head_dim is a multiple of 32, so that a tile has
//   17 · head_dim bytes, begins on 16 of them, and so does every row of it. A row is rounded when it is appended, by itself.
// The order within a tile is the backend's own: hip/cpu/kernels.h, hip/gpu/args.h.
#pragma once
#include <stdint.h>

#include "abi.h"

namespace rf {

constexpr uint32_t kCacheTokens = 16;  // of a block
constexpr uint32_t kCacheGroup = 32;   // elements that share a scale
constexpr float kCacheMax = 127;       // the greatest quant
// Greater magnitudes are cut off, as an f16 cache does: 127 times a scale of f16 that is still a finite f16.
constexpr float kCacheLimit = 65468.5f;

constexpr bool cache_fits(uint32_t head_dim, uint32_t dtype) { return dtype != RF_Q8_0 || head_dim % kCacheGroup == 0; }

// Bytes of `n` elements of rows that are not padded, their scales included.
constexpr uint64_t cache_bytes(uint64_t n, uint32_t dtype) {
  return dtype == RF_Q8_0 ? n + n / kCacheGroup * 2 : dtype == RF_F16 ? n * 2 : n * 4;
}

}  // namespace rf
