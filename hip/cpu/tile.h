// Unpacks 16 rows of a weight in a block format, 32 columns at a time, with a row in each lane: unsigned bytes for dot4, and a
// scale and an offset per row. Every block format has a Tile<>; the matrix product in matmul.h is written once for all of them.
#pragma once
#include "../formats.h"
#include "vec.h"

namespace rf {
namespace RF_ISA {

// lanes of out[i]: bytes 4i … 4i+3 of 16 bytes at p + lane · stride.
RF_INLINE void transpose16(const uint8_t* p, uint64_t stride, i32x16 out[4]) {
  typedef int32_t i32x4 __attribute__((vector_size(16)));
  typedef int32_t i32x8 __attribute__((vector_size(32)));
  i32x16 z[4];
  for (int j = 0; j < 4; j++) {
    const i32x4 a = load<i32x4>(p + uint64_t(j) * stride), b = load<i32x4>(p + uint64_t(j + 4) * stride);
    const i32x4 c = load<i32x4>(p + uint64_t(j + 8) * stride), d = load<i32x4>(p + uint64_t(j + 12) * stride);
    const i32x8 ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7),
                cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7);
    z[j] = __builtin_shufflevector(ab, cd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  }
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH(a, b) __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW2(a, b) __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HIGH2(a, b) __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
  const i32x16 low01 = LOW(z[0], z[1]), low23 = LOW(z[2], z[3]), high01 = HIGH(z[0], z[1]), high23 = HIGH(z[2], z[3]);
  out[0] = LOW2(low01, low23);
  out[1] = HIGH2(low01, low23);
  out[2] = LOW2(high01, high23);
  out[3] = HIGH2(high01, high23);
#undef LOW
#undef HIGH
#undef LOW2
#undef HIGH2
}

// 32 bytes a row: two transposes.
RF_INLINE void transpose32(const uint8_t* p, uint64_t stride, i32x16 out[8]) {
  transpose16(p, stride, out);
  transpose16(p + 16, stride, out + 4);
}

// Lane r: the 32-bit word at p + r · stride.
RF_INLINE i32x16 gather32(const uint8_t* p, uint64_t stride) {
  int32_t x[16];
  for (uint64_t r = 0; r < 16; r++) memcpy(&x[r], p + r * stride, 4);
  return i32x16{x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11], x[12], x[13], x[14], x[15]};
}
RF_INLINE u16x16 gather16(const uint8_t* p, uint64_t stride) {
  uint16_t x[16];
  for (uint64_t r = 0; r < 16; r++) memcpy(&x[r], p + r * stride, 2);
  return u16x16{x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11], x[12], x[13], x[14], x[15]};
}
RF_INLINE void gather_halves(const uint8_t* p, uint64_t stride, float* out) { store(out, from_half(gather16(p, stride))); }
// Two binary16 that follow one another.
RF_INLINE void gather_half_pairs(const uint8_t* p, uint64_t stride, float* first, float* second) {
  const u32x16 both = u32x16(gather32(p, stride));
  store(first, from_half(__builtin_convertvector(both & 0xffff, u16x16)));
  store(second, from_half(__builtin_convertvector(both >> 16, u16x16)));
}

RF_INLINE i32x16 nibbles(i32x16 bytes, int shift) { return (bytes >> shift) & 0x0f0f0f0f; }
RF_INLINE void nibbles32(const uint8_t* p, uint64_t stride, i32x16 w[8]) {  // byte j: elements j and j + 16
  transpose16(p, stride, w);
  for (int i = 0; i < 4; i++) {
    w[i + 4] = nibbles(w[i], 4);
    w[i] = nibbles(w[i], 0);
  }
}
// Four bits of each lane, from bit `at` on, become bit 4 of its four bytes.
RF_INLINE i32x16 fifth_bits(i32x16 bits, int at) { return (((bits >> at & 15) * 0x00204081) & 0x01010101) << 4; }

