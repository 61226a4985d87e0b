// How the paged K/V cache stores its numbers, on every backend. Plain C++17, for the host and for the GPU kernels.
//
// A block holds RF_BLOCK_SIZE (16) tokens. K and V are [n_blocks, n_kv_heads] tiles each. A tile holds the rows of its block's
// tokens for one K/V head, head_dim elements a row, in one of the types of RfDtype:
// - f32, f16: the elements.
// - q8_0: rounded as ggml does. Each 32 neighbouring elements of a row share an f16 scale = amax / 127 and are stored as int8
//   round(x / scale): first the int8 of all rows, [16, head_dim], then their scales, [16, head_dim / 32]. head_dim is a multiple of
//   32, so a tile has 17 · head_dim bytes, and every tile and row starts at a multiple of 16 bytes. A row is rounded once, when it
//   is appended.
// The order of elements within a tile differs between backends: see hip/cpu/kernels.h and hip/gpu/args.h.
#pragma once
#include <stdint.h>

#include "abi.h"

namespace rf {

constexpr uint32_t kCacheGroup = 32;  // elements of q8_0 that share a scale
constexpr float kCacheMax = 127;      // the greatest quant
// Greater magnitudes are clamped to this, as f16 caches clamp theirs: 127 · 515.5, the greatest f16 scale whose 127-fold is a
// finite f16.
constexpr float kCacheLimit = 65468.5f;

// Whether rows of head_dim elements can be stored in that type.
constexpr bool cache_fits(uint32_t head_dim, uint32_t dtype) { return dtype != RF_Q8_0 || head_dim % kCacheGroup == 0; }

// Bytes of n elements, their scales included.
constexpr uint64_t cache_bytes(uint64_t n, uint32_t dtype) {
  return dtype == RF_Q8_0 ? n + n / kCacheGroup * 2 : dtype == RF_F16 ? n * 2 : n * 4;
}

}  // namespace rf
