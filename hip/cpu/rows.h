// Kernels of ops that work row by row or elementwise: each reads a row, or a stretch of elements, and writes one.
#pragma once
#include "kernels.h"
#include "vec.h"

namespace rf {
namespace RF_ISA {

// Calls body(offset, n) for kLanes elements at a time, then for the rest.
template <class Body>
RF_INLINE void for_lanes(uint64_t n, Body body) {
  uint64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, uint64_t(kLanes));
  if (i < n) body(i, n - i);
}
RF_INLINE f32x16 load_n(const float* p, uint64_t n) { return n == kLanes ? load<f32x16>(p) : load_part(p, n); }
RF_INLINE void store_n(float* p, f32x16 v, uint64_t n) {
  if (n == kLanes) store(p, v);
  else store_part(p, v, n);
}

// Zhang and Sennrich 2019: in / sqrt(mean(in²) + eps) · weight.
inline void rms_norm(const float* in, const float* weight, float eps, uint64_t width, float* out) {
  f32x16 squares = {};
  for_lanes(width, [&](uint64_t i, uint64_t n) {
    const f32x16 x = load_n(in + i, n);
    squares = madd(x, x, squares);
  });
  const float inverse = 1.0f / __builtin_sqrtf(sum(squares) / float(width) + eps);
  for_lanes(width,
            [&](uint64_t i, uint64_t n) { store_n(out + i, load_n(in + i, n) * splat(inverse) * load_n(weight + i, n), n); });
}

inline void swiglu(const float* gate, const float* up, uint64_t width, float* out) {
  for_lanes(width, [&](uint64_t i, uint64_t n) { store_n(out + i, silu(load_n(gate + i, n)) * load_n(up + i, n), n); });
}

inline void scale(const float* in, float factor, uint64_t width, float* out) {
  for_lanes(width, [&](uint64_t i, uint64_t n) { store_n(out + i, load_n(in + i, n) * splat(factor), n); });
}

inline void add(const float* a, const float* b, uint64_t width, float* out) {
  for_lanes(width, [&](uint64_t i, uint64_t n) { store_n(out + i, load_n(a + i, n) + load_n(b + i, n), n); });
}

inline int64_t argmax(const float* x, uint64_t n) {
  f32x16 best = splat(-__builtin_inff());
  i32x16 nan = {};
  for_lanes(n, [&](uint64_t i, uint64_t m) {
    f32x16 v = splat(-__builtin_inff());
    if (m == kLanes) v = load<f32x16>(x + i);
    else
      for (uint64_t j = 0; j < m; j++) v[j] = x[i + j];
    nan |= v != v;
    best = vmax(best, v);
  });
  for (uint32_t i = 0; i < kLanes; i++)
    if (nan[i]) return -1;
  const float greatest = max(best);
  for (uint64_t i = 0; i < n; i++)
    if (x[i] == greatest) return int64_t(i);
  return -1;
}

inline double exp_sum(const float* x, uint64_t n, float greatest, float factor, float* out) {
  double total = 0;
  for_lanes(n, [&](uint64_t i, uint64_t m) {
    const f32x16 e = vexp((load_n(x + i, m) - splat(greatest)) * splat(factor));
    if (out) store_n(out + i, e, m);
    float part[kLanes];
    store(part, e);
    float s = 0;
    for (uint64_t j = 0; j < m; j++) s += part[j];
    total += double(s);
  });
  return total;
}

// A row of -inf becomes zeros.
inline void softmax(const float* in, uint64_t width, float* out) {
  f32x16 best = splat(-__builtin_inff());
  for (uint64_t i = 0; i < width; i++) best[0] = best[0] < in[i] ? in[i] : best[0];
  if (best[0] == -__builtin_inff()) {
    bool nan = false;
    for (uint64_t i = 0; i < width; i++) nan |= in[i] != in[i];
    for (uint64_t i = 0; i < width; i++) out[i] = nan ? __builtin_nanf("") : 0.0f;
    return;
  }
  const double total = exp_sum(in, width, best[0], 1.0f, out);
  scale(out, float(1.0 / total), width, out);
}

// Eight streams a thread, as fast as this machine's memory gives them.
inline uint64_t read_stream(const uint8_t* data, uint64_t n_bytes) {
  constexpr uint64_t streams = 8;
  const uint64_t each = n_bytes / streams / 64 * 64;
  i32x16 total[streams] = {};
  for (uint64_t i = 0; i < each; i += 64)
    for (uint64_t s = 0; s < streams; s++) {
      const uint8_t* p = data + s * each + i;
      __builtin_prefetch(p + 1024);
      total[s] ^= load<i32x16>(p);
    }
  for (uint64_t s = 1; s < streams; s++) total[0] ^= total[s];
  uint32_t x[kLanes], result = 0;
  store(x, total[0]);
  for (uint32_t v : x) result ^= v;
  return result;
}

}  // namespace RF_ISA
}  // namespace rf
