// 64-byte vectors for the kernels. The compiler splits them into the vectors of the instruction set, so the algorithms are written
// once; only what it cannot derive (dot products of bytes, half conversion, table look-up) has a path per instruction set. Compiled
// once for each isa-*.cpp, inside that file's namespace RF_ISA.
#pragma once
#include <cstdint>
#include <cstring>

// These vectors are never passed between files, so the calling convention for them does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace rf {
namespace RF_ISA {

typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));

#define RF_INLINE inline __attribute__((always_inline))

template <class V>
RF_INLINE V load(const void* p) {
  V v;
  memcpy(&v, p, sizeof v);
  return v;
}
template <class V>
RF_INLINE void store(void* p, V v) {
  memcpy(p, &v, sizeof v);
}

// Not f32x16{} + x: that is an addition, because it turns -0 into +0.
RF_INLINE f32x16 splat(float x) { return f32x16{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
RF_INLINE i32x16 splat(int32_t x) { return i32x16{} + x; }
RF_INLINE f32x16 to_float(i32x16 v) { return __builtin_convertvector(v, f32x16); }

// a · b + c, rounded once where the machine can.
RF_INLINE f32x16 madd(f32x16 a, f32x16 b, f32x16 c) {
#if defined(__AVX512F__)
  return f32x16(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
#elif defined(__FMA__)
  typedef float f32x8 __attribute__((vector_size(32)));
  f32x8 part[3][2];
  memcpy(part[0], &a, 64);
  memcpy(part[1], &b, 64);
  memcpy(part[2], &c, 64);
  for (int i = 0; i < 2; i++) part[0][i] = f32x8(_mm256_fmadd_ps(__m256(part[0][i]), __m256(part[1][i]), __m256(part[2][i])));
  memcpy(&a, part[0], 64);
  return a;
#else
  return a * b + c;
#endif
}

RF_INLINE float sum(f32x16 v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(__m512(v));
#else
  float x[16];
  store(x, v);
  for (int step = 8; step; step /= 2)
    for (int i = 0; i < step; i++) x[i] += x[i + step];
  return x[0];
#endif
}
RF_INLINE float max(f32x16 v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(__m512(v));
#else
  float x[16];
  store(x, v);
  for (int step = 8; step; step /= 2)
    for (int i = 0; i < step; i++) x[i] = x[i] < x[i + step] ? x[i + step] : x[i];
  return x[0];
#endif
}
RF_INLINE f32x16 select(i32x16 mask, f32x16 yes, f32x16 no) { return f32x16((mask & i32x16(yes)) | (~mask & i32x16(no))); }
RF_INLINE f32x16 vmax(f32x16 a, f32x16 b) { return select(a < b, b, a); }
RF_INLINE f32x16 vabs(f32x16 a) { return f32x16(i32x16(a) & 0x7fffffff); }

// The first n < 16 floats, followed by zeros.
RF_INLINE f32x16 load_part(const float* p, uint64_t n) {
  float x[16] = {};
  memcpy(x, p, n * 4);
  return load<f32x16>(x);
}
RF_INLINE void store_part(float* p, f32x16 v, uint64_t n) {
  float x[16];
  store(x, v);
  memcpy(p, x, n * 4);
}

// binary16 → binary32, exact.
RF_INLINE f32x16 from_half(u16x16 h) {
#if defined(__AVX512F__)
  return f32x16(_mm512_cvtph_ps(__m256i(h)));
#elif defined(__F16C__)
  __m256 part[2];
  __m128i in[2];
  memcpy(in, &h, 32);
  part[0] = _mm256_cvtph_ps(in[0]);
  part[1] = _mm256_cvtph_ps(in[1]);
  f32x16 out;
  memcpy(&out, part, 64);
  return out;
#else
  // Rebias by a multiplication, which also normalizes subnormals; infinities and NaNs get their exponent back.
  const u32x16 wide = __builtin_convertvector(h, u32x16);
  const u32x16 magnitude = (wide & 0x7fff) << 13;
  const f32x16 scaled = f32x16(magnitude) * splat(0x1p112f);
  const u32x16 special = magnitude | 0x7f800000;
  const i32x16 is_special = i32x16(magnitude) >= splat(int32_t(0x0f800000));
  return f32x16(u32x16(select(is_special, f32x16(special), scaled)) | (wide & 0x8000) << 16);
#endif
}

// binary32 → binary16, to nearest even, saturating at ±65504 so that a cache never holds an infinity.
RF_INLINE u16x16 to_half(f32x16 v) {
  v = select(v > 65504.0f, splat(65504.0f), select(v < -65504.0f, splat(-65504.0f), v));
#if defined(__AVX512F__)
  return u16x16(_mm512_cvtps_ph(__m512(v), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__F16C__)
  __m256 part[2];
  memcpy(part, &v, 64);
  __m128i out[2] = {_mm256_cvtps_ph(part[0], _MM_FROUND_TO_NEAREST_INT), _mm256_cvtps_ph(part[1], _MM_FROUND_TO_NEAREST_INT)};
  u16x16 h;
  memcpy(&h, out, 32);
  return h;
#else
  const u32x16 bits = u32x16(v), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  const u32x16 rounded = (magnitude + 0xfff + (magnitude >> 13 & 1) - 0x38000000) >> 13;  // normal halves
  const f32x16 shifted = f32x16(magnitude) + splat(0.5f);                                 // subnormal: the sum rounds at 2^-24
  const u32x16 small = u32x16(shifted) - 0x3f000000;
  const i32x16 is_small = i32x16(magnitude) < splat(int32_t(0x38800000));
  const i32x16 is_nan = i32x16(magnitude) > splat(int32_t(0x7f800000));
  const u32x16 finite = u32x16(select(is_small, f32x16(small), f32x16(rounded)));
  return __builtin_convertvector(u32x16(select(is_nan, f32x16(u32x16{} + 0x7e00), f32x16(finite))) | sign, u16x16);
#endif
}

// Σ of the four byte products of each 32-bit lane, added to acc: w holds unsigned bytes, a is four signed bytes for every lane.
// Exact for all inputs.
RF_INLINE i32x16 dot4(i32x16 acc, i32x16 w, int32_t a) {
#if defined(__AVX512VNNI__)
  return i32x16(_mm512_dpbusd_epi32(__m512i(acc), __m512i(w), _mm512_set1_epi32(a)));
#elif defined(__AVX2__)
  // maddubs saturates at 16 bits, so bytes go in as two nibbles: 2 · 15 · 127 fits.
  __m256i part[2], sums[2];
  memcpy(part, &w, 64);
  memcpy(sums, &acc, 64);
  const __m256i x = _mm256_set1_epi32(a), nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  for (int i = 0; i < 2; i++) {
    const __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(part[i], nibble), x);
    const __m256i high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(part[i], 4), nibble), x);
    sums[i] = _mm256_add_epi32(sums[i],
                               _mm256_add_epi32(_mm256_madd_epi16(low, ones), _mm256_slli_epi32(_mm256_madd_epi16(high, ones), 4)));
  }
  memcpy(&acc, sums, 64);
  return acc;
#else
  const u32x16 u = u32x16(w);
  acc += i32x16(u & 0xff) * int32_t(int8_t(a));
  acc += i32x16(u >> 8 & 0xff) * int32_t(int8_t(a >> 8));
  acc += i32x16(u >> 16 & 0xff) * int32_t(int8_t(a >> 16));
  return acc + i32x16(u >> 24) * (a >> 24);
#endif
}
// The same for weights known to stay below 128, which AVX2 does in half the work.
RF_INLINE i32x16 dot4_small(i32x16 acc, i32x16 w, int32_t a) {
#if defined(__AVX2__) && !defined(__AVX512VNNI__)
  __m256i part[2], sums[2];
  memcpy(part, &w, 64);
  memcpy(sums, &acc, 64);
  const __m256i x = _mm256_set1_epi32(a), ones = _mm256_set1_epi16(1);
  for (int i = 0; i < 2; i++) sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(_mm256_maddubs_epi16(part[i], x), ones));
  memcpy(&acc, sums, 64);
  return acc;
#else
  return dot4(acc, w, a);
#endif
}

