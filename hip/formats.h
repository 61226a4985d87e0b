// Every GGUF weight format, once: block layout, size check, block decode.
//
// Compiled by clang++ and g++ for the CPU and by HIP or nvcc for GPUs. Layouts follow the ggml block formats (the byte order of
// the file, little-endian); `decode` returns exactly the bits of the `gguf` Python package's `gguf.quants.dequantize`.
//
// Exactness does not depend on how a compiler contracts a*b+c. Scales have 11 significant bits (binary16), sub-block scales at most
// 7 and quants at most 7, never more than 24 together, so each product below is exact in binary32 and a fused multiply-add
// rounds just as a multiply followed by an add does. What it does need is that subnormal floats are kept (no -ffast-math here).
//
// Blocks carry no padding and need at most 2-byte alignment (F32: 4), which the 8-byte alignment of GGUF tensor data guarantees.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__) || defined(__HIPCC__) || defined(__HIP__)
#define RF_HD __host__ __device__
#else
#define RF_HD
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF blocks are little-endian; this file reads them in place"
#endif

// X(id, NAME, elems, bytes): id is the ggml type number stored in the file, elems and bytes describe one block.
// src/gguf/formats.ts lists the same rows; rf_layout() lets the two be compared at start.
#define RF_FORMATS(X)     \
  X(0, F32, 1, 4)         \
  X(1, F16, 1, 2)         \
  X(2, Q4_0, 32, 18)      \
  X(3, Q4_1, 32, 20)      \
  X(6, Q5_0, 32, 22)      \
  X(7, Q5_1, 32, 24)      \
  X(8, Q8_0, 32, 34)      \
  X(10, Q2_K, 256, 84)    \
  X(11, Q3_K, 256, 110)   \
  X(12, Q4_K, 256, 144)   \
  X(13, Q5_K, 256, 176)   \
  X(14, Q6_K, 256, 210)   \
  X(20, IQ4_NL, 32, 18)   \
  X(23, IQ4_XS, 256, 136) \
  X(30, BF16, 1, 2)       \
  X(39, MXFP4, 32, 17)

// Codebook of IQ4_NL and IQ4_XS: sixteen steps, finer around zero. An initializer list, so that kernels can also keep it in a register.
#define RF_IQ4_VALUES -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113

// E2M1 values (OCP Microscaling Formats v1.0, section 5.3.3) times two, so that they are integers; rf_e8m0_half() is halved to match.
#define RF_MXFP4_VALUES 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12

