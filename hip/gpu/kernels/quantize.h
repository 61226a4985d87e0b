// Rounds activations to 16 bits, kept as two int8 for the mat-vec: x = scale · (256 · high + low), one scale a piece
// (hip/cpu/activations.h). ../args.h (ConvertArgs) documents the layout.
#pragma once
#include "platform.h"

namespace rf {

RF_DEVICE int32_t max_of(int32_t a, int32_t b) { return a < b ? b : a; }

constexpr float kActivationMax = 32512;  // 127 · 256: the greatest rounded magnitude

// Rounds one piece. in: four of its 32 activations, as bits, in each of eight neighbouring lanes. int8, info: of the row, `width`
// columns. Lanes whose piece does not exist pass exists = false and only take part in the shuffles.
RF_DEVICE void quantize_block(const Word4& in, int8_t* int8, float* info, uint32_t width, uint32_t piece, bool exists) {
  const uint32_t pieces = width / kPiece, sub = lane_id() % 8;
  const uint32_t x[4] = {in.x, in.y, in.z, in.w};
  // Magnitudes are ordered like their bits. A NaN is the greatest, so it becomes the scale and reaches the result.
  int32_t bits = 0;
  RF_UNROLL for (int i = 0; i < 4; i++) bits = max_of(bits, int32_t(x[i] & 0x7fffffffu));
  RF_UNROLL for (uint32_t mask = 1; mask < 8; mask *= 2) bits = max_of(bits, shuffle_xor(bits, mask));
  const float amax = bits_float(uint32_t(bits));
  const float inverse = amax > 1e-30f ? divide(kActivationMax, amax) : 0.0f, scale = divide(amax, kActivationMax);
  int32_t sum = 0;
  uint32_t high = 0, low = 0;
  RF_UNROLL for (int i = 0; i < 4; i++) {
    const float y = bits_float(x[i]) * inverse;
    // If amax is not finite q is arbitrary; the scale makes the result NaN or infinite.
    const int32_t q = round_to_int(y >= -kActivationMax ? y <= kActivationMax ? y : kActivationMax : -kActivationMax);
    const int32_t upper = (q + 128) >> 8;
    sum += q;
    high |= (uint32_t(upper) & 255u) << (8 * i);
    low |= (uint32_t(q - upper * 256) & 255u) << (8 * i);
  }
  RF_UNROLL for (uint32_t mask = 1; mask < 4; mask *= 2) sum += shuffle_xor(sum, mask);
  const int32_t other = shuffle_xor(sum, 4);
  if (!exists) return;
  int8 += (sub / 4) * (width / 2) + piece * 16 + (sub % 4) * 4;
  *reinterpret_cast<uint32_t*>(int8) = high;
  *reinterpret_cast<uint32_t*>(int8 + width) = low;
  // In lanes 0 … 3 `sum` is the first half's, in lanes 4 … 7 the second half's.
  if (sub < 4) info[sub * pieces + piece] = scale * float(sub == 0 ? 1 : sub == 1 ? sum + other : sub == 2 ? sum : other);
}

}  // namespace rf
