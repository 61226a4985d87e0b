// rf_matmul_FORMAT_HALF_TILE and rf_matmul_swiglu_FORMAT_HALF_TILE: products of more than eight rows on the matrix units. Weights
// are dequantized when they are stored to shared memory. args.h documents the launch; matmul-f16.hip and matmul-bf16.hip
// instantiate them.
#pragma once
#include "matmul-tile.h"

#if defined(__CUDACC__)
#define RF_MATMUL_SHARED(T) extern __shared__ uint4 shared[]
#else
#define RF_MATMUL_SHARED(T) RF_SHARED rf::Word4 shared[rf::TileShape<rf::T>::shared_bytes / 16]
#endif
#define RF_MATMUL(prefix, NAME, half, Half, tile, T, swiglu)                                       \
  RF_KERNEL_RESIDENT(rf::kBlock, 2) prefix##_##NAME##_##half##_##tile(rf::MatmulArgs a) {          \
    RF_MATMUL_SHARED(T);                                                                           \
    rf::matmul<rf::FORMAT_##NAME, rf::Half, rf::T, swiglu>(a, reinterpret_cast<uint8_t*>(shared)); \
  }
#define RF_MATMUL_TILES(NAME, half, Half)                             \
  RF_MATMUL(rf_matmul, NAME, half, Half, t128, WideTile, false)       \
  RF_MATMUL(rf_matmul, NAME, half, Half, t32, NarrowTile, false)      \
  RF_MATMUL(rf_matmul_swiglu, NAME, half, Half, t128, WideTile, true) \
  RF_MATMUL(rf_matmul_swiglu, NAME, half, Half, t32, NarrowTile, true)
