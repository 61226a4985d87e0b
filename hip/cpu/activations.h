// Activations rounded to integers, for products with block formats; see matmul.h.
#pragma once
#include "vec.h"

namespace rf {
namespace RF_ISA {

constexpr float kActivationMax = 32512;  // 127 · 256: the greatest value of two int8 planes

struct BlockInfo {  // of 32 activations, q = 256 · high + low
  float scale;
  float sum;          // scale · Σ q
  float sum_half[2];  // the same for columns 0 … 15 and 16 … 31
  int32_t neg_sum;    // -Σ q
  int32_t neg_half[2];
  int32_t reserved;
};
struct Planes {
  int8_t high[32], low[32];
};
struct Activations {
  Planes* q;        // [rows, k/32]
  BlockInfo* info;  // [rows, k/32]
  uint64_t k;
};

RF_INLINE uint64_t align64(uint64_t n) { return (n + 63) / 64 * 64; }
RF_INLINE uint64_t activation_bytes(uint64_t rows, uint64_t k) {
  return rows * (k / 32) * sizeof(Planes) + align64(rows * (k / 32) * sizeof(BlockInfo));
}
RF_INLINE Activations activations_at(uint8_t* p, uint64_t rows, uint64_t k) {
  return {reinterpret_cast<Planes*>(p), reinterpret_cast<BlockInfo*>(p + rows * (k / 32) * sizeof(Planes)), k};
}

RF_INLINE int32_t sum16(i32x16 v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_epi32(__m512i(v));
#else
  int32_t x[16], total = 0;
  store(x, v);
  for (int i = 0; i < 16; i++) total += x[i];
  return total;
#endif
}
RF_INLINE int32_t max16(i32x16 v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_epi32(__m512i(v));
#else
  int32_t x[16];
  store(x, v);
  for (int step = 8; step; step /= 2)
    for (int i = 0; i < step; i++) x[i] = x[i] < x[i + step] ? x[i + step] : x[i];
  return x[0];
#endif
}

inline void quantize_row(const float* in, uint64_t k, Planes* q, BlockInfo* info) {
  const f32x16 magic = splat(12582912.0f);  // 1.5 · 2^23: adding it rounds to the nearest integer, ties to even
  for (uint64_t b = 0; b < k / 32; b++, in += 32, q++, info++) {
    const f32x16 x[2] = {load<f32x16>(in), load<f32x16>(in + 16)};
    const i32x16 m0 = i32x16(vabs(x[0])), m1 = i32x16(vabs(x[1]));
    // Floats without their sign compare like their bits, and a NaN is the greatest: it becomes the scale, and so reaches the
    // result.
    const int32_t bits = max16(m0 > m1 ? m0 : m1);
    float amax;
    memcpy(&amax, &bits, 4);
    const float inverse = amax > 1e-30f ? kActivationMax / amax : 0.0f;
    info->scale = amax / kActivationMax;
    for (int g = 0; g < 2; g++) {
      f32x16 y = x[g] * splat(inverse);
      y = y + magic;
      i32x16 n = i32x16(y) - 0x4b400000;
      n = n > 32512 ? i32x16{} + 32512 : n;  // clamps infinities and NaNs, which the scale then restores
      n = n < -32512 ? i32x16{} - 32512 : n;
      const i32x16 high = (n + 128) >> 8;
      store(q->high + 16 * g, __builtin_convertvector(high, i8x16));
      store(q->low + 16 * g, __builtin_convertvector(n - (high << 8), i8x16));
      info->neg_half[g] = -sum16(n);
      info->sum_half[g] = info->scale * float(-info->neg_half[g]);
    }
    info->neg_sum = info->neg_half[0] + info->neg_half[1];
    info->sum = info->scale * float(-info->neg_sum);
    info->reserved = 0;
  }
}

}  // namespace RF_ISA
}  // namespace rf
