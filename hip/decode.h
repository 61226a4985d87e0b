// Decoders of the weight formats: one block of formats.h to floats, with exactly the bits of `gguf.quants.dequantize` of the `gguf`
// Python package. Host code.
//
// Exactness does not depend on how a compiler contracts a*b+c. Scales have 11 significant bits (binary16), sub-block scales at most
// 7 and quants at most 7, together never more than 24, so each product below is exact in binary32, and a fused multiply-add rounds
// exactly as a multiply followed by an add. It does need subnormal floats, so no -ffast-math here.
#pragma once
#include "formats.h"

namespace rf {

// IEEE 754 binary16 to binary32, exact for every finite value and infinity.
inline float rf_half_to_float(uint16_t half) {
#if defined(__clang__) && (defined(__F16C__) || defined(__aarch64__))
  _Float16 value;
  __builtin_memcpy(&value, &half, sizeof value);
  return (float)value;
#else
  const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1Fu;
  const uint32_t mantissa = half & 0x3FFu;
  if (exponent == 31) return rf_float_from_bits(sign | 0x7F800000u | mantissa << 13);
  if (exponent != 0) return rf_float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = (float)(int32_t)mantissa * rf_float_from_bits(0x33800000u);  // subnormal: mantissa * 2^-24
  return sign ? -magnitude : magnitude;
#endif
}

inline float rf_bfloat16_to_float(uint16_t bits) { return rf_float_from_bits((uint32_t)bits << 16); }

inline int rf_iq4_value(int index) {
  constexpr int8_t values[16] = {RF_IQ4_VALUES};
  return values[index];
}

inline int rf_mxfp4_value(int index) {
  constexpr int8_t values[16] = {RF_MXFP4_VALUES};
  return values[index];
}

// The eight 6-bit scales and eight 6-bit mins of Q4_K and Q5_K share 12 bytes. For sub-blocks 0–3 the low six bits of bytes 0–3
// hold the scale and of bytes 4–7 the min; for 4–7 bytes 8–11 hold the low halves (scale low nibble, min high nibble) and the top
// two bits of bytes 0–3 and 4–7 the high parts.
struct ScaleMin {
  uint8_t scale;  // 0..63
  uint8_t min;    // 0..63
};

inline ScaleMin rf_k_scale_min(const uint8_t* packed, int sub) {  // packed: [12], sub: 0..7
  ScaleMin result;
  if (sub < 4) {
    result.scale = packed[sub] & 63;
    result.min = packed[sub + 4] & 63;
  } else {
    result.scale = (uint8_t)((packed[sub + 4] & 15) | (packed[sub - 4] >> 6) << 4);
    result.min = (uint8_t)((packed[sub + 4] >> 4) | (packed[sub] >> 6) << 4);
  }
  return result;
}

// One of the sixteen 6-bit scales of Q3_K, less 32: nibbles in bytes 0–7 (low nibbles 0–7, high nibbles 8–15), top two bits in
// bytes 8–11, four scales a byte, scale s in byte 8 + s % 4.
inline int rf_q3_k_scale(const uint8_t* packed, int sub) {  // packed: [12], sub: 0..15
  const int low = sub < 8 ? packed[sub] & 15 : packed[sub - 8] >> 4;
  const int high = (packed[8 + sub % 4] >> (2 * (sub / 4))) & 3;
  return (low | high << 4) - 32;
}

// One of the eight 6-bit scales of IQ4_XS, less 32: nibbles in `low` (even sub-blocks in the low nibble), top two bits in `high`.
inline int rf_iq4_xs_scale(const uint8_t* low, uint16_t high, int sub) {  // low: [4], sub: 0..7
  return (((low[sub / 2] >> (4 * (sub % 2))) & 15) | ((high >> (2 * sub)) & 3) << 4) - 32;
}

// decode(block, out) writes the block's numbers to out[0 … elems).

inline void decode(const BlockF32& block, float* out) { *out = block.value; }

inline void decode(const BlockF16& block, float* out) { *out = rf_half_to_float(block.value); }

inline void decode(const BlockBF16& block, float* out) { *out = rf_bfloat16_to_float(block.value); }

inline void decode(const BlockQ4_0& block, float* out) {
  const float scale = rf_half_to_float(block.scale);
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * (float)((block.quants[j] & 15) - 8);
    out[j + 16] = scale * (float)((block.quants[j] >> 4) - 8);
  }
}

inline void decode(const BlockQ4_1& block, float* out) {
  const float scale = rf_half_to_float(block.scale);
  const float min = rf_half_to_float(block.min);
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * (float)(block.quants[j] & 15) + min;
    out[j + 16] = scale * (float)(block.quants[j] >> 4) + min;
  }
}

inline void decode(const BlockQ5_0& block, float* out) {
  const float scale = rf_half_to_float(block.scale);
  for (int j = 0; j < 16; ++j) {
    const int high0 = (block.high_bits[j / 8] >> (j % 8)) & 1;
    const int high1 = (block.high_bits[j / 8 + 2] >> (j % 8)) & 1;
    out[j] = scale * (float)(((block.quants[j] & 15) | high0 << 4) - 16);
    out[j + 16] = scale * (float)(((block.quants[j] >> 4) | high1 << 4) - 16);
  }
}