namespace rf {

enum FormatId : uint32_t {
#define RF_FORMAT_ENUM(id, NAME, elems, bytes) FORMAT_##NAME = id,
  RF_FORMATS(RF_FORMAT_ENUM)
#undef RF_FORMAT_ENUM
};

RF_HD inline float rf_float_from_bits(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// IEEE 754 binary16 to binary32, exact for every finite value and infinity.
RF_HD inline float rf_half_to_float(uint16_t half) {
#if defined(__CUDA_ARCH__)
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
#elif defined(__clang__) && (defined(__HIP_DEVICE_COMPILE__) || defined(__F16C__) || defined(__aarch64__))
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

RF_HD inline float rf_bfloat16_to_float(uint16_t bits) { return rf_float_from_bits((uint32_t)bits << 16); }

// 2^(exponent - 128), that is half of what an E8M0 scale means; the two smallest are subnormal floats.
RF_HD inline float rf_e8m0_half(uint8_t exponent) {
  return rf_float_from_bits(exponent < 2 ? 0x00200000u << exponent : (uint32_t)(exponent - 1) << 23);
}

RF_HD inline int rf_iq4_value(int index) {
  constexpr int8_t values[16] = {RF_IQ4_VALUES};
  return values[index];
}

RF_HD inline int rf_mxfp4_value(int index) {
  constexpr int8_t values[16] = {RF_MXFP4_VALUES};
  return values[index];
}

// The eight 6-bit scales and eight 6-bit mins of Q4_K and Q5_K share 12 bytes. For sub-blocks 0–3 the low six bits of bytes 0–3 hold
// the scale and of bytes 4–7 the min; for 4–7 bytes 8–11 hold the low halves (scale low nibble, min high nibble) and the
// top two bits of bytes 0–3 and 4–7 the high parts.
struct ScaleMin {
  uint8_t scale;  // 0..63
  uint8_t min;    // 0..63
};

RF_HD inline ScaleMin rf_k_scale_min(const uint8_t* packed, int sub) {  // packed: [12], sub: 0..7
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
RF_HD inline int rf_q3_k_scale(const uint8_t* packed, int sub) {  // packed: [12], sub: 0..15
  const int low = sub < 8 ? packed[sub] & 15 : packed[sub - 8] >> 4;
  const int high = (packed[8 + sub % 4] >> (2 * (sub / 4))) & 3;
  return (low | high << 4) - 32;
}

// One of the eight 6-bit scales of IQ4_XS, less 32: nibbles in `low` (even sub-blocks in the low nibble), top two bits in `high`.
RF_HD inline int rf_iq4_xs_scale(const uint8_t* low, uint16_t high, int sub) {  // low: [4], sub: 0..7
  return (((low[sub / 2] >> (4 * (sub % 2))) & 15) | ((high >> (2 * sub)) & 3) << 4) - 32;
}

// ---- plain numbers -------------------------------------------------------------------------------------------------------------

struct BlockF32 {
  float value;
};

struct BlockF16 {
  uint16_t value;  // binary16
};

struct BlockBF16 {
  uint16_t value;  // upper half of a binary32
};

// ---- blocks of 32 --------------------------------------------------------------------------------------------------------------
// Nibble order of every 4- and 5-bit block of 32: byte j holds element j (low nibble) and element j + 16 (high nibble).

// x = scale * (q - 8), q in 0..15
struct BlockQ4_0 {
  uint16_t scale;      // binary16
  uint8_t quants[16];  // nibbles
};

// x = scale * q + min, q in 0..15
struct BlockQ4_1 {
  uint16_t scale;  // binary16
  uint16_t min;    // binary16
  uint8_t quants[16];
};

// x = scale * (q - 16), q in 0..31: nibble, plus bit j of high_bits as its fifth bit
struct BlockQ5_0 {
  uint16_t scale;        // binary16
  uint8_t high_bits[4];  // bit j % 8 of byte j / 8 belongs to element j
  uint8_t quants[16];
};

// x = scale * q + min, q in 0..31
struct BlockQ5_1 {
  uint16_t scale;  // binary16
  uint16_t min;    // binary16
  uint8_t high_bits[4];
  uint8_t quants[16];
};

// x = scale * q
struct BlockQ8_0 {
  uint16_t scale;  // binary16
  int8_t quants[32];
};

// x = scale * IQ4_VALUES[q]
struct BlockIQ4_NL {
  uint16_t scale;  // binary16
  uint8_t quants[16];
};

// x = 2^(exponent - 128) * MXFP4_VALUES[q]
struct BlockMXFP4 {
  uint8_t exponent;  // E8M0
  uint8_t quants[16];
};

// ---- super-blocks of 256 ---------------------------------------------------------------------------------------------------------

// 16 sub-blocks of 16: x = scale * (scales[s] & 15) * q - min * (scales[s] >> 4), q in 0..3.
// quants: two halves of 128 elements, 32 bytes each; within a half, bits 2p of byte l hold element 32 p + l.
struct BlockQ2_K {
  uint8_t scales[16];  // low nibble scale, high nibble min
  uint8_t quants[64];
  uint16_t scale;  // binary16
  uint16_t min;    // binary16
};

// 16 sub-blocks of 16: x = scale * (scales[s] - 32) * (q - 4), q in 0..7.
// quants as in Q2_K hold the low two bits of q; bit e / 32 of high_bits[e % 32] holds its third.
struct BlockQ3_K {
  uint8_t high_bits[32];
  uint8_t quants[64];
  uint8_t scales[12];  // 16 six-bit scales, see rf_q3_k_scale
  uint16_t scale;      // binary16
};

// 8 sub-blocks of 32: x = scale * scales[s] * q - min * mins[s], q in 0..15.
// quants: four runs of 32 bytes; in run r byte l holds elements 64 r + l (low nibble) and 64 r + 32 + l (high nibble).
struct BlockQ4_K {
  uint16_t scale;      // binary16
  uint16_t min;        // binary16
  uint8_t scales[12];  // see rf_k_scale_min
  uint8_t quants[128];
};

// Q4_K with a fifth bit: q in 0..31, bit s of high_bits[l] belongs to element 32 s + l.
struct BlockQ5_K {
  uint16_t scale;      // binary16
  uint16_t min;        // binary16
  uint8_t scales[12];  // see rf_k_scale_min
  uint8_t high_bits[32];
  uint8_t quants[128];
};

// 16 sub-blocks of 16: x = scale * scales[s] * (q - 32), q in 0..63.
// Two halves of 128 elements in four groups g of 32: low nibbles in 64 bytes (groups 0 and 1 low, 2 and 3 high nibbles),
// upper two bits in 32 bytes (bits 2g of byte l for element 32 g + l).
struct BlockQ6_K {
  uint8_t quants[128];
  uint8_t high_bits[64];
  int8_t scales[16];
  uint16_t scale;  // binary16
};

// 8 sub-blocks of 32: x = scale * (scales[s] - 32) * IQ4_VALUES[q]; each sub-block has 16 bytes of nibbles, ordered as in Q4_0.
struct BlockIQ4_XS {
  uint16_t scale;         // binary16
  uint16_t scales_high;   // two bits a sub-block
  uint8_t scales_low[4];  // one nibble a sub-block, see rf_iq4_xs_scale
  uint8_t quants[128];
};

// ---- decoders ------------------------------------------------------------------------------------------------------------------

// Format<id>: Block, elems, and decode(block, out) which writes out[0 .. elems).
template <uint32_t Id>
struct Format;

template <>
struct Format<FORMAT_F32> {
  using Block = BlockF32;
  static constexpr int elems = 1;
  RF_HD static void decode(const Block& block, float* out) { *out = block.value; }
};

template <>
struct Format<FORMAT_F16> {
  using Block = BlockF16;
  static constexpr int elems = 1;
  RF_HD static void decode(const Block& block, float* out) { *out = rf_half_to_float(block.value); }
};

template <>
struct Format<FORMAT_BF16> {
  using Block = BlockBF16;
  static constexpr int elems = 1;
  RF_HD static void decode(const Block& block, float* out) { *out = rf_bfloat16_to_float(block.value); }
};

template <>
struct Format<FORMAT_Q4_0> {
  using Block = BlockQ4_0;
  static constexpr int elems = 32;
  RF_HD static void decode(const Block& block, float* out) {
    const float scale = rf_half_to_float(block.scale);
    for (int j = 0; j < 16; ++j) {
      out[j] = scale * (float)((block.quants[j] & 15) - 8);
      out[j + 16] = scale * (float)((block.quants[j] >> 4) - 8);
    }
  }
};

template <>
struct Format<FORMAT_Q4_1> {
  using Block = BlockQ4_1;
  static constexpr int elems = 32;
  RF_HD static void decode(const Block& block, float* out) {
    const float scale = rf_half_to_float(block.scale);
    const float min = rf_half_to_float(block.min);
    for (int j = 0; j < 16; ++j) {
      out[j] = scale * (float)(block.quants[j] & 15) + min;
      out[j + 16] = scale * (float)(block.quants[j] >> 4) + min;
    }
  }
};

template <>
struct Format<FORMAT_Q5_0> {
  using Block = BlockQ5_0;
  static constexpr int elems = 32;
  RF_HD static void decode(const Block& block, float* out) {
    const float scale = rf_half_to_float(block.scale);
    for (int j = 0; j < 16; ++j) {
      const int high0 = (block.high_bits[j / 8] >> (j % 8)) & 1;
      const int high1 = (block.high_bits[j / 8 + 2] >> (j % 8)) & 1;
      out[j] = scale * (float)(((block.quants[j] & 15) | high0 << 4) - 16);
      out[j + 16] = scale * (float)(((block.quants[j] >> 4) | high1 << 4) - 16);
    }
  }
};

template <>
struct Format<FORMAT_Q5_1> {
  using Block = BlockQ5_1;
  static constexpr int elems = 32;
  RF_HD static void decode(const Block& block, float* out) {
    const float scale = rf_half_to_float(block.scale);
    const float min = rf_half_to_float(block.min);
    for (int j = 0; j < 16; ++j) {
      const int high0 = (block.high_bits[j / 8] >> (j % 8)) & 1;
      const int high1 = (block.high_bits[j / 8 + 2] >> (j % 8)) & 1;
      out[j] = scale * (float)((block.quants[j] & 15) | high0 << 4) + min;
      out[j + 16] = scale * (float)((block.quants[j] >> 4) | high1 << 4) + min;
    }
  }
};

template <>
struct Format<FORMAT_Q8_0> {
  using Block = BlockQ8_0;
  static constexpr int elems = 32;
  RF_HD static void decode(const Block& block, float* out) {
    const float scale = rf_half_to_float(block.scale);
    for (int j = 0; j < 32; ++j) out[j] = scale * (float)block.quants[j];
  }
};

template <>
struct Format<FORMAT_IQ4_NL> {
  using Block = BlockIQ4_NL;
  static constexpr int elems = 32;
  RF_HD static void decode(const Block& block, float* out) {
    const float scale = rf_half_to_float(block.scale);
    for (int j = 0; j < 16; ++j) {
      out[j] = scale * (float)rf_iq4_value(block.quants[j] & 15);
      out[j + 16] = scale * (float)rf_iq4_value(block.quants[j] >> 4);
    }
  }
};

template <>
struct Format<FORMAT_MXFP4> {
  using Block = BlockMXFP4;
  static constexpr int elems = 32;
  RF_HD static void decode(const Block& block, float* out) {
    const float scale = rf_e8m0_half(block.exponent);
    for (int j = 0; j < 16; ++j) {
      out[j] = scale * (float)rf_mxfp4_value(block.quants[j] & 15);
      out[j + 16] = scale * (float)rf_mxfp4_value(block.quants[j] >> 4);
    }
  }
};

template <>
struct Format<FORMAT_Q2_K> {
  using Block = BlockQ2_K;
  static constexpr int elems = 256;
  RF_HD static void decode(const Block& block, float* out) {
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
};

template <>
struct Format<FORMAT_Q3_K> {
  using Block = BlockQ3_K;
  static constexpr int elems = 256;
  RF_HD static void decode(const Block& block, float* out) {
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
};

template <>
struct Format<FORMAT_Q4_K> {
  using Block = BlockQ4_K;
  static constexpr int elems = 256;
  RF_HD static void decode(const Block& block, float* out) {
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
};

template <>
struct Format<FORMAT_Q5_K> {
  using Block = BlockQ5_K;
  static constexpr int elems = 256;
  RF_HD static void decode(const Block& block, float* out) {
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
};

template <>
struct Format<FORMAT_Q6_K> {
  using Block = BlockQ6_K;
  static constexpr int elems = 256;
  RF_HD static void decode(const Block& block, float* out) {
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
};

template <>
struct Format<FORMAT_IQ4_XS> {
  using Block = BlockIQ4_XS;
  static constexpr int elems = 256;
  RF_HD static void decode(const Block& block, float* out) {
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
};

#define RF_FORMAT_CHECK(id, NAME, block_elems, block_bytes)                                          \
  static_assert(sizeof(Block##NAME) == block_bytes, #NAME " block must be " #block_bytes " bytes");  \
  static_assert(alignof(Block##NAME) <= 4, #NAME " block must not need more than 4-byte alignment"); \
  static_assert(Format<FORMAT_##NAME>::elems == block_elems, #NAME " block must hold " #block_elems " values");
RF_FORMATS(RF_FORMAT_CHECK)
#undef RF_FORMAT_CHECK

}  // namespace rf
