// Every GGUF weight format, once: its number, the size and layout of its block. decode.h turns blocks into floats.
//
// Compiled by clang++ and g++ for the CPU and by HIP or nvcc for GPUs. The layouts are those of ggml, in the byte order of the file
// (little-endian). Blocks carry no padding and need at most 2-byte alignment (F32: 4), which the 8-byte alignment of GGUF tensor
// data guarantees.
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

// X(id, NAME, elems, bytes): id is the ggml type number stored in the file; elems and bytes describe one block.
// src/gguf/formats.ts lists the same rows; rf_layout proves at load that they agree.
#define RF_PLAIN_FORMATS(X) \
  X(0, F32, 1, 4)           \
  X(1, F16, 1, 2)           \
  X(30, BF16, 1, 2)
#define RF_BLOCK_FORMATS(X) \
  X(2, Q4_0, 32, 18)        \
  X(3, Q4_1, 32, 20)        \
  X(6, Q5_0, 32, 22)        \
  X(7, Q5_1, 32, 24)        \
  X(8, Q8_0, 32, 34)        \
  X(10, Q2_K, 256, 84)      \
  X(11, Q3_K, 256, 110)     \
  X(12, Q4_K, 256, 144)     \
  X(13, Q5_K, 256, 176)     \
  X(14, Q6_K, 256, 210)     \
  X(20, IQ4_NL, 32, 18)     \
  X(23, IQ4_XS, 256, 136)   \
  X(39, MXFP4, 32, 17)
#define RF_FORMATS(X) RF_PLAIN_FORMATS(X) RF_BLOCK_FORMATS(X)

// Codebook of IQ4_NL and IQ4_XS: sixteen steps, finer around zero. An initializer list, so that kernels can also keep it in a
// register.
#define RF_IQ4_VALUES -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113

// E2M1 values (OCP Microscaling Formats v1.0, section 5.3.3) times two, so that they are integers; rf_e8m0_half() is halved to
// match.
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

// 2^(exponent - 128), half the value of an E8M0 scale; the two smallest results are subnormal floats.
RF_HD inline float rf_e8m0_half(uint8_t exponent) {
  return rf_float_from_bits(exponent < 2 ? 0x00200000u << exponent : (uint32_t)(exponent - 1) << 23);
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

// ---- the list as types --------------------------------------------------------------------------------------------------------

// Format<id>: its Block, and elems, the numbers that a block holds.
template <uint32_t Id>
struct Format;
#define RF_FORMAT_TYPE(id, NAME, block_elems, block_bytes)                                          \
  template <>                                                                                       \
  struct Format<FORMAT_##NAME> {                                                                    \
    using Block = Block##NAME;                                                                      \
    static constexpr int elems = block_elems;                                                       \
  };                                                                                                \
  static_assert(sizeof(Block##NAME) == block_bytes, #NAME " block must be " #block_bytes " bytes"); \
  static_assert(alignof(Block##NAME) <= 4, #NAME " block must not need more than 4-byte alignment");
RF_FORMATS(RF_FORMAT_TYPE)
#undef RF_FORMAT_TYPE

// Whether a weight of that format is plain numbers, not blocks that share scales.
RF_HD constexpr bool plain_format(uint32_t format) {
  switch (format) {
#define RF_PLAIN_CASE(id, NAME, elems, bytes) case id:
    RF_PLAIN_FORMATS(RF_PLAIN_CASE)
#undef RF_PLAIN_CASE
    return true;
    default: return false;
  }
}

}  // namespace rf
