// DeviceFormat<format>: reads one piece (32 columns) of a weight row from its planes. A column is scale · q (+ min), with exactly
// the bits of the format's decoder in hip/formats.h.
#pragma once
#include "units.h"

namespace rf {

// Columns 32 p … 32 p + 31 of a row. Column i is byte i % 4 of q[i / 4]. With two scales, columns 0 … 15 use the first scale and
// min, columns 16 … 31 the second.
template <int Scales>
struct Piece {
  int32_t q[8];
  float scale[Scales];
  float min[Scales];  // unused without has_min
};

// Every block format has n_scales, has_min and load(weight, row, piece, out). This is the generic decoder, for formats whose unit
// is one piece. It subtracts the zero point from the quants. Folding it into min, as the mat-vec does, would not give the decoder's
// bits: with a negative scale it turns -0 into +0, and in f16 zero · scale can overflow.
//
// The other formats decode on their own: their units hold halves of several pieces, so a piece would load two units and use a part.
template <uint32_t Id>
struct DeviceFormat {
  static constexpr int n_scales = 1;
  static constexpr bool has_min = Unit<Id>::has_min && Unit<Id>::zero == 0;
  using Out = Piece<n_scales>;
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    static_assert(Unit<Id>::pieces == 1 && Unit<Id>::cols == kPiece);
    constexpr uint32_t elems = uint32_t(Format<Id>::elems), unit_of_block = elems / kPiece;
    typename Unit<Id>::Raw raw;
    Unit<Id>::template load<false>(w, {row * (w.cols / elems) + piece / unit_of_block, 0}, piece % unit_of_block, raw);
    if constexpr (Unit<Id>::zero > 0) {
      float folded;
      Unit<Id>::template decode<true>(raw, piece % unit_of_block, 0, out.q, out.scale[0], folded);
    } else {
      Unit<Id>::decode(raw, piece % unit_of_block, 0, out.q, out.scale[0], out.min[0]);
    }
  }
};

// What the decoders of super-blocks share.
template <uint32_t Id, int Scales, bool HasMin>
struct SuperBlocks {
  static constexpr uint32_t elems = uint32_t(Format<Id>::elems), pieces = elems / kPiece;
  static constexpr int n_scales = Scales;
  static constexpr bool has_min = HasMin;
  using Out = Piece<Scales>;
  RF_DEVICE static uint64_t block(const DeviceWeight& w, uint64_t row, uint32_t piece) {
    return row * (w.cols / elems) + piece / pieces;
  }
  template <int I>
  RF_DEVICE static const uint8_t* at(const DeviceWeight& w, uint64_t block) {
    return plane_at<Id, I>(w, block);
  }
};

RF_DEVICE void words(const uint8_t* p, uint32_t (&w)[8]) {
  const Word4 a = load<Word4>(p), b = load<Word4>(p + 16);
  w[0] = a.x, w[1] = a.y, w[2] = a.z, w[3] = a.w, w[4] = b.x, w[5] = b.y, w[6] = b.z, w[7] = b.w;
}

template <>
struct DeviceFormat<FORMAT_Q2_K> : SuperBlocks<FORMAT_Q2_K, 2, true> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    const uint32_t p = piece % pieces;
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
struct DeviceFormat<FORMAT_Q3_K> : SuperBlocks<FORMAT_Q3_K, 2, false> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    const uint32_t p = piece % pieces;
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
struct DeviceFormat<FORMAT_Q4_K> : SuperBlocks<FORMAT_Q4_K, 1, true> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    const uint32_t p = piece % pieces, odd = p % 2;
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
struct DeviceFormat<FORMAT_Q5_K> : SuperBlocks<FORMAT_Q5_K, 1, true> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    const uint32_t p = piece % pieces, odd = p % 2;
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
struct DeviceFormat<FORMAT_Q6_K> : SuperBlocks<FORMAT_Q6_K, 2, false> {
  RF_DEVICE static void load(const DeviceWeight& w, uint64_t row, uint32_t piece, Out& out) {
    const uint64_t b = block(w, row, piece);
    const uint32_t p = piece % pieces, group = p % 4;
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
// Prefetches the planes of a row at column `col`, which must begin a byte in every plane.
template <uint32_t Id>
RF_DEVICE void prefetch_blocks(const DeviceWeight& w, uint64_t row, uint32_t col) {
  constexpr PlaneTable table = FormatPlanes<Id>::table;
  RF_UNROLL for (uint32_t i = 0; i < table.n_planes; i++) {
    const uint64_t row_bytes = uint64_t(w.cols / table.elems) * table.plane[i].bytes;
    prefetch(w.plane[i] + row * row_bytes + uint64_t(col) * table.plane[i].bytes / table.elems);
  }
}

// Column i of a piece, with the bits of the format's decoder.
template <uint32_t Id>
RF_DEVICE float piece_value(const typename DeviceFormat<Id>::Out& piece, int i) {
  const int g = DeviceFormat<Id>::n_scales == 2 ? i / 16 : 0;
  const float q = float(signed_byte(uint32_t(piece.q[i / 4]) >> (8 * (i % 4))));
  // The product is exact (hip/formats.h), so contraction to a fused multiply-add does not change the result.
  return DeviceFormat<Id>::has_min ? piece.scale[g] * q + piece.min[g] : piece.scale[g] * q;
}

// Column i of a row of an unquantized weight.
template <uint32_t Id>
RF_DEVICE float plain_value(const uint8_t* row, uint32_t i) {
  if constexpr (Id == FORMAT_F32) return load<float>(row + 4 * uint64_t(i));
  const uint16_t bits = load<uint16_t>(row + 2 * uint64_t(i));
  return Id == FORMAT_F16 ? half_to_float(bits) : bfloat16_to_float(bits);
}

}  // namespace rf
