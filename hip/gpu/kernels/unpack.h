// Bit operations that unpack quants to signed bytes, four to a word, and the packed scales of super-blocks.
#pragma once
#include "../args.h"
#include "platform.h"

#include "../planes.h"

namespace rf {

RF_DEVICE int32_t sub_bytes(uint32_t x, uint32_t zero) {  // bytes of x (below 128), each minus `zero` (at most 128)
  return int32_t((x + (0x80 - zero) * 0x01010101u) ^ 0x80808080u);
}
// Spreads four bits of x, from bit `at` on, to bit `to` of four bytes.
RF_DEVICE uint32_t spread_bits(uint32_t x, uint32_t at, uint32_t to) {
  return ((((x >> at) & 15u) * 0x00204081u) & 0x01010101u) << to;
}

// A codebook of sixteen bytes. lookup16(book, x, low, high) replaces the low and the high nibbles of four bytes by its entries.
struct Codebook {
  uint32_t word[4];
};
RF_HD constexpr uint32_t codebook_word(const int (&v)[16], int i) {
  return uint32_t(v[i] & 255) | uint32_t(v[i + 1] & 255) << 8 | uint32_t(v[i + 2] & 255) << 16 | uint32_t(v[i + 3] & 255) << 24;
}
RF_HD constexpr Codebook codebook(const int (&v)[16]) {
  return {{codebook_word(v, 0), codebook_word(v, 4), codebook_word(v, 8), codebook_word(v, 12)}};
}
#if defined(__CUDACC__)
// Four lookups by the nibbles of x's low 16 bits. PRMT selects by three bits in each half of the book; the fourth selects the half.
RF_DEVICE uint32_t lookup_nibbles(const Codebook& book, uint32_t x) {
  const uint32_t at = x & 0x7777u;
  const uint32_t low = __byte_perm(book.word[0], book.word[1], at), high = __byte_perm(book.word[2], book.word[3], at);
  return __byte_perm(low, high, 0x3210u | (x & 0x8888u) >> 1);
}
RF_DEVICE void lookup16(const Codebook& book, uint32_t x, int32_t& low, int32_t& high) {
  const uint32_t a = lookup_nibbles(book, x), b = lookup_nibbles(book, x >> 16);
  low = int32_t(__byte_perm(a, b, 0x6420u));
  high = int32_t(__byte_perm(a, b, 0x7531u));
}
#else
// Four bytes, each selected by a byte of `at`: 0 … 3 a byte of low, 4 … 7 a byte of high.
RF_DEVICE uint32_t select_bytes(uint32_t low, uint32_t high, uint32_t at) { return __builtin_amdgcn_perm(high, low, at); }
RF_DEVICE int32_t lookup_bytes(const Codebook& book, uint32_t x) {  // four lookups by the bytes of x, all below 16
  const uint32_t at = x & 0x07070707u;
  const uint32_t low = select_bytes(book.word[0], book.word[1], at), high = select_bytes(book.word[2], book.word[3], at);
  return int32_t(select_bytes(low, high, 0x03020100u | (x & 0x08080808u) >> 1));
}
RF_DEVICE void lookup16(const Codebook& book, uint32_t x, int32_t& low, int32_t& high) {
  low = lookup_bytes(book, x & 0x0f0f0f0fu);
  high = lookup_bytes(book, x >> 4 & 0x0f0f0f0fu);
}
#endif

RF_DEVICE float low_half(uint32_t x) { return half_to_float(uint16_t(x)); }
RF_DEVICE float high_half(uint32_t x) { return half_to_float(uint16_t(x >> 16)); }

// Bytes 0 and 1 of a, then of b; if `odd` bytes 2 and 3 of each.
RF_DEVICE uint32_t halves(uint32_t a, uint32_t b, bool odd) {
#if defined(__CUDACC__)
  return __byte_perm(a, b, odd ? 0x7632u : 0x5410u);
#else
  return select_bytes(a, b, odd ? 0x07060302u : 0x05040100u);
#endif
}
// Byte i of x times `by`, a finite half: exact. NVIDIA converts integers slowly, so there the byte is put into the mantissa of 2²³
// and a fused multiply-add subtracts by · 2²³.
RF_DEVICE float byte_times(uint32_t x, int i, float by) {
#if defined(__CUDACC__)
  return __builtin_fmaf(by, bits_float(__byte_perm(x, 0x4b000000u, 0x7440u + uint32_t(i))), by * -8388608.0f);
#else
  return by * float(x >> (8 * i) & 255u);
#endif
}

// Scales of pieces 2 r and 2 r + 1 of a Q4_K or Q5_K block, then their mins, one byte each, from the block's 16 header bytes
// (rf_k_scale_min). The first four pieces store six bits in a byte. The others store the low four bits in the last word, and the
// high two above the six bits of the first four pieces. All four bytes are unpacked at once.
RF_DEVICE uint32_t k_scales(const Word4& header, uint32_t r) {
  const bool odd = r & 1;
  const uint32_t bytes = halves(header.y, header.z, odd), nibbles = halves(header.w, header.w >> 4, odd);
  const uint32_t mask = r < 2 ? 0 : 0x0f0f0f0fu;
  return ((nibbles & mask) | (bytes >> (r < 2 ? 0 : 2) & ~mask)) & 0x3f3f3f3fu;
}
// Scale s (0 … 15) minus 32, from the twelve scale bytes of a Q3_K block (rf_q3_k_scale).
RF_DEVICE int32_t q3_k_scale(const uint32_t (&packed)[3], uint32_t s) {
  const uint64_t nibbles = uint64_t(packed[1]) << 32 | packed[0];  // selecting one of two array elements would put them in memory
  const uint32_t low = uint32_t(nibbles >> (8 * (s & 7) + 4 * (s >> 3)));
  return int32_t((low & 15u) | (packed[2] >> (8 * (s & 3) + 2 * (s >> 2)) & 3u) << 4) - 32;
}
// Scale s (0 … 7) minus 32, from the header words of an IQ4_XS block (rf_iq4_xs_scale).
RF_DEVICE int32_t iq4_xs_scale(uint32_t first, uint32_t second, uint32_t s) {
  return int32_t((second >> (4 * s) & 15u) | (first >> (16 + 2 * s) & 3u) << 4) - 32;
}
RF_DEVICE int32_t signed_byte(uint32_t x) { return int32_t(x << 24) >> 24; }

// Address of plane I's bytes for block `at`, counted from the start of the weight.
template <uint32_t Id, int I>
RF_DEVICE const uint8_t* plane_at(const DeviceWeight& w, uint64_t at) {
  constexpr uint32_t bytes = FormatPlanes<Id>::table.plane[I].bytes;
  return w.plane[I] + at * bytes;
}

}  // namespace rf
