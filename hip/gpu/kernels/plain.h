// Unquantized weights (F32, F16, BF16) in the mat-vec: a unit is eight columns.
#pragma once
#include "unpack.h"

namespace rf {

// Eight weights; the address is a multiple of 16 bytes.
template <uint32_t Id>
struct PlainUnit {
  static constexpr uint32_t n_words = Id == FORMAT_F32 ? 8 : 4, bytes = 4 * n_words;
  uint32_t word[n_words];

  RF_DEVICE void load(const uint8_t* p) {
    RF_UNROLL for (uint32_t i = 0; i < n_words / 4; i++) {
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

// Loads eight activations; the address is a multiple of 16 bytes.
RF_DEVICE void load_floats(const float* p, float (&x)[8]) {
  RF_UNROLL for (int i = 0; i < 2; i++) {
    const Word4 v = load<Word4>(p + 4 * i);
    x[4 * i] = bits_float(v.x), x[4 * i + 1] = bits_float(v.y), x[4 * i + 2] = bits_float(v.z), x[4 * i + 3] = bits_float(v.w);
  }
}

}  // namespace rf
