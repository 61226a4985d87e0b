// One interface to the matrix units: a wave multiplies 16 × 16 × 16 tiles of f16 or bf16 and accumulates in float.
//
//   Fragment<Half, Layout>              16 rows × 16 of k of an operand; operands lie row by row in shared memory, k contiguous
//   Accumulator                         16 × 16 floats; value[i] of this lane is at (row(i), column(i))
//   load_fragment(out, shared, row, k)  loads from shared memory; Layout::at(row, chunk) is the index of the chunk's first half
//   multiply(c, a, b)                   c[m, n] += Σ_k a[m, k] · b[n, k]
//
// All lanes of a wave must call these functions together. The accumulators' layouts come from the AMD Matrix Instruction Calculator
// (github.com/ROCm/amd_matrix_instruction_calculator) for cdna1/cdna3 (MFMA), rdna3 and rdna4 (WMMA), and from the PTX ISA ("Matrix
// Fragments for mma.m16n8k16", "ldmatrix"). A lane may hold any k of a fragment as long as both operands use the same order.
#pragma once
#include "platform.h"

#if !defined(__CUDACC__)
#if defined(__GFX9__)
#define RF_MMA_MFMA 1
#elif defined(__GFX11__)
#define RF_MMA_WMMA 11
#elif defined(__GFX12__)
#define RF_MMA_WMMA 12
#endif
#endif

namespace rf {

constexpr uint32_t kTile = 16;  // rows, columns and depth of one product
constexpr uint32_t kChunk = 8;  // halves of a row that lie together in shared memory
constexpr uint32_t kChunkBytes = 2 * kChunk;

#if defined(RF_MMA_MFMA)
constexpr uint32_t kWave = 64;
#else
constexpr uint32_t kWave = 32;
#endif

RF_DEVICE uint32_t wave_lane() { return thread_id() % kWave; }
RF_DEVICE uint32_t wave_id() { return thread_id() / kWave; }

// The two half-precision types. pack(a, b) rounds to a word that holds a in its low bits.
struct Bf16;
struct F16 {
  using Other = Bf16;
  static constexpr bool is_bf16 = false;
  RF_DEVICE static float to_float(uint16_t x) { return half_to_float(x); }
  RF_DEVICE static uint32_t pack(float a, float b) {
#if defined(__CUDACC__)
    uint32_t word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(b), "f"(a));
    return word;
#else
    typedef _Float16 Pair __attribute__((ext_vector_type(2)));
    return __builtin_bit_cast(uint32_t, Pair{_Float16(a), _Float16(b)});
#endif
  }
};
struct Bf16 {
  using Other = F16;
  static constexpr bool is_bf16 = true;
  RF_DEVICE static float to_float(uint16_t x) { return bfloat16_to_float(x); }
  RF_DEVICE static uint32_t pack(float a, float b) {
#if defined(__CUDACC__)
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(b), "f"(a));
    return word;
#else
    return uint32_t(float_to_bfloat16(a)) | uint32_t(float_to_bfloat16(b)) << 16;
#endif
  }
};

// Rows of `Width` halves in shared memory. The chunks of a row are permuted, so that a column of chunks (read as a fragment) and
// neighbouring chunks of a row (written as weights) both fall on different banks.
template <uint32_t Width>
struct Swizzled {
  static_assert(Width % 64 == 0, "a row must be whole lines of 128 bytes");
  static constexpr uint32_t stride = Width;
  RF_DEVICE static uint32_t at(uint32_t row, uint32_t chunk) { return row * Width + (chunk ^ ((row ^ (chunk >> 3)) & 7)) * kChunk; }
};
// Rows `Stride` halves apart. Free of bank conflicts if Stride / kChunk is odd.
template <uint32_t Stride>
struct Padded {
  static_assert(Stride % kChunk == 0, "chunks must lie on 16 bytes");
  static constexpr uint32_t stride = Stride;
  RF_DEVICE static uint32_t at(uint32_t row, uint32_t chunk) { return row * Stride + chunk * kChunk; }
};

// The layout for rows of `Width` halves. Without a matrix unit a lane reads many rows, and a permutation would need an address for
// each.
#if defined(__CUDACC__) || defined(RF_MMA_MFMA) || defined(RF_MMA_WMMA)
constexpr bool kMatrixUnit = true;
template <uint32_t Width>
using TileLayout = Swizzled<Width>;
#else
constexpr bool kMatrixUnit = false;
template <uint32_t Width>
using TileLayout = Padded<Width + kChunk>;
#endif

#if defined(__CUDACC__)

