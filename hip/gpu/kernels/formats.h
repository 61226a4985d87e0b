// Reading weights on the device: 32 columns of a row at a time, from the planes of ../planes.h, as signed bytes for dot4 or for
// conversion. Every format of hip/formats.h; w = scale · q (+ min) gives exactly its decoder's bits.
#pragma once
#include "../args.h"
#include "platform.h"

#include "../planes.h"

namespace rf {

constexpr uint32_t kPiece = 32;

// Columns 32 p … 32 p + 31 of a row. Byte i % 4 of q[i / 4] belongs to column i; with two groups, columns 0 … 15 and 16 … 31 have
// their own scale and min.
template <int Groups>
struct Piece {
  int32_t q[8];
  float scale[Groups];
  float min[Groups];  // where the format has_min
};

RF_DEVICE int32_t sub_bytes(uint32_t x, uint32_t zero) {  // bytes of x below 128, less zero (at most 128)
  return int32_t((x + (0x80 - zero) * 0x01010101u) ^ 0x80808080u);
}
// Four bits of x from bit `at` on become bit `to` of four bytes.
RF_DEVICE uint32_t spread_bits(uint32_t x, uint32_t at, uint32_t to) {
  return ((((x >> at) & 15u) * 0x00204081u) & 0x01010101u) << to;
}

// The sixteen bytes of a codebook, and its values for the low and the high nibbles of four bytes.
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
// Four lookups by the nibbles of the low half of x: PRMT takes a nibble a byte, three bits choose in each half of the book.
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
RF_DEVICE uint32_t select_bytes(uint32_t low, uint32_t high, uint32_t at) {  // bytes of `at`: 0 … 3 of low, 4 … 7 of high
#if defined(RF_HOST_CHECK)
  uint32_t out = 0;
  for (int i = 0; i < 4; i++) {
    const uint32_t n = at >> (8 * i) & 7;
    out |= ((n < 4 ? low >> (8 * n) : high >> (8 * (n - 4))) & 255) << (8 * i);
  }
  return out;
#else
  return __builtin_amdgcn_perm(high, low, at);
#endif
}
RF_DEVICE int32_t lookup_bytes(const Codebook& book, uint32_t x) {  // by the bytes of x, all below 16
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

// Bytes 0 and 1 of a, then those of b; odd: bytes 2 and 3.
RF_DEVICE uint32_t halves(uint32_t a, uint32_t b, bool odd) {
#if defined(__CUDACC__)
  return __byte_perm(a, b, odd ? 0x7632u : 0x5410u);
#else
  return select_bytes(a, b, odd ? 0x07060302u : 0x05040100u);
#endif
}
// Byte i of x times `by`, which is a finite half: exact. NVIDIA converts integers at a fraction of the rate of arithmetic, so there the
// byte becomes the last of 2²³ + byte, and a fused multiply-add takes by · 2²³ off again.
RF_DEVICE float byte_times(uint32_t x, int i, float by) {
#if defined(__CUDACC__)
  return __builtin_fmaf(by, bits_float(__byte_perm(x, 0x4b000000u, 0x7440u + uint32_t(i))), by * -8388608.0f);
#else
  return by * float(x >> (8 * i) & 255u);
#endif
}

// Scales of 32-column pieces 2 r and 2 r + 1 of a Q4_K or Q5_K block, then their mins, a byte each, from its sixteen header bytes
// (rf_k_scale_min). Of the first four pieces they are the low six bits of bytes; of the others the low four come from the last word, the
// high two from the bits above the first four's. Done for all four bytes at once.
RF_DEVICE uint32_t k_scales(const Word4& header, uint32_t r) {
  const bool odd = r & 1;
  const uint32_t bytes = halves(header.y, header.z, odd), nibbles = halves(header.w, header.w >> 4, odd);
  const uint32_t mask = r < 2 ? 0 : 0x0f0f0f0fu;
  return ((nibbles & mask) | (bytes >> (r < 2 ? 0 : 2) & ~mask)) & 0x3f3f3f3fu;
}
// Scale s of sixteen, less 32, from the twelve scale bytes of Q3_K (rf_q3_k_scale).
RF_DEVICE int32_t q3_k_scale(const uint32_t (&packed)[3], uint32_t s) {
  const uint64_t nibbles = uint64_t(packed[1]) << 32 | packed[0];  // a choice between the two would put them in memory
  const uint32_t low = uint32_t(nibbles >> (8 * (s & 7) + 4 * (s >> 3)));
  return int32_t((low & 15u) | (packed[2] >> (8 * (s & 3) + 2 * (s >> 2)) & 3u) << 4) - 32;
}
// Scale s of eight, less 32, from the header words of IQ4_XS (rf_iq4_xs_scale).
RF_DEVICE int32_t iq4_xs_scale(uint32_t first, uint32_t second, uint32_t s) {
  return int32_t((second >> (4 * s) & 15u) | (first >> (16 + 2 * s) & 3u) << 4) - 32;
}
RF_DEVICE int32_t signed_byte(uint32_t x) { return int32_t(x << 24) >> 24; }

// What follows is one struct a format: groups, has_min, and load(weight, row, piece, out). Plain numbers have none.
template <uint32_t Id>
struct DeviceFormat;

// The start of plane i's bytes for block `at` (counted over the whole weight).
template <uint32_t Id, int I>
RF_DEVICE const uint8_t* plane_at(const DeviceWeight& w, uint64_t at) {
  constexpr uint32_t bytes = FormatPlanes<Id>::table.plane[I].bytes;
  return w.plane[I] + at * bytes;
}

template <uint32_t Id, int Groups, bool HasMin>
struct Blocks32 {
  static constexpr int elems = 32, groups = Groups;
  static constexpr bool has_min = HasMin;
  using Out = Piece<Groups>;
  RF_DEVICE static uint64_t block(const DeviceWeight& w, uint64_t row, uint32_t piece) { return row * (w.cols / 32) + piece; }
  template <int I>
  RF_DEVICE static const uint8_t* at(const DeviceWeight& w, uint64_t block) {
    return plane_at<Id, I>(w, block);
  }
};
template <uint32_t Id, int Groups, bool HasMin>
struct Blocks256 {
  static constexpr int elems = 256, groups = Groups;
  static constexpr bool has_min = HasMin;
  using Out = Piece<Groups>;
  RF_DEVICE static uint64_t block(const DeviceWeight& w, uint64_t row, uint32_t piece) { return row * (w.cols / 256) + piece / 8; }
  template <int I>
  RF_DEVICE static const uint8_t* at(const DeviceWeight& w, uint64_t block) {
    return plane_at<Id, I>(w, block);
  }
};

RF_DEVICE void words(const uint8_t* p, uint32_t (&w)[4]) {
  const Word4 v = load<Word4>(p);
  w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
}
RF_DEVICE void words(const uint8_t* p, uint32_t (&w)[8]) {
  const Word4 a = load<Word4>(p), b = load<Word4>(p + 16);
  w[0] = a.x, w[1] = a.y, w[2] = a.z, w[3] = a.w, w[4] = b.x, w[5] = b.y, w[6] = b.z, w[7] = b.w;
}

template <>
struct DeviceFormat<FORMAT_Q4_0> : Blocks32<FORMAT_Q4_0, 1, false> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    uint32_t x[4];
    words(at<0>(w, b), x);
    out.scale[0] = half_to_float(rf::load<uint16_t>(at<1>(w, b)));
    RF_UNROLL for (int i = 0; i < 4; i++) {
      out.q[i] = sub_bytes(x[i] & 0x0f0f0f0fu, 8);
      out.q[i + 4] = sub_bytes(x[i] >> 4 & 0x0f0f0f0fu, 8);
    }
  }
};
template <>
struct DeviceFormat<FORMAT_Q4_1> : Blocks32<FORMAT_Q4_1, 1, true> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    uint32_t x[4];
    words(at<0>(w, b), x);
    const uint32_t scales = rf::load<uint32_t>(at<1>(w, b));
    out.scale[0] = low_half(scales);
    out.min[0] = high_half(scales);
    RF_UNROLL for (int i = 0; i < 4; i++) {
      out.q[i] = int32_t(x[i] & 0x0f0f0f0fu);
      out.q[i + 4] = int32_t(x[i] >> 4 & 0x0f0f0f0fu);
    }
  }
};
template <>
struct DeviceFormat<FORMAT_Q5_0> : Blocks32<FORMAT_Q5_0, 1, false> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    uint32_t x[4];
    words(at<0>(w, b), x);
    const uint32_t high = rf::load<uint32_t>(at<1>(w, b));
    out.scale[0] = half_to_float(rf::load<uint16_t>(at<2>(w, b)));
    RF_UNROLL for (int i = 0; i < 4; i++) {
      out.q[i] = sub_bytes((x[i] & 0x0f0f0f0fu) | spread_bits(high, 4 * i, 4), 16);
      out.q[i + 4] = sub_bytes((x[i] >> 4 & 0x0f0f0f0fu) | spread_bits(high, 4 * i + 16, 4), 16);
    }
  }
};
template <>
struct DeviceFormat<FORMAT_Q5_1> : Blocks32<FORMAT_Q5_1, 1, true> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    uint32_t x[4];
    words(at<0>(w, b), x);
    const uint32_t high = rf::load<uint32_t>(at<1>(w, b)), scales = rf::load<uint32_t>(at<2>(w, b));
    out.scale[0] = low_half(scales);
    out.min[0] = high_half(scales);
    RF_UNROLL for (int i = 0; i < 4; i++) {
      out.q[i] = int32_t((x[i] & 0x0f0f0f0fu) | spread_bits(high, 4 * i, 4));
      out.q[i + 4] = int32_t((x[i] >> 4 & 0x0f0f0f0fu) | spread_bits(high, 4 * i + 16, 4));
    }
  }
};
template <>
struct DeviceFormat<FORMAT_Q8_0> : Blocks32<FORMAT_Q8_0, 1, false> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    uint32_t x[8];
    words(at<0>(w, b), x);
    out.scale[0] = half_to_float(rf::load<uint16_t>(at<1>(w, b)));
    RF_UNROLL for (int i = 0; i < 8; i++) out.q[i] = int32_t(x[i]);
  }
};
template <>
struct DeviceFormat<FORMAT_IQ4_NL> : Blocks32<FORMAT_IQ4_NL, 1, false> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    constexpr Codebook book = codebook({RF_IQ4_VALUES});
    const uint64_t b = block(w, row, piece);
    uint32_t x[4];
    words(at<0>(w, b), x);
    out.scale[0] = half_to_float(rf::load<uint16_t>(at<1>(w, b)));
    RF_UNROLL for (int i = 0; i < 4; i++) lookup16(book, x[i], out.q[i], out.q[i + 4]);
  }
};
template <>
struct DeviceFormat<FORMAT_MXFP4> : Blocks32<FORMAT_MXFP4, 1, false> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    constexpr Codebook book = codebook({RF_MXFP4_VALUES});
    const uint64_t b = block(w, row, piece);
    uint32_t x[4];
    words(at<0>(w, b), x);
    out.scale[0] = rf_e8m0_half(*at<1>(w, b));
    RF_UNROLL for (int i = 0; i < 4; i++) lookup16(book, x[i], out.q[i], out.q[i + 4]);
  }
};