// The members of a Tile<format>:
//   subs           32-column pieces of a block
//   groups         scales for each piece: 1, or 2 of 16 columns
//   has_min        w = scale · byte + min, else w = scale · (byte - (1 << zero_shift))
//   small          all bytes are below 128
//   scales(p, stride, scale, min)   for one block of each row: scale and min, [subs · groups][16]
//   decode(p, stride, sub, w)       bytes of piece `sub`: w[i] holds columns 4i … 4i+3
template <uint32_t Id>
struct Tile;

template <int Shift, bool Small>
struct Symmetric32 {
  static constexpr int subs = 1, groups = 1, zero_shift = Shift;
  static constexpr bool has_min = false, small = Small;
  RF_INLINE static void scales(const uint8_t* p, uint64_t stride, float* scale, float*) { gather_halves(p, stride, scale); }
};
template <bool Small>
struct Offset32 {
  static constexpr int subs = 1, groups = 1, zero_shift = -1;
  static constexpr bool has_min = true, small = Small;
  RF_INLINE static void scales(const uint8_t* p, uint64_t stride, float* scale, float* min) {
    gather_half_pairs(p, stride, scale, min);
  }
};

template <>
struct Tile<FORMAT_Q4_0> : Symmetric32<3, true> {
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int, i32x16 w[8]) { nibbles32(p + 2, stride, w); }
};
template <>
struct Tile<FORMAT_Q4_1> : Offset32<true> {
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int, i32x16 w[8]) { nibbles32(p + 4, stride, w); }
};
template <int At>
RF_INLINE void decode_five_bits(const uint8_t* p, uint64_t stride, i32x16 w[8]) {
  nibbles32(p + At + 4, stride, w);
  const i32x16 high = gather32(p + At, stride);
  for (int i = 0; i < 8; i++) w[i] |= fifth_bits(high, 4 * i);
}
template <>
struct Tile<FORMAT_Q5_0> : Symmetric32<4, true> {
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int, i32x16 w[8]) { decode_five_bits<2>(p, stride, w); }
};
template <>
struct Tile<FORMAT_Q5_1> : Offset32<true> {
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int, i32x16 w[8]) { decode_five_bits<4>(p, stride, w); }
};
template <>
struct Tile<FORMAT_Q8_0> : Symmetric32<7, false> {
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int, i32x16 w[8]) {
    transpose32(p + 2, stride, w);
    for (int i = 0; i < 8; i++) w[i] ^= int32_t(0x80808080);
  }
};

// Codebooks as unsigned bytes: value + 128.
constexpr uint8_t kIq4Bytes[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};
constexpr uint8_t kMxfp4Bytes[16] = {128, 129, 130, 131, 132, 134, 136, 140, 128, 127, 126, 125, 124, 122, 120, 116};
constexpr bool codebook_matches(const uint8_t (&bytes)[16], const int8_t (&values)[16]) {
  for (int i = 0; i < 16; i++)
    if (bytes[i] != values[i] + 128) return false;
  return true;
}
static_assert(codebook_matches(kIq4Bytes, {RF_IQ4_VALUES}) && codebook_matches(kMxfp4Bytes, {RF_MXFP4_VALUES}),
              "codebooks of formats.h");

RF_INLINE void decode_codebook(const uint8_t* p, uint64_t stride, const uint8_t (&table)[16], i32x16 w[8]) {
  nibbles32(p, stride, w);
  for (int i = 0; i < 8; i++) w[i] = lookup16(table, w[i]);
}
template <>
struct Tile<FORMAT_IQ4_NL> : Symmetric32<7, false> {
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int, i32x16 w[8]) {
    decode_codebook(p + 2, stride, kIq4Bytes, w);
  }
};
template <>
struct Tile<FORMAT_MXFP4> : Symmetric32<7, false> {
  RF_INLINE static void scales(const uint8_t* p, uint64_t stride, float* scale, float*) {
    for (uint64_t r = 0; r < 16; r++) scale[r] = rf_e8m0_half(p[r * stride]);
  }
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int, i32x16 w[8]) {
    decode_codebook(p + 1, stride, kMxfp4Bytes, w);
  }
};

