// Plain numbers, eight columns a lane.
#pragma once
#include "formats.h"

namespace rf {

// Unit u of a row of k weights that begins at a multiple of 16 bytes.
template <uint32_t Id>
struct PlainUnit {
  static constexpr int n_words = Id == FORMAT_F32 ? 8 : 4;
  uint32_t word[n_words];

  template <bool Whole>
  RF_DEVICE void load(const uint8_t* row, uint32_t u, uint32_t k) {
    const uint8_t* p = row + uint64_t(u) * (4 * n_words);
    if constexpr (Whole) {
      load_words(p);
    } else if (8 * u + 8 <= k) {
      load_words(p);
    } else {
      RF_UNROLL for (int i = 0; i < n_words; i++) word[i] = 0;
      RF_UNROLL for (int i = 0; i < 8; i++) {
        if (8 * u + uint32_t(i) >= k) continue;
        if constexpr (Id == FORMAT_F32) word[i] = rf::load<uint32_t>(p + 4 * i);
        else word[i / 2] |= uint32_t(rf::load<uint16_t>(p + 2 * i)) << (16 * (i % 2));
      }
    }
  }
  RF_DEVICE void load_words(const uint8_t* p) {
    RF_UNROLL for (int i = 0; i < n_words / 4; i++) {
      const Word4 v = load_stream<Word4>(p + 16 * i);
      word[4 * i] = v.x, word[4 * i + 1] = v.y, word[4 * i + 2] = v.z, word[4 * i + 3] = v.w;
    }
  }
  RF_DEVICE float value(int i) const {
    if constexpr (Id == FORMAT_F32) return bits_float(word[i]);
    else if constexpr (Id == FORMAT_F16) return i % 2 ? high_half(word[i / 2]) : low_half(word[i / 2]);
    else return bits_float(i % 2 ? word[i / 2] & 0xffff0000u : word[i / 2] << 16);
  }
};

// Columns 8 u … of a row of activations, zeros past the end.
template <bool Whole>
RF_DEVICE void load_floats(const float* row, uint32_t u, uint32_t k, float (&x)[8]) {
  if constexpr (Whole) {
    RF_UNROLL for (int i = 0; i < 2; i++) {
      const Word4 v = load<Word4>(row + 8 * u + 4 * i);
      x[4 * i] = bits_float(v.x), x[4 * i + 1] = bits_float(v.y), x[4 * i + 2] = bits_float(v.z), x[4 * i + 3] = bits_float(v.w);
    }
  } else {
    RF_UNROLL for (int i = 0; i < 8; i++) x[i] = 8 * u + uint32_t(i) < k ? row[8 * u + uint32_t(i)] : 0.0f;
  }
}

}  // namespace rf