// table[byte] for bytes below 16.
RF_INLINE i32x16 lookup16(const uint8_t (&table)[16], i32x16 index) {
#if defined(__AVX512BW__)
  return i32x16(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)table)), __m512i(index)));
#elif defined(__AVX2__)
  __m256i part[2];
  memcpy(part, &index, 64);
  const __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)table));
  for (int i = 0; i < 2; i++) part[i] = _mm256_shuffle_epi8(t, part[i]);
  memcpy(&index, part, 64);
  return index;
#else
  uint8_t bytes[64];
  store(bytes, index);
  for (int i = 0; i < 64; i++) bytes[i] = table[bytes[i]];
  return load<i32x16>(bytes);
#endif
}

// e^x to about 1 ulp: 2^n · e^r with |r| ≤ ln2/2, e^r by its Taylor series to the 7th power. Below -87.3 it is 0, above 88.7
// infinity.
RF_INLINE f32x16 vexp(f32x16 x) {
  const f32x16 low = splat(-87.33654f), high = splat(88.72283f);
  const f32x16 clamped = select(x < low, low, select(x > high, high, x));
  const f32x16 shifted = madd(clamped, splat(1.44269504f), splat(12582912.0f));  // 1.5 · 2^23: the integer ends up in the low bits
  const f32x16 n = shifted - splat(12582912.0f);
  f32x16 r = madd(n, splat(-0.693359375f), clamped);
  r = madd(n, splat(2.12194440e-4f), r);
  f32x16 p = splat(1.0f / 5040);
  p = madd(p, r, splat(1.0f / 720));
  p = madd(p, r, splat(1.0f / 120));
  p = madd(p, r, splat(1.0f / 24));
  p = madd(p, r, splat(1.0f / 6));
  p = madd(p, r, splat(0.5f));
  p = madd(p, r, splat(1.0f));
  p = madd(p, r, splat(1.0f));
  // Two half steps, so that n = 128 does not overflow the exponent field.
  const i32x16 exponent = i32x16(shifted) - 0x4b400000, half = exponent >> 1;
  p = p * f32x16((half + 127) << 23) * f32x16((exponent - half + 127) << 23);
  const f32x16 infinity = splat(__builtin_inff());
  p = select(x < low, splat(0.0f), select(x > high, infinity, p));
  return select(x == x, p, x);
}

RF_INLINE f32x16 silu(f32x16 x) { return x / (splat(1.0f) + vexp(-x)); }

}  // namespace RF_ISA
}  // namespace rf