template <class Half, class Layout>
struct Fragment {
  uint32_t word[4];  // rows 0–7 and 8–15 of k 0–7, then of k 8–15
};
struct Accumulator {
  static constexpr uint32_t size = 8;
  float value[8];  // columns 0–7, then 8–15
  RF_DEVICE static uint32_t row(uint32_t i) { return wave_lane() / 4 + 8 * (i / 2 % 2); }
  RF_DEVICE static uint32_t column(uint32_t i) { return wave_lane() % 4 * 2 + i % 2 + 8 * (i / 4); }
};
template <class Half, class Layout>
RF_DEVICE void load_fragment(Fragment<Half, Layout>& out, const uint16_t* shared, uint32_t row, uint32_t k) {
  const uint32_t lane = wave_lane();
  const uint32_t address = uint32_t(__cvta_generic_to_shared(shared + Layout::at(row + lane % 16, k / 8 + lane / 16)));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out.word[0]), "=r"(out.word[1]), "=r"(out.word[2]), "=r"(out.word[3])
               : "r"(address)
               : "memory");
}
template <class Half>
RF_DEVICE void multiply_8(float* c, const uint32_t* a, uint32_t b0, uint32_t b1) {
  if constexpr (Half::is_bf16)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <class Half, class Layout>
RF_DEVICE void multiply(Accumulator& c, const Fragment<Half, Layout>& a, const Fragment<Half, Layout>& b) {
  multiply_8<Half>(c.value, a.word, b.word[0], b.word[2]);
  multiply_8<Half>(c.value + 4, a.word, b.word[1], b.word[3]);
}

#else

typedef float Float4 __attribute__((ext_vector_type(4)));
typedef float Float8 __attribute__((ext_vector_type(8)));
template <class T, uint32_t N>
using Vector = T __attribute__((ext_vector_type(N)));

#if defined(RF_MMA_MFMA)

template <class Half, class Layout>
struct Fragment {
  Vector<int16_t, 4> bits;  // row lane % 16, k 4 · (lane / 16) … + 3
};
struct Accumulator {
  static constexpr uint32_t size = 4;
  Float4 value;
  RF_DEVICE static uint32_t row(uint32_t i) { return wave_lane() / 16 * 4 + i; }
  RF_DEVICE static uint32_t column(uint32_t) { return wave_lane() % 16; }
};
template <class Half, class Layout>
RF_DEVICE void load_fragment(Fragment<Half, Layout>& out, const uint16_t* shared, uint32_t row, uint32_t k) {
  const uint32_t lane = wave_lane();
  out.bits = load<Vector<int16_t, 4> >(shared + Layout::at(row + lane % 16, k / 8 + lane / 32) + lane / 16 % 2 * 4);
}
template <class Half, class Layout>
RF_DEVICE void multiply(Accumulator& c, const Fragment<Half, Layout>& a, const Fragment<Half, Layout>& b) {
  if constexpr (!Half::is_bf16) {
    c.value = __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(Vector<_Float16, 4>, a.bits),
                                                    __builtin_bit_cast(Vector<_Float16, 4>, b.bits), c.value, 0, 0, 0);
  } else {
#if defined(__gfx908__)  // this instruction has depth 8: first two of each lane's four k, then the other two
    c.value = __builtin_amdgcn_mfma_f32_16x16x8bf16(a.bits.lo, b.bits.lo, c.value, 0, 0, 0);
    c.value = __builtin_amdgcn_mfma_f32_16x16x8bf16(a.bits.hi, b.bits.hi, c.value, 0, 0, 0);
#else
    c.value = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(a.bits, b.bits, c.value, 0, 0, 0);
#endif
  }
}

#elif defined(RF_MMA_WMMA)

