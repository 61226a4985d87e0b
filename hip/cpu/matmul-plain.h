// Products of plain weights (F32, F16, BF16) and float activations; a lane holds a column.
#pragma once
#include "../formats.h"
#include "kernels.h"
#include "vec.h"

namespace rf {
namespace RF_ISA {

constexpr uint32_t kTileRows = kLanes;  // weight rows of a tile of the result, [activation rows, kTileRows]
#if defined(__AVX512F__)
constexpr int kPlainRows = 6;  // with four weight rows, 24 sums in registers
#else
constexpr int kPlainRows = 1;
#endif

template <uint32_t Id>
RF_INLINE f32x16 load_plain(const uint8_t* p) {
  if constexpr (Id == FORMAT_F32) return load<f32x16>(p);
  if constexpr (Id == FORMAT_F16) return from_half(load<u16x16>(p));
  return f32x16(__builtin_convertvector(load<u16x16>(p), u32x16) << 16);
}

// R weight rows against N activation rows; out[n · kTileRows + r].
template <uint32_t Id, int R, int N>
RF_INLINE void plain_tile(const uint8_t* w, uint64_t stride, const float* in, uint64_t k, float* out) {
  constexpr uint64_t bytes = sizeof(typename Format<Id>::Block);
  f32x16 acc[R][N] = {};
  uint64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    f32x16 weight[R];
    for (int r = 0; r < R; r++) weight[r] = load_plain<Id>(w + uint64_t(r) * stride + i * bytes);
    for (int n = 0; n < N; n++) {
      const f32x16 x = load<f32x16>(in + uint64_t(n) * k + i);
      for (int r = 0; r < R; r++) acc[r][n] = madd(weight[r], x, acc[r][n]);
    }
  }
  if (i < k)
    for (int r = 0; r < R; r++) {
      uint8_t rest[sizeof(f32x16)] = {};
      memcpy(rest, w + uint64_t(r) * stride + i * bytes, (k - i) * bytes);
      for (int n = 0; n < N; n++) acc[r][n] = madd(load_plain<Id>(rest), load_part(in + uint64_t(n) * k + i, k - i), acc[r][n]);
    }
  for (int n = 0; n < N; n++)
    for (int r = 0; r < R; r++) out[uint32_t(n) * kTileRows + uint32_t(r)] = sum(acc[r][n]);
}

// out[rows][kTileRows] for n_weights ≤ kTileRows weight rows.
template <uint32_t Id>
void plain_rows(const uint8_t* w, uint64_t stride, uint64_t n_weights, const float* in, uint64_t rows, uint64_t k, float* out) {
  uint64_t r = 0;
  for (; r + 4 <= n_weights; r += 4) {
    uint64_t t = 0;
    for (; t + kPlainRows <= rows; t += kPlainRows)
      plain_tile<Id, 4, kPlainRows>(w + r * stride, stride, in + t * k, k, out + t * kTileRows + r);
    for (; t < rows; t++) plain_tile<Id, 4, 1>(w + r * stride, stride, in + t * k, k, out + t * kTileRows + r);
  }
  for (; r < n_weights; r++)
    for (uint64_t t = 0; t < rows; t++) plain_tile<Id, 1, 1>(w + r * stride, stride, in + t * k, k, out + t * kTileRows + r);
}

}  // namespace RF_ISA
}  // namespace rf