template <>
struct DeviceFormat<FORMAT_Q2_K> : Blocks256<FORMAT_Q2_K, 2, true> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    const uint32_t p = piece % 8;
    uint32_t x[8];
    words(at<0>(w, b) + 32 * (p / 4), x);
    const uint32_t packed = rf::load<uint16_t>(at<1>(w, b) + 2 * p), both = rf::load<uint32_t>(at<2>(w, b));
    const float scale = low_half(both), min = -high_half(both);
    RF_UNROLL for (int g = 0; g < 2; g++) {
      out.scale[g] = scale * float(packed >> (8 * g) & 15u);
      out.min[g] = min * float(packed >> (8 * g + 4) & 15u);
    }
    RF_UNROLL for (int i = 0; i < 8; i++) out.q[i] = int32_t(x[i] >> (2 * (p % 4)) & 0x03030303u);
  }
};
template <>
struct DeviceFormat<FORMAT_Q3_K> : Blocks256<FORMAT_Q3_K, 2, false> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    const uint32_t p = piece % 8;
    uint32_t x[8], high[8], packed[3];
    words(at<0>(w, b) + 32 * (p / 4), x);
    words(at<1>(w, b), high);
    RF_UNROLL for (int i = 0; i < 3; i++) packed[i] = rf::load<uint32_t>(at<2>(w, b) + 4 * i);
    const float scale = half_to_float(rf::load<uint16_t>(at<3>(w, b)));
    RF_UNROLL for (int g = 0; g < 2; g++) out.scale[g] = scale * float(q3_k_scale(packed, 2 * p + g));
    RF_UNROLL for (int i = 0; i < 8; i++) out.q[i] =
        sub_bytes((x[i] >> (2 * (p % 4)) & 0x03030303u) | (high[i] >> p & 0x01010101u) << 2, 4);
  }
};
template <>
struct DeviceFormat<FORMAT_Q4_K> : Blocks256<FORMAT_Q4_K, 1, true> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    const uint32_t p = piece % 8, odd = p % 2;
    uint32_t x[8];
    words(at<0>(w, b) + 32 * (p / 2), x);
    const Word4 header = rf::load<Word4>(at<1>(w, b));
    const uint32_t scales = k_scales(header, p / 2) >> (8 * odd);
    out.scale[0] = byte_times(scales, 0, low_half(header.x));
    out.min[0] = byte_times(scales, 2, -high_half(header.x));
    RF_UNROLL for (int i = 0; i < 8; i++) out.q[i] = int32_t(x[i] >> (4 * odd) & 0x0f0f0f0fu);
  }
};
template <>
struct DeviceFormat<FORMAT_Q5_K> : Blocks256<FORMAT_Q5_K, 1, true> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    const uint32_t p = piece % 8, odd = p % 2;
    uint32_t x[8], high[8];
    words(at<0>(w, b) + 32 * (p / 2), x);
    words(at<1>(w, b), high);
    const Word4 header = rf::load<Word4>(at<2>(w, b));
    const uint32_t scales = k_scales(header, p / 2) >> (8 * odd);
    out.scale[0] = byte_times(scales, 0, low_half(header.x));
    out.min[0] = byte_times(scales, 2, -high_half(header.x));
    RF_UNROLL for (int i = 0; i < 8; i++) out.q[i] = int32_t((x[i] >> (4 * odd) & 0x0f0f0f0fu) | (high[i] >> p & 0x01010101u) << 4);
  }
};
template <>
struct DeviceFormat<FORMAT_Q6_K> : Blocks256<FORMAT_Q6_K, 2, false> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    const uint32_t p = piece % 8, group = p % 4;
    uint32_t x[8], high[8];
    words(at<0>(w, b) + 64 * (p / 4) + 32 * (group % 2), x);
    words(at<1>(w, b) + 32 * (p / 4), high);
    const uint32_t packed = rf::load<uint16_t>(at<2>(w, b) + 2 * p);
    const float scale = half_to_float(rf::load<uint16_t>(at<3>(w, b)));
    out.scale[0] = scale * float(signed_byte(packed));
    out.scale[1] = scale * float(signed_byte(packed >> 8));
    RF_UNROLL for (int i = 0; i < 8; i++) out.q[i] =
        sub_bytes((x[i] >> (4 * (group / 2)) & 0x0f0f0f0fu) | (high[i] >> (2 * group) & 0x03030303u) << 4, 32);
  }
};
template <>
struct DeviceFormat<FORMAT_IQ4_XS> : Blocks256<FORMAT_IQ4_XS, 1, false> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    constexpr Codebook book = codebook({RF_IQ4_VALUES});
    const uint64_t b = block(w, row, piece);
    const uint32_t p = piece % 8;
    uint32_t x[4];
    words(at<0>(w, b) + 16 * p, x);
    const uint32_t first = rf::load<uint32_t>(at<1>(w, b)), second = rf::load<uint32_t>(at<1>(w, b) + 4);
    out.scale[0] = low_half(first) * float(iq4_xs_scale(first, second, p));
    RF_UNROLL for (int i = 0; i < 4; i++) lookup16(book, x[i], out.q[i], out.q[i + 4]);
  }
};

