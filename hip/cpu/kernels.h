// The function table of one instruction set, and the arguments its functions share. Each isa-*.cpp compiles kernels.inc with its own
// flags and fills one table; context.cpp picks the best one this processor runs.
#pragma once
#include <atomic>
#include <cstdint>

#include "../cache.h"
#include "../plan.h"

namespace rf {

// One thread's share of an op: every thread of the pool calls the kernel, and work is handed out by range or by a shared counter.
struct Worker {
  uint32_t index, count;
  std::atomic<uint32_t>* next;  // this op's counter, zero when the op begins
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
  uint8_t* shared;  // room for the int8 activations of all rows
};

// A layer's paged cache: of each block n_kv_heads tiles of 16 tokens. A tile of K is [head_dim, 16] (keys in lanes), one of V
// [16, v_stride]; of q8_0 their int8, and behind them of both the scales, [head_dim / 32, 16].
struct CacheView {
  uint8_t *k, *v;
  uint32_t n_kv_heads, head_dim, v_stride, dtype;
  uint64_t block_stride;  // bytes from a block's tiles to the next one's
  uint64_t k_tile_bytes() const { return cache_bytes(uint64_t(head_dim) * 16, dtype); }
  uint64_t v_tile_bytes() const { return cache_bytes(uint64_t(v_stride) * 16, dtype); }
};

struct AttentionArgs {
  const float* q;  // [rows, q_stride]
  float* out;      // [rows, n_heads · head_dim]
  uint64_t q_stride;
  uint32_t n_heads, n_kv_heads, head_dim, window;
  float scale, softcap;
  CacheView cache;
};

// Contiguous K and V: out[n_q, heads · dim] from q and k, v [n_k, kv_heads · dim].
struct DenseAttentionArgs {
  const float *q, *k, *v;
  float* out;
  uint32_t n_q, n_k, n_heads, n_kv_heads, head_dim;
  float scale;
  bool causal;
};

struct Kernels {
  const char* name;
  uint32_t lanes;
  uint64_t (*matmul_shared_bytes)(uint64_t rows, uint64_t k);
  uint64_t (*matmul_scratch_bytes)(uint64_t k);
  void (*matmul)(const Worker&, const MatmulArgs&);
  void (*rms_norm)(const float* in, const float* weight, float eps, uint64_t width, float* out);
  void (*swiglu)(const float* gate, const float* up, uint64_t n, float* out);
  void (*scale)(const float* in, float factor, uint64_t n, float* out);
  void (*add)(const float* a, const float* b, uint64_t n, float* out);
  void (*softmax)(const float* in, uint64_t n, float* out);
  uint64_t (*attention_scratch_bytes)(uint32_t head_dim);
  void (*attention)(const Worker&, const AttentionArgs&, const StepView&);
  void (*attention_dense)(const Worker&, const DenseAttentionArgs&);
  void (*store_kv)(const float* k, const float* v, const CacheView& cache, uint32_t kv_head, int32_t block, uint32_t slot);
  int64_t (*argmax)(const float* x, uint64_t n);  // the first of the greatest; -1 when there is a NaN
  double (*exp_sum)(const float* x, uint64_t n, float max, float factor, float* out);  // out = exp((x - max) · factor), and its sum
  uint64_t (*read_stream)(const uint8_t* data, uint64_t n_bytes);  // reads every byte once; the value only keeps the reads alive
};

const Kernels* kernels_avx512();  // nullptr where this processor or build has none
const Kernels* kernels_avx2();
const Kernels* kernels_portable();
const Kernels& best_kernels();

}  // namespace rf
