// The kernels that every instruction set has, and their arguments. Each isa-*.cpp compiles kernels.inc under its own flags into one
// table of them; device.cpp picks the best table that this processor can run.
#pragma once
#include <atomic>
#include <cstdint>

#include "../cache.h"
#include "../step.h"

namespace rf {

constexpr uint32_t kLanes = 16;  // floats of a vector (vec.h), whatever the instruction set
constexpr uint64_t round_to_lanes(uint64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// A thread of the pool as kernels use it: every thread calls the kernel, and takes work by range or from a shared counter.
struct Worker {
  uint32_t index, count;
  std::atomic<uint32_t>* next;  // counter of this op, 0 when the op begins
  void* pool;                   // for barrier()
  uint8_t* scratch;             // this thread's own, 64-byte aligned
  void barrier() const;

  // This thread's contiguous part of n items.
  void range(uint64_t n, uint64_t* begin, uint64_t* end) const {
    *begin = n * index / count;
    *end = n * (index + 1) / count;
  }
  // Takes the next `chunk` of n items; false when none are left.
  bool take(uint32_t n, uint32_t chunk, uint32_t* begin, uint32_t* end) const {
    const uint32_t at = next->fetch_add(chunk, std::memory_order_relaxed);
    if (at >= n) return false;
    *begin = at;
    *end = at + chunk < n ? at + chunk : n;
    return true;
  }
};

struct MatmulArgs {
  const float* in;  // [rows, k]
  float* out;       // [rows, out_width]
  uint64_t rows, k, out_width;
  const Tensor* weight[3];
  const float* bias[3];
  uint32_t n_weights;
  bool add, swiglu;
  uint8_t* shared;  // room for the rounded activations of all rows, shared by the threads
};

// A layer's paged cache: n_kv_heads tiles of K, and as many of V, in each block. A K tile is [head_dim, RF_BLOCK_SIZE], with a key
// in each lane; a V tile is [RF_BLOCK_SIZE, v_stride]. In q8_0 both hold int8, followed by their scales, [head_dim / 32,
// RF_BLOCK_SIZE].
static_assert(RF_BLOCK_SIZE == kLanes, "attention reads the keys of one block as one vector");
struct CacheView {
  uint8_t *k, *v;
  uint32_t n_kv_heads, head_dim, v_stride, dtype;  // v_stride: head_dim, rounded up to lanes
  uint64_t block_stride;                           // bytes from the tiles of one block to those of the next
  uint64_t k_tile_bytes() const { return cache_bytes(uint64_t(head_dim) * RF_BLOCK_SIZE, dtype); }
  uint64_t v_tile_bytes() const { return cache_bytes(uint64_t(v_stride) * RF_BLOCK_SIZE, dtype); }
};

struct AttentionArgs {
  const float* q;  // [rows, q_stride]
  float* out;      // [rows, n_heads · head_dim]
  uint64_t q_stride;
  uint32_t n_heads, n_kv_heads, head_dim, window;
  float scale, softcap;
  CacheView cache;
};

struct DenseAttentionArgs {
  const float* q;      // [n_q, n_heads · head_dim]
  const float *k, *v;  // [n_k, n_kv_heads · head_dim]
  float* out;          // like q
  uint32_t n_q, n_k, n_heads, n_kv_heads, head_dim, window;
  float scale;
  bool causal;
};

// The functions of a table: X(result, function, (parameters)).
// - matmul_shared_bytes, …_scratch_bytes: what a kernel needs in MatmulArgs.shared and in each thread's scratch.
// - argmax: the first of the greatest; -1 where there is a NaN.
// - exp_sum: writes exp((x - max) · factor) to out (unless NULL) and returns their sum.
// - read_stream: reads every byte once; the value it returns only keeps the reads from being optimized away.
// clang-format off
#define RF_CPU_KERNELS(X)                                                                                                       \
  X(uint64_t, matmul_shared_bytes, (uint64_t rows, uint64_t k))                                                                 \
  X(uint64_t, matmul_scratch_bytes, (uint64_t k))                                                                               \
  X(void, matmul, (const Worker&, const MatmulArgs&))                                                                           \
  X(void, rms_norm, (const float* in, const float* weight, float eps, uint64_t width, float* out))                              \
  X(void, swiglu, (const float* gate, const float* up, uint64_t n, float* out))                                                 \
  X(void, scale, (const float* in, float factor, uint64_t n, float* out))                                                       \
  X(void, add, (const float* a, const float* b, uint64_t n, float* out))                                                        \
  X(void, softmax, (const float* in, uint64_t n, float* out))                                                                   \
  X(uint64_t, attention_scratch_bytes, (uint32_t head_dim))                                                                     \
  X(void, attention, (const Worker&, const AttentionArgs&, const StepView&))                                                    \
  X(void, attention_dense, (const Worker&, const DenseAttentionArgs&))                                                          \
  X(void, store_kv, (const float* k, const float* v, const CacheView& cache, uint32_t kv_head, int32_t block, uint32_t slot))   \
  X(int64_t, argmax, (const float* x, uint64_t n))                                                                              \
  X(double, exp_sum, (const float* x, uint64_t n, float max, float factor, float* out))                                         \
  X(uint64_t, read_stream, (const uint8_t* data, uint64_t n_bytes))
// clang-format on

struct Kernels {
  const char* name;
  uint32_t lanes;  // floats of the processor's own vectors
#define X(result, function, parameters) result(*function) parameters;
  RF_CPU_KERNELS(X)
#undef X
};

// NULL where this processor, or this build, does not have them.
const Kernels* kernels_avx512();
const Kernels* kernels_avx2();
const Kernels* kernels_portable();
const Kernels& best_kernels();

}  // namespace rf