// Lane-wise scale · n for the sub-block scales n of a super-block.
RF_INLINE f32x16 gather_half(const uint8_t* p, uint64_t stride) { return from_half(gather16(p, stride)); }
RF_INLINE void store_scale(float* out, int sub, f32x16 scale, i32x16 n) { store(out + 16 * sub, scale * to_float(n)); }
RF_INLINE i32x16 bits(i32x16 words, int at, int mask) { return (words >> at) & mask; }

struct SuperBlock {
  static constexpr int subs = 8;
  static constexpr bool small = true;
};

// Two scales a piece: the sixteen-column sub-blocks of Q2_K, Q3_K and Q6_K.
template <>
struct Tile<FORMAT_Q2_K> : SuperBlock {
  static constexpr int groups = 2, zero_shift = -1;
  static constexpr bool has_min = true;
  static void scales(const uint8_t* p, uint64_t stride, float* scale, float* min) {
    const f32x16 d = gather_half(p + offsetof(BlockQ2_K, scale), stride), m = -gather_half(p + offsetof(BlockQ2_K, min), stride);
    i32x16 packed[4];
    transpose16(p + offsetof(BlockQ2_K, scales), stride, packed);
    for (int s = 0; s < 16; s++) {
      store_scale(scale, s, d, bits(packed[s / 4], 8 * (s % 4), 15));
      store_scale(min, s, m, bits(packed[s / 4], 8 * (s % 4) + 4, 15));
    }
  }
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int sub, i32x16 w[8]) {
    transpose32(p + offsetof(BlockQ2_K, quants) + 32 * (sub / 4), stride, w);
    for (int i = 0; i < 8; i++) w[i] = (w[i] >> (2 * (sub % 4))) & 0x03030303;
  }
};
template <>
struct Tile<FORMAT_Q3_K> : SuperBlock {
  static constexpr int groups = 2, zero_shift = 2;
  static constexpr bool has_min = false;
  static void scales(const uint8_t* p, uint64_t stride, float* scale, float*) {
    const f32x16 d = gather_half(p + offsetof(BlockQ3_K, scale), stride);
    const uint8_t* packed = p + offsetof(BlockQ3_K, scales);  // see rf_q3_k_scale
    const i32x16 low[2] = {gather32(packed, stride), gather32(packed + 4, stride)}, top = gather32(packed + 8, stride);
    for (int s = 0; s < 16; s++)
      store_scale(scale, s, d,
                  (bits(low[s / 4 % 2], 8 * (s % 4) + 4 * (s / 8), 15) | bits(top, 8 * (s % 4) + 2 * (s / 4), 3) << 4) - 32);
  }
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int sub, i32x16 w[8]) {
    i32x16 high[8];
    transpose32(p + offsetof(BlockQ3_K, quants) + 32 * (sub / 4), stride, w);
    transpose32(p + offsetof(BlockQ3_K, high_bits), stride, high);
    for (int i = 0; i < 8; i++) w[i] = ((w[i] >> (2 * (sub % 4))) & 0x03030303) | ((high[i] >> sub) & 0x01010101) << 2;
  }
};
template <>
struct Tile<FORMAT_Q6_K> : SuperBlock {
  static constexpr int groups = 2, zero_shift = 5;
  static constexpr bool has_min = false;
  static void scales(const uint8_t* p, uint64_t stride, float* scale, float*) {
    const f32x16 d = gather_half(p + offsetof(BlockQ6_K, scale), stride);
    i32x16 packed[4];
    transpose16(p + offsetof(BlockQ6_K, scales), stride, packed);
    for (int s = 0; s < 16; s++) store_scale(scale, s, d, (packed[s / 4] << (24 - 8 * (s % 4))) >> 24);
  }
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int sub, i32x16 w[8]) {
    const int half = sub / 4, group = sub % 4;
    i32x16 high[8];
    transpose32(p + 64 * half + 32 * (group % 2), stride, w);
    transpose32(p + offsetof(BlockQ6_K, high_bits) + 32 * half, stride, high);
    for (int i = 0; i < 8; i++) w[i] = nibbles(w[i], 4 * (group / 2)) | ((high[i] >> (2 * group)) & 0x03030303) << 4;
  }
};

