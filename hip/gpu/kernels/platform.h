// What differs between AMD and NVIDIA in device code; the kernels include this file and are one source for both. Clang alone
// compiles AMD's code objects (no ROCm headers or device libraries: -nogpuinc -nogpulib), nvcc compiles NVIDIA's.
//
// Words that all kernels use:
//   subgroup  32 lanes that exchange values by shuffles; an AMD wave64 holds two subgroups
//   wave      the lanes that execute one matrix instruction: 32, or 64 on gfx9
//   cluster   the lanes of a subgroup that hold one key together (attention-split.h)
//   piece     32 neighbouring columns of one weight row, as signed bytes with their scales
//   unit      what one lane of the mat-vec loads of a weight row at once: 16 bytes of quants and their scales
//   chunk     8 neighbouring halves of a row: 16 bytes
//   tile      a rectangle of a matrix: 16 × 16 in an accumulator, larger for a wave or a block
//   plane     one of the arrays that the blocks of a weight are cut into (../planes.h)
//   split     one of several blocks, waves or subgroups that compute partial sums of the same output
#pragma once
#include <stdint.h>

#include "../args.h"  // included before the macro RF_DEVICE hides its status of the same name

#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define RF_DEVICE __device__ __forceinline__
#define RF_SHARED __shared__
#define RF_KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
// The same, with few enough registers a thread that `blocks` blocks fit on a multiprocessor.
#define RF_KERNEL_RESIDENT(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define RF_UNROLL _Pragma("unroll")
// A kernel argument whose arrays can be indexed at run time if kIndexedArguments is true.
#define RF_ARGUMENT const __grid_constant__

#else

#define __host__ __attribute__((host))
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define RF_DEVICE __attribute__((device)) inline __attribute__((always_inline))
#define RF_SHARED __attribute__((shared))
#define RF_KERNEL(threads) extern "C" __attribute__((global)) __attribute__((amdgpu_flat_work_group_size(1, threads))) void
#define RF_KERNEL_RESIDENT(threads, blocks) RF_KERNEL(threads)
#define RF_UNROLL _Pragma("unroll")
#define RF_ARGUMENT const

#endif

#define RF_PRAGMA(text) _Pragma(#text)
#define RF_UNROLL_BY(n) RF_PRAGMA(unroll n)

