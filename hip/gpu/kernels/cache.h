// Addresses in the paged K/V cache, and rounding to and from its q8_0 (../../cache.h).
#pragma once
#include "../../cache.h"
#include "step.h"

namespace rf {

// Start of row `slot` (of RF_BLOCK_SIZE) of a tile, in elements. For q8_0 in bytes: an element is one byte, and every tile before
// adds the bytes of its scales, as many as one row has elements.
RF_DEVICE uint64_t cache_row(uint64_t tile, uint32_t slot, uint32_t head_dim, bool quantized) {
  return (tile * RF_BLOCK_SIZE + slot + (quantized ? tile : 0)) * head_dim;
}
// q8_0: bytes from a row's start to its scales, which lie after all rows of the tile and after the scales of earlier rows.
RF_DEVICE uint32_t cache_scales(uint32_t slot, uint32_t head_dim) {
  return RF_BLOCK_SIZE * head_dim - slot * (head_dim - head_dim / kCacheGroup * 2);
}
static_assert(cache_bytes(RF_BLOCK_SIZE * 32, RF_Q8_0) == (RF_BLOCK_SIZE + 1) * 32, "the scales of a tile are as long as one row");

// Rounds 32 neighbouring elements, one in each lane of a subgroup, and stores this lane's at row + d. All lanes must call it.
RF_DEVICE void store_quantized(uint8_t* row, uint32_t scales, uint32_t d, float x, bool on) {
  // Magnitudes are ordered like their bits. A NaN is the greatest, so it becomes the scale.
  int32_t bits = int32_t(float_bits(x) & 0x7fffffffu);
  RF_UNROLL for (uint32_t mask = 16; mask; mask /= 2) {
    const int32_t other = shuffle_xor(bits, mask);
    bits = bits < other ? other : bits;
  }
  float amax = bits_float(uint32_t(bits));
  if (amax > kCacheLimit) amax = kCacheLimit;
  const float scale = divide(amax, kCacheMax), inverse = amax > 1e-30f ? divide(1.0f, scale) : 0.0f;
  const float y = multiply(x, inverse);
  const int32_t q = round_to_int(y >= -kCacheMax ? y <= kCacheMax ? y : kCacheMax : -kCacheMax);
  if (!on) return;
  row[d] = uint8_t(q);
  if (d % kCacheGroup == 0) *reinterpret_cast<uint16_t*>(row + scales + d / kCacheGroup * 2) = float_to_half(scale);
}

// Eight quants (bytes of low and high) times their scale (f16), as halves.
RF_DEVICE Word4 eight_halves(uint32_t low, uint32_t high, uint32_t scale) {
  const uint32_t both = scale | scale << 16;
  return {multiply_halves(bytes_to_halves(low, 0), both), multiply_halves(bytes_to_halves(low, 1), both),
          multiply_halves(bytes_to_halves(high, 0), both), multiply_halves(bytes_to_halves(high, 1), both)};
}

}  // namespace rf
