// Unit<format>: what a lane of the mat-vec loads of a weight row at once, 16 bytes of quants (32 of Q8_0), and how to decode it.
//
//   load(weight, row, u, raw)         loads unit u of a row
//   decode(raw, u, j, q, scale, min)  the quants that the unit holds of its j-th piece: 4 · words columns with one scale
//   decode<true>(…)                   the same with the zero point subtracted from the quants; ignore min
//
// With eight words a unit is one whole piece. With four words it holds half of each of several pieces, because super-blocks
// interleave pieces: unit u holds half u % 2 of pieces pieces · (u / 2) + j. A column is scale · q + min. Quants that a format
// stores with a zero point stay unsigned, which saves an instruction, and min = -zero · scale.
#pragma once
#include "unpack.h"

namespace rf {

template <uint32_t Id>
struct Unit;

// Start of a row, in blocks: a 64-bit base that a subgroup shares plus a 32-bit offset of the row, so that each load adds only a
// 32-bit offset to an address.
struct RowAt {
  uint64_t base;
  uint32_t own;
};

template <uint32_t Id, int Pieces, int Words, int Zero, bool HasMin>
struct UnitOf {
  static constexpr int pieces = Pieces, words = Words;
  static constexpr uint32_t zero = Zero;  // zero point of the stored quants; 0: none
  static constexpr bool has_min = HasMin;
  static constexpr uint32_t cols = Pieces * Words * 4;
  template <int I>
  RF_DEVICE static const uint8_t* at(const DeviceWeight& w, const RowAt& row, uint32_t offset) {
    return plane_at<Id, I>(w, row.base) + (row.own * FormatPlanes<Id>::table.plane[I].bytes + offset);
  }
};

RF_DEVICE uint32_t nibbles(uint32_t x, int half) { return x >> (4 * half) & 0x0f0f0f0fu; }
RF_DEVICE void set4(int32_t* q, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  q[0] = int32_t(a), q[1] = int32_t(b), q[2] = int32_t(c), q[3] = int32_t(d);
}
template <uint32_t Zero>
RF_DEVICE int32_t centred(uint32_t x) {  // bytes of x, less Zero
  return Zero ? sub_bytes(x, Zero) : int32_t(x);
}
// 32 quants from 16 bytes: the low nibbles, then the high ones, with their fifth bits from `high` if given.
template <uint32_t Zero = 0>
RF_DEVICE void nibbles32(const Word4& x, int32_t* q) {
  const uint32_t word[4] = {x.x, x.y, x.z, x.w};
  RF_UNROLL for (int i = 0; i < 4; i++) {
    q[i] = centred<Zero>(nibbles(word[i], 0));
    q[i + 4] = centred<Zero>(nibbles(word[i], 1));
  }
}
template <uint32_t Zero = 0>
RF_DEVICE void nibbles32(const Word4& x, uint32_t high, int32_t* q) {
  const uint32_t word[4] = {x.x, x.y, x.z, x.w};
  RF_UNROLL for (int i = 0; i < 8; i++) q[i] = centred<Zero>(nibbles(word[i % 4], i / 4) | spread_bits(high, 4 * i, 4));
}
RF_DEVICE void lookup32(const Codebook& book, const Word4& x, int32_t* q) {
  lookup16(book, x.x, q[0], q[4]);
  lookup16(book, x.y, q[1], q[5]);
  lookup16(book, x.z, q[2], q[6]);
  lookup16(book, x.w, q[3], q[7]);
}
// Of every byte of x: the bits from `at` on under `mask`, shifted left by `to`.
RF_DEVICE uint32_t bits_up(uint32_t x, uint32_t at, uint32_t mask, int to) { return (x >> at & mask * 0x01010101u) << to; }

// Selects by value. A choice between two lvalues would select an address and force the words into memory.
RF_DEVICE uint32_t pick(bool second, uint32_t a, uint32_t b) { return second ? b : a; }
RF_DEVICE Word4 pick(bool second, Word4 a, Word4 b) {
  return {pick(second, a.x, b.x), pick(second, a.y, b.y), pick(second, a.z, b.z), pick(second, a.w, b.w)};
}

template <>
struct Unit<FORMAT_Q4_0> : UnitOf<FORMAT_Q4_0, 1, 8, 8, true> {
  struct Raw {
    Word4 q;
    uint16_t scale;
  };
  template <bool Stream = true>
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    raw.q = load_if<Stream, Word4>(at<0>(w, row, u * 16));
    raw.scale = load_if<Stream, uint16_t>(at<1>(w, row, u * 2));
  }
  template <bool Signed = false>
  RF_DEVICE static void decode(const Raw& raw, uint32_t, int, int32_t (&q)[8], float& scale, float& min) {
    scale = half_to_float(raw.scale);
    min = -float(zero) * scale;
    nibbles32<Signed ? zero : 0>(raw.q, q);
  }
};
template <>
struct Unit<FORMAT_Q4_1> : UnitOf<FORMAT_Q4_1, 1, 8, 0, true> {
  struct Raw {
    Word4 q;
    uint32_t scales;
  };
  template <bool Stream = true>
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    raw.q = load_if<Stream, Word4>(at<0>(w, row, u * 16));
    raw.scales = load_if<Stream, uint32_t>(at<1>(w, row, u * 4));
  }
  RF_DEVICE static void decode(const Raw& raw, uint32_t, int, int32_t (&q)[8], float& scale, float& min) {
    scale = low_half(raw.scales);
    min = high_half(raw.scales);
    nibbles32(raw.q, q);
  }
};
template <>
struct Unit<FORMAT_Q5_0> : UnitOf<FORMAT_Q5_0, 1, 8, 16, true> {
  struct Raw {
    Word4 q;
    uint32_t high;
    uint16_t scale;
  };
  template <bool Stream = true>
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    raw.q = load_if<Stream, Word4>(at<0>(w, row, u * 16));
    raw.high = load_if<Stream, uint32_t>(at<1>(w, row, u * 4));
    raw.scale = load_if<Stream, uint16_t>(at<2>(w, row, u * 2));
  }
  template <bool Signed = false>
  RF_DEVICE static void decode(const Raw& raw, uint32_t, int, int32_t (&q)[8], float& scale, float& min) {
    scale = half_to_float(raw.scale);
    min = -float(zero) * scale;
    nibbles32<Signed ? zero : 0>(raw.q, raw.high, q);
  }
};
template <>
struct Unit<FORMAT_Q5_1> : UnitOf<FORMAT_Q5_1, 1, 8, 0, true> {
  struct Raw {
    Word4 q;
    uint32_t high, scales;
  };
  template <bool Stream = true>
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    raw.q = load_if<Stream, Word4>(at<0>(w, row, u * 16));
    raw.high = load_if<Stream, uint32_t>(at<1>(w, row, u * 4));
    raw.scales = load_if<Stream, uint32_t>(at<2>(w, row, u * 4));
  }
  RF_DEVICE static void decode(const Raw& raw, uint32_t, int, int32_t (&q)[8], float& scale, float& min) {
    scale = low_half(raw.scales);
    min = high_half(raw.scales);
    nibbles32(raw.q, raw.high, q);
  }
};
template <>
struct Unit<FORMAT_Q8_0> : UnitOf<FORMAT_Q8_0, 1, 8, 0, false> {
  struct Raw {
    Word4 first, second;
    uint16_t scale;
  };
  template <bool Stream = true>
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    raw.first = load_if<Stream, Word4>(at<0>(w, row, u * 32));
    raw.second = load_if<Stream, Word4>(at<0>(w, row, u * 32) + 16);
    raw.scale = load_if<Stream, uint16_t>(at<1>(w, row, u * 2));
  }
  RF_DEVICE static void decode(const Raw& raw, uint32_t, int, int32_t (&q)[8], float& scale, float&) {
    scale = half_to_float(raw.scale);
    set4(q, raw.first.x, raw.first.y, raw.first.z, raw.first.w);
    set4(q + 4, raw.second.x, raw.second.y, raw.second.z, raw.second.w);
  }
};
template <>
struct Unit<FORMAT_IQ4_NL> : UnitOf<FORMAT_IQ4_NL, 1, 8, 0, false> {
  struct Raw {
    Word4 q;
    uint16_t scale;
  };
  template <bool Stream = true>
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    raw.q = load_if<Stream, Word4>(at<0>(w, row, u * 16));
    raw.scale = load_if<Stream, uint16_t>(at<1>(w, row, u * 2));
  }
  RF_DEVICE static void decode(const Raw& raw, uint32_t, int, int32_t (&q)[8], float& scale, float&) {
    scale = half_to_float(raw.scale);
    constexpr Codebook book = codebook({RF_IQ4_VALUES});
    lookup32(book, raw.q, q);
  }
};
template <>
struct Unit<FORMAT_MXFP4> : UnitOf<FORMAT_MXFP4, 1, 8, 0, false> {
  struct Raw {
    Word4 q;
    uint8_t exponent;
  };
  template <bool Stream = true>
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    raw.q = load_if<Stream, Word4>(at<0>(w, row, u * 16));
    raw.exponent = load_if<Stream, uint8_t>(at<1>(w, row, u));
  }
  RF_DEVICE static void decode(const Raw& raw, uint32_t, int, int32_t (&q)[8], float& scale, float&) {
    scale = rf_e8m0_half(raw.exponent);
    constexpr Codebook book = codebook({RF_MXFP4_VALUES});
    lookup32(book, raw.q, q);
  }
};
template <>
struct Unit<FORMAT_IQ4_XS> : UnitOf<FORMAT_IQ4_XS, 1, 8, 0, false> {
  struct Raw {
    Word4 q;
    Word2 header;
  };
  template <bool Stream = true>
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    raw.q = load_if<Stream, Word4>(at<0>(w, row, u * 16));
    raw.header = rf::load<Word2>(at<1>(w, row, u / 8 * 8));
  }
  RF_DEVICE static void decode(const Raw& raw, uint32_t u, int, int32_t (&q)[8], float& scale, float&) {
    scale = low_half(raw.header.x) * float(iq4_xs_scale(raw.header.x, raw.header.y, u % 8));
    constexpr Codebook book = codebook({RF_IQ4_VALUES});
    lookup32(book, raw.q, q);
  }
};