// Asks for what `cols` columns from `col` on of a row hold, both multiples of what lies together in every plane.
template <uint32_t Id>
RF_DEVICE void prefetch_blocks(const DeviceWeight& w, uint64_t row, uint32_t col) {
  constexpr PlaneTable table = FormatPlanes<Id>::table;
  RF_UNROLL for (uint32_t i = 0; i < table.n_planes; i++) {
    const uint64_t row_bytes = uint64_t(w.cols / table.elems) * table.plane[i].bytes;
    prefetch(w.plane[i] + row * row_bytes + uint64_t(col) * table.plane[i].bytes / table.elems);
  }
}

// Column i of a piece as the decoder would give it.
template <uint32_t Id>
RF_DEVICE float piece_value(const typename DeviceFormat<Id>::Out& piece, int i) {
  const int g = DeviceFormat<Id>::groups == 2 ? i / 16 : 0;
  const float q = float(signed_byte(uint32_t(piece.q[i / 4]) >> (8 * (i % 4))));
  // Products are exact (formats.h of the CPU says why), so contraction changes nothing.
  return DeviceFormat<Id>::has_min ? piece.scale[g] * q + piece.min[g] : piece.scale[g] * q;
}

// Column i of a row of plain numbers.
template <uint32_t Id>
RF_DEVICE float plain_value(const uint8_t* row, uint32_t i) {
  if constexpr (Id == FORMAT_F32) return load<float>(row + 4 * uint64_t(i));
  const uint16_t bits = load<uint16_t>(row + 2 * uint64_t(i));
  return Id == FORMAT_F16 ? half_to_float(bits) : bfloat16_to_float(bits);
}

// The formats of numbers in blocks, and the plain ones: X(NAME).
#define RF_QUANT_FORMATS(X) \
  X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(IQ4_NL) X(MXFP4) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_XS)
#define RF_PLAIN_FORMATS(X) X(F32) X(F16) X(BF16)

}  // namespace rf