struct Accumulator {
  static constexpr uint32_t size = 8;
  Float8 value;
#if RF_MMA_WMMA == 11
  RF_DEVICE static uint32_t row(uint32_t i) { return 2 * i + wave_lane() / 16; }
#else
  RF_DEVICE static uint32_t row(uint32_t i) { return i + wave_lane() / 16 * 8; }
#endif
  RF_DEVICE static uint32_t column(uint32_t) { return wave_lane() % 16; }
};
#if RF_MMA_WMMA == 11
constexpr uint32_t kFragment = 16;  // lanes l and l + 16 both hold all of row l
#else
constexpr uint32_t kFragment = 8;  // row lane % 16, k 8 · (lane / 16) … + 7
#endif
template <class Half, class Layout>
struct Fragment {
  Vector<int16_t, kFragment> bits;
};
template <class Half, class Layout>
RF_DEVICE void load_fragment(Fragment<Half, Layout>& out, const uint16_t* shared, uint32_t row, uint32_t k) {
  const uint32_t lane = wave_lane();
#if RF_MMA_WMMA == 11
  out.bits.lo = load<Vector<int16_t, 8> >(shared + Layout::at(row + lane % 16, k / 8));
  out.bits.hi = load<Vector<int16_t, 8> >(shared + Layout::at(row + lane % 16, k / 8 + 1));
#else
  out.bits = load<Vector<int16_t, 8> >(shared + Layout::at(row + lane % 16, k / 8 + lane / 16));
#endif
}
template <class Half, class Layout>
RF_DEVICE void multiply(Accumulator& c, const Fragment<Half, Layout>& a, const Fragment<Half, Layout>& b) {
  using Halves = Vector<_Float16, kFragment>;
#if RF_MMA_WMMA == 11
  if constexpr (Half::is_bf16) c.value = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(a.bits, b.bits, c.value);
  else
    c.value =
        __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(__builtin_bit_cast(Halves, a.bits), __builtin_bit_cast(Halves, b.bits), c.value);
#else
  if constexpr (Half::is_bf16) c.value = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(a.bits, b.bits, c.value);
  else
    c.value = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(__builtin_bit_cast(Halves, a.bits),
                                                               __builtin_bit_cast(Halves, b.bits), c.value);
#endif
}

#else  // no matrix unit (gfx1030): dot products of pairs, read from shared memory when they are needed

// Only the tile's place in shared memory: a lane needs different rows of the left and of the right operand.
template <class Half, class Layout>
struct Fragment {
  const uint16_t* shared;
  uint32_t row, chunk;
};
// A lane holds rows 4 · (lane / 8) … + 3 of columns lane % 8 and lane % 8 + 8.
struct Accumulator {
  static constexpr uint32_t size = 8;
  Float8 value;
  RF_DEVICE static uint32_t row(uint32_t i) { return wave_lane() / 8 * 4 + i / 2; }
  RF_DEVICE static uint32_t column(uint32_t i) { return wave_lane() % 8 + i % 2 * 8; }
};
template <class Half, class Layout>
RF_DEVICE void load_fragment(Fragment<Half, Layout>& out, const uint16_t* shared, uint32_t row, uint32_t k) {
  out = {shared, row, k / 8};
}
template <class Half>
RF_DEVICE float dot_pair(uint32_t a, uint32_t b, float c) {
  if constexpr (Half::is_bf16)
    return __builtin_fmaf(bits_float(a & 0xffff0000u), bits_float(b & 0xffff0000u),
                          __builtin_fmaf(bits_float(a << 16), bits_float(b << 16), c));
  else
    return __builtin_amdgcn_fdot2(__builtin_bit_cast(Vector<_Float16, 2>, a), __builtin_bit_cast(Vector<_Float16, 2>, b), c, false);
}
template <class Half, class Layout>
RF_DEVICE void multiply(Accumulator& c, const Fragment<Half, Layout>& a, const Fragment<Half, Layout>& b) {
  const uint32_t lane = wave_lane();
  // Unpacked bf16 takes two registers a pair. The barrier stops the compiler from keeping them from one tile to the next.
  if constexpr (Half::is_bf16) asm volatile("" ::: "memory");
  RF_UNROLL for (uint32_t chunk = 0; chunk < 2; ++chunk) {
    Vector<uint32_t, 4> columns[2];
    RF_UNROLL for (uint32_t j = 0; j < 2; ++j) columns[j] =
        load<Vector<uint32_t, 4> >(b.shared + Layout::at(b.row + lane % 8 + 8 * j, b.chunk + chunk));
    RF_UNROLL for (uint32_t i = 0; i < 4; ++i) {
      const auto row = load<Vector<uint32_t, 4> >(a.shared + Layout::at(a.row + lane / 8 * 4 + i, a.chunk + chunk));
      RF_UNROLL for (uint32_t j = 0; j < 2; ++j) RF_UNROLL for (uint32_t w = 0; w < 4; ++w) c.value[i * 2 + j] =
          dot_pair<Half>(row[w], columns[j][w], c.value[i * 2 + j]);
    }
  }
}

#endif
#endif

// The compiler moves no instruction across this. Otherwise it would load all fragments of a tile first and run out of registers.
RF_DEVICE void schedule_fence() {
#if !defined(__CUDACC__)
  __builtin_amdgcn_sched_barrier(0);
#endif
}

RF_DEVICE void clear(Accumulator& c) { RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; ++i) c.value[i] = 0.0f; }

}  // namespace rf