inline void decode(const BlockQ5_1& block, float* out) {
  const float scale = rf_half_to_float(block.scale);
  const float min = rf_half_to_float(block.min);
  for (int j = 0; j < 16; ++j) {
    const int high0 = (block.high_bits[j / 8] >> (j % 8)) & 1;
    const int high1 = (block.high_bits[j / 8 + 2] >> (j % 8)) & 1;
    out[j] = scale * (float)((block.quants[j] & 15) | high0 << 4) + min;
    out[j + 16] = scale * (float)((block.quants[j] >> 4) | high1 << 4) + min;
  }
}

inline void decode(const BlockQ8_0& block, float* out) {
  const float scale = rf_half_to_float(block.scale);
  for (int j = 0; j < 32; ++j) out[j] = scale * (float)block.quants[j];
}

inline void decode(const BlockIQ4_NL& block, float* out) {
  const float scale = rf_half_to_float(block.scale);
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * (float)rf_iq4_value(block.quants[j] & 15);
    out[j + 16] = scale * (float)rf_iq4_value(block.quants[j] >> 4);
  }
}

inline void decode(const BlockMXFP4& block, float* out) {
  const float scale = rf_e8m0_half(block.exponent);
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * (float)rf_mxfp4_value(block.quants[j] & 15);
    out[j + 16] = scale * (float)rf_mxfp4_value(block.quants[j] >> 4);
  }
}

inline void decode(const BlockQ2_K& block, float* out) {
  const float scale = rf_half_to_float(block.scale);
  const float min = rf_half_to_float(block.min);
  for (int sub = 0; sub < 16; ++sub) {
    const float sub_scale = scale * (float)(block.scales[sub] & 15);
    const float sub_min = min * (float)(block.scales[sub] >> 4);
    const uint8_t* quants = block.quants + 32 * (sub / 8) + 16 * (sub % 2);
    const int shift = 2 * (sub / 2 % 4);
    for (int l = 0; l < 16; ++l) out[16 * sub + l] = sub_scale * (float)((quants[l] >> shift) & 3) - sub_min;
  }
}

inline void decode(const BlockQ3_K& block, float* out) {
  const float scale = rf_half_to_float(block.scale);
  for (int sub = 0; sub < 16; ++sub) {
    const float sub_scale = scale * (float)rf_q3_k_scale(block.scales, sub);
    const uint8_t* quants = block.quants + 32 * (sub / 8) + 16 * (sub % 2);
    const uint8_t* high_bits = block.high_bits + 16 * (sub % 2);
    const int shift = 2 * (sub / 2 % 4);
    for (int l = 0; l < 16; ++l) {
      const int q = ((quants[l] >> shift) & 3) | ((high_bits[l] >> (sub / 2)) & 1) << 2;
      out[16 * sub + l] = sub_scale * (float)(q - 4);
    }
  }
}

inline void decode(const BlockQ4_K& block, float* out) {
  const float scale = rf_half_to_float(block.scale);
  const float min = rf_half_to_float(block.min);
  for (int sub = 0; sub < 8; ++sub) {
    const ScaleMin packed = rf_k_scale_min(block.scales, sub);
    const float sub_scale = scale * (float)packed.scale;
    const float sub_min = min * (float)packed.min;
    const uint8_t* quants = block.quants + 32 * (sub / 2);
    const int shift = 4 * (sub % 2);
    for (int l = 0; l < 32; ++l) out[32 * sub + l] = sub_scale * (float)((quants[l] >> shift) & 15) - sub_min;
  }
}

inline void decode(const BlockQ5_K& block, float* out) {
  const float scale = rf_half_to_float(block.scale);
  const float min = rf_half_to_float(block.min);
  for (int sub = 0; sub < 8; ++sub) {
    const ScaleMin packed = rf_k_scale_min(block.scales, sub);
    const float sub_scale = scale * (float)packed.scale;
    const float sub_min = min * (float)packed.min;
    const uint8_t* quants = block.quants + 32 * (sub / 2);
    const int shift = 4 * (sub % 2);
    for (int l = 0; l < 32; ++l) {
      const int q = ((quants[l] >> shift) & 15) | ((block.high_bits[l] >> sub) & 1) << 4;
      out[32 * sub + l] = sub_scale * (float)q - sub_min;
    }
  }
}

inline void decode(const BlockQ6_K& block, float* out) {
  const float scale = rf_half_to_float(block.scale);
  for (int sub = 0; sub < 16; ++sub) {
    const float sub_scale = scale * (float)block.scales[sub];
    const int half = sub / 8, group = sub / 2 % 4, start = 16 * (sub % 2);
    const uint8_t* quants = block.quants + 64 * half + 32 * (group % 2) + start;
    const uint8_t* high_bits = block.high_bits + 32 * half + start;
    for (int l = 0; l < 16; ++l) {
      const int q = ((quants[l] >> (4 * (group / 2))) & 15) | ((high_bits[l] >> (2 * group)) & 3) << 4;
      out[16 * sub + l] = sub_scale * (float)(q - 32);
    }
  }
}

inline void decode(const BlockIQ4_XS& block, float* out) {
  const float scale = rf_half_to_float(block.scale);
  for (int sub = 0; sub < 8; ++sub) {
    const float sub_scale = scale * (float)rf_iq4_xs_scale(block.scales_low, block.scales_high, sub);
    const uint8_t* quants = block.quants + 16 * sub;
    for (int j = 0; j < 16; ++j) {
      out[32 * sub + j] = sub_scale * (float)rf_iq4_value(quants[j] & 15);
      out[32 * sub + j + 16] = sub_scale * (float)rf_iq4_value(quants[j] >> 4);
    }
  }
}

}  // namespace rf