template <>
struct Unit<FORMAT_Q4_K> : UnitOf<FORMAT_Q4_K, 2, 4, 0, true> {
  struct Raw {
    Word4 q, header;
  };
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    raw.q = load_stream<Word4>(at<0>(w, row, u * 16));
    raw.header = rf::load<Word4>(at<1>(w, row, u / 8 * 16));
  }
  RF_DEVICE static void decode(const Raw& raw, uint32_t u, int j, int32_t (&q)[4], float& scale, float& min) {
    set4(q, nibbles(raw.q.x, j), nibbles(raw.q.y, j), nibbles(raw.q.z, j), nibbles(raw.q.w, j));
    const uint32_t scales = k_scales(raw.header, u / 2 % 4);
    scale = byte_times(scales, j, low_half(raw.header.x));
    min = byte_times(scales, 2 + j, -high_half(raw.header.x));
  }
};
template <>
struct Unit<FORMAT_Q5_K> : UnitOf<FORMAT_Q5_K, 2, 4, 0, true> {
  struct Raw {
    Word4 q, high, header;
  };
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    raw.q = load_stream<Word4>(at<0>(w, row, u * 16));
    raw.high = rf::load<Word4>(at<1>(w, row, u / 8 * 32 + u % 2 * 16));
    raw.header = rf::load<Word4>(at<2>(w, row, u / 8 * 16));
  }
  RF_DEVICE static void decode(const Raw& raw, uint32_t u, int j, int32_t (&q)[4], float& scale, float& min) {
    const uint32_t r = u / 2 % 4, bit = 2 * r + uint32_t(j);
    set4(q, nibbles(raw.q.x, j) | bits_up(raw.high.x, bit, 1, 4), nibbles(raw.q.y, j) | bits_up(raw.high.y, bit, 1, 4),
         nibbles(raw.q.z, j) | bits_up(raw.high.z, bit, 1, 4), nibbles(raw.q.w, j) | bits_up(raw.high.w, bit, 1, 4));
    const uint32_t scales = k_scales(raw.header, r);
    scale = byte_times(scales, j, low_half(raw.header.x));
    min = byte_times(scales, 2 + j, -high_half(raw.header.x));
  }
};
template <>
struct Unit<FORMAT_Q2_K> : UnitOf<FORMAT_Q2_K, 4, 4, 0, true> {
  struct Raw {
    Word4 q;
    Word2 scales;   // of the eight sub-blocks of this half of the super-block
    uint32_t both;  // scale and min of the super-block
  };
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    raw.q = load_stream<Word4>(at<0>(w, row, u * 16));
    raw.scales = rf::load<Word2>(at<1>(w, row, u / 2 * 8));
    raw.both = rf::load<uint32_t>(at<2>(w, row, u / 4 * 4));
  }
  RF_DEVICE static void decode(const Raw& raw, uint32_t u, int j, int32_t (&q)[4], float& scale, float& min) {
    constexpr uint32_t two = 0x03030303u;
    set4(q, raw.q.x >> (2 * j) & two, raw.q.y >> (2 * j) & two, raw.q.z >> (2 * j) & two, raw.q.w >> (2 * j) & two);
    const uint32_t packed = pick(j >= 2, raw.scales.x, raw.scales.y) >> (16 * (j % 2) + 8 * (u % 2));
    scale = low_half(raw.both) * float(packed & 15u);
    min = -high_half(raw.both) * float(packed >> 4 & 15u);
  }
};
template <>
struct Unit<FORMAT_Q3_K> : UnitOf<FORMAT_Q3_K, 4, 4, 4, true> {
  struct Raw {
    Word4 q, high;
    uint32_t scales[3];
    uint16_t scale;
  };
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    raw.q = load_stream<Word4>(at<0>(w, row, u * 16));
    raw.high = rf::load<Word4>(at<1>(w, row, u / 4 * 32 + u % 2 * 16));
    RF_UNROLL for (int i = 0; i < 3; i++) raw.scales[i] = rf::load<uint32_t>(at<2>(w, row, u / 4 * 12 + 4 * i));
    raw.scale = rf::load<uint16_t>(at<3>(w, row, u / 4 * 2));
  }
  RF_DEVICE static void decode(const Raw& raw, uint32_t u, int j, int32_t (&q)[4], float& scale, float& min) {
    constexpr uint32_t two = 0x03030303u;
    const uint32_t half = u / 2 % 2, bit = 4 * half + uint32_t(j);
    set4(q, (raw.q.x >> (2 * j) & two) | bits_up(raw.high.x, bit, 1, 2),
         (raw.q.y >> (2 * j) & two) | bits_up(raw.high.y, bit, 1, 2), (raw.q.z >> (2 * j) & two) | bits_up(raw.high.z, bit, 1, 2),
         (raw.q.w >> (2 * j) & two) | bits_up(raw.high.w, bit, 1, 2));
    // q3_k_scale for sub-block 8 · half + 2 j + u % 2, simplified.
    const uint32_t at = 16 * uint32_t(j % 2) + 8 * (u % 2);
    const uint32_t low = pick(j >= 2, raw.scales[0], raw.scales[1]) >> (at + 4 * half),
                   top = raw.scales[2] >> (at + 4 * half + 2 * uint32_t(j / 2));
    scale = half_to_float(raw.scale) * float(int32_t((low & 15u) | (top & 3u) << 4) - 32);
    min = -float(zero) * scale;
  }
};
template <>
struct Unit<FORMAT_Q6_K> : UnitOf<FORMAT_Q6_K, 4, 4, 32, true> {
  struct Raw {
    Word4 low[2], high;
    Word2 scales;  // of the eight sub-blocks of this half of the super-block
    uint16_t scale;
  };
  RF_DEVICE static void load(const DeviceWeight& w, const RowAt& row, uint32_t u, Raw& raw) {
    const uint8_t* low = at<0>(w, row, u / 2 * 64 + u % 2 * 16);
    raw.low[0] = load_stream<Word4>(low);
    raw.low[1] = load_stream<Word4>(low + 32);
    raw.high = load_stream<Word4>(at<1>(w, row, u * 16));
    raw.scales = rf::load<Word2>(at<2>(w, row, u / 2 * 8));
    raw.scale = rf::load<uint16_t>(at<3>(w, row, u / 4 * 2));
  }
  RF_DEVICE static void decode(const Raw& raw, uint32_t u, int j, int32_t (&q)[4], float& scale, float& min) {
    const Word4 low = pick(j % 2, raw.low[0], raw.low[1]);
    const uint32_t at = 2 * uint32_t(j);
    set4(q, nibbles(low.x, j / 2) | bits_up(raw.high.x, at, 3, 4), nibbles(low.y, j / 2) | bits_up(raw.high.y, at, 3, 4),
         nibbles(low.z, j / 2) | bits_up(raw.high.z, at, 3, 4), nibbles(low.w, j / 2) | bits_up(raw.high.w, at, 3, 4));
    const uint32_t packed = pick(j >= 2, raw.scales.x, raw.scales.y) >> (16 * (j % 2) + 8 * (u % 2));
    scale = half_to_float(raw.scale) * float(signed_byte(packed));
    min = -float(zero) * scale;
  }
};

}  // namespace rf