// Q4_K and Q5_K share their eight scales and mins.
template <class Block>
RF_INLINE void k_scales(const uint8_t* p, uint64_t stride, float* scale, float* min) {
  const f32x16 d = gather_half(p + offsetof(Block, scale), stride), m = -gather_half(p + offsetof(Block, min), stride);
  const uint8_t* packed = p + offsetof(Block, scales);  // see rf_k_scale_min
  const i32x16 a = gather32(packed, stride), b = gather32(packed + 4, stride), c = gather32(packed + 8, stride);
  for (int s = 0; s < 4; s++) {
    const int at = 8 * s;
    store_scale(scale, s, d, bits(a, at, 63));
    store_scale(min, s, m, bits(b, at, 63));
    store_scale(scale, s + 4, d, bits(c, at, 15) | bits(a, at + 6, 3) << 4);
    store_scale(min, s + 4, m, bits(c, at + 4, 15) | bits(b, at + 6, 3) << 4);
  }
}
template <>
struct Tile<FORMAT_Q4_K> : SuperBlock {
  static constexpr int groups = 1, zero_shift = -1;
  static constexpr bool has_min = true;
  static void scales(const uint8_t* p, uint64_t stride, float* scale, float* min) { k_scales<BlockQ4_K>(p, stride, scale, min); }
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int sub, i32x16 w[8]) {
    transpose32(p + offsetof(BlockQ4_K, quants) + 32 * (sub / 2), stride, w);
    for (int i = 0; i < 8; i++) w[i] = nibbles(w[i], 4 * (sub % 2));
  }
};
template <>
struct Tile<FORMAT_Q5_K> : SuperBlock {
  static constexpr int groups = 1, zero_shift = -1;
  static constexpr bool has_min = true;
  static void scales(const uint8_t* p, uint64_t stride, float* scale, float* min) { k_scales<BlockQ5_K>(p, stride, scale, min); }
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int sub, i32x16 w[8]) {
    i32x16 high[8];
    transpose32(p + offsetof(BlockQ5_K, quants) + 32 * (sub / 2), stride, w);
    transpose32(p + offsetof(BlockQ5_K, high_bits), stride, high);
    for (int i = 0; i < 8; i++) w[i] = nibbles(w[i], 4 * (sub % 2)) | ((high[i] >> sub) & 0x01010101) << 4;
  }
};
template <>
struct Tile<FORMAT_IQ4_XS> {
  static constexpr int subs = 8, groups = 1, zero_shift = 7;
  static constexpr bool has_min = false, small = false;
  static void scales(const uint8_t* p, uint64_t stride, float* scale, float*) {
    const f32x16 d = gather_half(p + offsetof(BlockIQ4_XS, scale), stride);
    const i32x16 high = i32x16(__builtin_convertvector(gather16(p + offsetof(BlockIQ4_XS, scales_high), stride), u32x16));
    const i32x16 low = gather32(p + offsetof(BlockIQ4_XS, scales_low), stride);
    for (int s = 0; s < 8; s++) store_scale(scale, s, d, (bits(low, 4 * s, 15) | bits(high, 2 * s, 3) << 4) - 32);
  }
  RF_INLINE static void decode(const uint8_t* p, uint64_t stride, int sub, i32x16 w[8]) {
    decode_codebook(p + offsetof(BlockIQ4_XS, quants) + 16 * sub, stride, kIq4Bytes, w);
  }
};

}  // namespace RF_ISA
}  // namespace rf