namespace rf {

constexpr uint32_t kPiece = 32;  // columns

#if defined(__CUDACC__)

constexpr bool kIndexedArguments = true;
RF_DEVICE uint32_t thread_id() { return threadIdx.x; }
RF_DEVICE uint32_t block_threads() { return blockDim.x; }
RF_DEVICE uint32_t block_x() { return blockIdx.x; }
RF_DEVICE uint32_t block_y() { return blockIdx.y; }
RF_DEVICE uint32_t block_z() { return blockIdx.z; }
RF_DEVICE uint32_t grid_x() { return gridDim.x; }
RF_DEVICE void block_sync() { __syncthreads(); }
RF_DEVICE void subgroup_sync() { __syncwarp(); }
// The value that lane (lane_id() ^ mask) of this subgroup holds. All lanes of the subgroup must call it, as with shuffle.
RF_DEVICE float shuffle_xor(float v, uint32_t mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
RF_DEVICE int32_t shuffle_xor(int32_t v, uint32_t mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
// The value that lane `from` (0 … 31) of this subgroup holds.
RF_DEVICE float shuffle(float v, uint32_t from) { return __shfl_sync(0xffffffffu, v, from); }
RF_DEVICE int32_t shuffle(int32_t v, uint32_t from) { return __shfl_sync(0xffffffffu, v, from); }
RF_DEVICE int32_t dot4(int32_t a, int32_t b, int32_t c) { return __dp4a(a, b, c); }  // signed bytes
RF_DEVICE float exp2_fast(float x) { return exp2f(x); }
RF_DEVICE float sqrt_exact(float x) { return __fsqrt_rn(x); }
RF_DEVICE float divide(float a, float b) { return __fdiv_rn(a, b); }
RF_DEVICE float multiply(float a, float b) { return __fmul_rn(a, b); }  // rounded: never contracted into a fused multiply-add
RF_DEVICE float half_to_float(uint16_t h) { return __half2float(__ushort_as_half(h)); }
RF_DEVICE uint16_t float_to_half(float x) { return __half_as_ushort(__float2half_rn(x)); }
template <class T>
RF_DEVICE T uniform_here(T x) {  // ptxas does this itself
  return x;
}
RF_DEVICE int32_t round_to_int(float x) { return __float2int_rn(x); }
// Signed byte i of a word as a float. Integer conversions are slow: the byte is put into the mantissa of 2^23 and 2^23 subtracted.
RF_DEVICE float byte_to_float(uint32_t w, uint32_t i) {
  return __uint_as_float(__byte_perm(w ^ 0x80808080u, 0x4b000000u, 0x7540u | i)) - 8388736.0f;
}
// Signed bytes 2 · pair and 2 · pair + 1 of a word as two halves, and the product of two pairs of halves.
RF_DEVICE uint32_t bytes_to_halves(uint32_t w, uint32_t pair) {
  const uint32_t biased = __byte_perm(w ^ 0x80808080u, 0x64646464u, pair ? 0x4342u : 0x4140u);  // 1024 + 128 + byte
  const __half2 v = __hsub2(reinterpret_cast<const __half2&>(biased), __half2half2(__ushort_as_half(0x6480)));
  return reinterpret_cast<const uint32_t&>(v);
}
RF_DEVICE uint32_t multiply_halves(uint32_t a, uint32_t b) {
  const __half2 v = __hmul2(reinterpret_cast<const __half2&>(a), reinterpret_cast<const __half2&>(b));
  return reinterpret_cast<const uint32_t&>(v);
}
RF_DEVICE uint32_t float_bits(float x) { return __float_as_uint(x); }
RF_DEVICE float bits_float(uint32_t x) { return __uint_as_float(x); }
// Adds v to *p in shared memory and returns the value before.
RF_DEVICE uint32_t atomic_add_shared(uint32_t* p, uint32_t v) { return atomicAdd(p, v); }
RF_DEVICE uint64_t atomic_add_shared(uint64_t* p, uint64_t v) {
  return atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(v));
}

#else

constexpr bool kIndexedArguments = false;  // clang would copy the array to scratch memory
RF_DEVICE uint32_t thread_id() { return __builtin_amdgcn_workitem_id_x(); }
RF_DEVICE uint32_t block_threads() { return __builtin_amdgcn_workgroup_size_x(); }
RF_DEVICE uint32_t block_x() { return __builtin_amdgcn_workgroup_id_x(); }
RF_DEVICE uint32_t block_y() { return __builtin_amdgcn_workgroup_id_y(); }
RF_DEVICE uint32_t block_z() { return __builtin_amdgcn_workgroup_id_z(); }
RF_DEVICE uint32_t grid_x() { return __builtin_amdgcn_grid_size_x() / __builtin_amdgcn_workgroup_size_x(); }
RF_DEVICE void block_sync() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
RF_DEVICE void subgroup_sync() { __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "wavefront"); }
// ds_bpermute counts lanes of the wave; in a wave64 each half is a subgroup.
RF_DEVICE int32_t shuffle(int32_t v, uint32_t from) {
  const uint32_t lane = __builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0u));
  return __builtin_amdgcn_ds_bpermute(int32_t(((lane & ~31u) | (from & 31u)) * 4), v);
}
RF_DEVICE int32_t shuffle_xor(int32_t v, uint32_t mask) {
  const uint32_t lane = __builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0u));
  return __builtin_amdgcn_ds_bpermute(int32_t((lane ^ mask) * 4), v);
}
RF_DEVICE uint32_t float_bits(float x) { return __builtin_bit_cast(uint32_t, x); }
RF_DEVICE float bits_float(uint32_t x) { return __builtin_bit_cast(float, x); }
RF_DEVICE float shuffle(float v, uint32_t from) { return bits_float(uint32_t(shuffle(int32_t(float_bits(v)), from))); }
RF_DEVICE float shuffle_xor(float v, uint32_t mask) { return bits_float(uint32_t(shuffle_xor(int32_t(float_bits(v)), mask))); }
RF_DEVICE int32_t dot4(int32_t a, int32_t b, int32_t c) {
#if defined(__GFX11__) || defined(__GFX12__)
  return __builtin_amdgcn_sudot4(true, a, true, b, c, false);
#else
  return __builtin_amdgcn_sdot4(a, b, c, false);
#endif
}
RF_DEVICE uint32_t atomic_add_shared(uint32_t* p, uint32_t v) {
  return __hip_atomic_fetch_add(p, v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}
RF_DEVICE uint64_t atomic_add_shared(uint64_t* p, uint64_t v) {
  return __hip_atomic_fetch_add(p, v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}
RF_DEVICE float exp2_fast(float x) { return __builtin_amdgcn_exp2f(x); }
RF_DEVICE float sqrt_exact(float x) { return __builtin_sqrtf(x); }
RF_DEVICE float divide(float a, float b) { return a / b; }
RF_DEVICE float multiply(float a, float b) {
#pragma clang fp contract(off)
  return a * b;
}
RF_DEVICE float half_to_float(uint16_t h) { return float(__builtin_bit_cast(_Float16, h)); }
RF_DEVICE uint16_t float_to_half(float x) { return __builtin_bit_cast(uint16_t, _Float16(x)); }
// Forces a wave-uniform value into an SGPR here, instead of keeping its inputs live until it is used.
template <class T>
RF_DEVICE T uniform_here(T x) {
  asm volatile("" : "+s"(x));
  return x;
}
RF_DEVICE int32_t round_to_int(float x) { return int32_t(__builtin_rintf(x)); }
RF_DEVICE float byte_to_float(uint32_t w, uint32_t i) { return float(int8_t(w >> (8 * i))); }
typedef _Float16 HalfPair __attribute__((ext_vector_type(2)));
RF_DEVICE uint32_t bytes_to_halves(uint32_t w, uint32_t pair) {
  const uint32_t biased = __builtin_amdgcn_perm(0x64646464u, w ^ 0x80808080u, pair ? 0x04030402u : 0x04010400u);
  return __builtin_bit_cast(uint32_t, __builtin_bit_cast(HalfPair, biased) - HalfPair{1152, 1152});
}
RF_DEVICE uint32_t multiply_halves(uint32_t a, uint32_t b) {
  return __builtin_bit_cast(uint32_t, __builtin_bit_cast(HalfPair, a) * __builtin_bit_cast(HalfPair, b));
}

#endif

// Prefetches the cache line at p, on platforms whose prefetch instruction takes no destination register.
RF_DEVICE void prefetch(const void* p) {
#if defined(__CUDACC__)
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
#else
  (void)p;
#endif
}

// Whether begin_kernel waits on any architecture of this platform, so that loads before it overlap with the previous kernel.
#if defined(__CUDACC__)
constexpr bool kStartsEarly = true;
#else
constexpr bool kStartsEarly = false;
#endif
// Waits until the previous kernel of the plan has ended, then lets the next kernel start. Every kernel of a plan calls this once.
//
// With NVIDIA's programmatic dependent launch a kernel starts while the previous one still runs; elsewhere this function does
// nothing. Before the call a kernel may read weights, the step buffer and the results of rf_prepare, and must not write. Those
// reads are safe: only the previous kernel can still be running, because it started after its own predecessor had ended, and
// launch.cpp waits for rf_prepare to end.
RF_DEVICE void begin_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

RF_DEVICE uint32_t lane_id() { return thread_id() % kSubgroup; }
RF_DEVICE uint32_t subgroup_id() { return thread_id() / kSubgroup; }

// e^x = 2^(x · log2 e), accurate to about 2 ulp: the product is kept as a high and a low float.
RF_DEVICE float exp_float(float x) {
  constexpr float log2e = 1.44269504f, log2e_low = 1.92596299e-8f;
  if (x < -103.97f) return 0.0f;
  const float high = x * log2e;
  const float low = __builtin_fmaf(x, log2e, -high) + x * log2e_low;
  return exp2_fast(high) * (1.0f + low * 0.69314718f);
}
// The value to subtract for a running maximum. A maximum of -inf (no key yet) becomes 0, since -inf - -inf is NaN.
RF_DEVICE float finite_peak(float peak) { return peak == -__builtin_inff() ? 0.0f : peak; }
RF_DEVICE float silu(float x) { return divide(x, 1.0f + exp_float(-x)); }

RF_DEVICE uint16_t float_to_bfloat16(float x) {  // rounds to nearest even; NaN stays NaN
  const uint32_t bits = float_bits(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t(bits >> 16 | 0x40);
  return uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
RF_DEVICE float bfloat16_to_float(uint16_t x) { return bits_float(uint32_t(x) << 16); }
RF_DEVICE uint16_t float_to_half_saturated(float x) {  // clamps to finite values, so that a cache never holds an infinity
  return float_to_half(x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x);
}

RF_DEVICE float subgroup_sum(float v) {
  RF_UNROLL for (uint32_t mask = 16; mask; mask /= 2) v += shuffle_xor(v, mask);
  return v;
}
RF_DEVICE float subgroup_max(float v) {
  RF_UNROLL for (uint32_t mask = 16; mask; mask /= 2) {
    const float other = shuffle_xor(v, mask);
    v = v < other ? other : v;
  }
  return v;
}
// Sum and maximum over the block, returned to every thread. shared: [subgroups of the block].
RF_DEVICE float block_sum(float v, float* shared) {
  v = subgroup_sum(v);
  block_sync();
  if (lane_id() == 0) shared[subgroup_id()] = v;
  block_sync();
  const uint32_t subgroups = block_threads() / kSubgroup;
  return subgroup_sum(lane_id() < subgroups ? shared[lane_id()] : 0.0f);
}
RF_DEVICE float block_max(float v, float* shared) {
  v = subgroup_max(v);
  block_sync();
  if (lane_id() == 0) shared[subgroup_id()] = v;
  block_sync();
  const uint32_t subgroups = block_threads() / kSubgroup;
  return subgroup_max(lane_id() < subgroups ? shared[lane_id()] : -__builtin_inff());
}

struct alignas(16) Word4 {
  uint32_t x, y, z, w;
};
struct alignas(8) Word2 {
  uint32_t x, y;
};
template <class T>
RF_DEVICE T load(const void* p) {
  return *static_cast<const T*>(p);
}
// Loads data that is read once, like weights, without allocating it in the L1 cache, which activations need.
template <class T>
RF_DEVICE T load_stream(const void* p) {
#if defined(__CUDACC__)
  return load<T>(p);
#else
  return __builtin_nontemporal_load(static_cast<const T*>(p));
#endif
}
template <>
RF_DEVICE Word4 load_stream<Word4>(const void* p) {
#if defined(__CUDACC__)
  Word4 v;
  asm("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
#else
  typedef uint32_t Vector __attribute__((vector_size(16)));
  const Vector v = __builtin_nontemporal_load(static_cast<const Vector*>(p));
  return {v[0], v[1], v[2], v[3]};
#endif
}

// load_stream if Stream, otherwise load.
template <bool Stream, class T>
RF_DEVICE T load_if(const void* p) {
  if constexpr (Stream) return load_stream<T>(p);
  else return load<T>(p);
}

}  // namespace rf
