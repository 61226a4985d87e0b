// Attention over the paged cache and over plain matrices. ../attention.h says which kernel serves what, and the grids.
#include "attention-flash.h"
#include "attention-split.h"

using namespace rf;

#define RF_SPLIT(name, lanes, chunks, heads, aligned) \
  RF_KERNEL(kBlock) rf_attention_split_##name(AttentionArgs a) { attention_split<SplitShape<lanes, chunks, heads, aligned>>(a); }
RF_SPLIT(64_1, 8, 1, 1, true)
RF_SPLIT(64_4, 8, 1, 4, true)
RF_SPLIT(128_1, 16, 1, 1, true)
RF_SPLIT(128_4, 16, 1, 4, true)
RF_SPLIT(256_1, 32, 1, 1, true)
RF_SPLIT(256_4, 32, 1, 4, true)
RF_SPLIT(512_2, 32, 2, 2, true)
RF_SPLIT(any, 32, 2, 1, false)

// Joins the splits of one head of one row, always in the same order.
RF_KERNEL(kMergeThreads) rf_attention_merge(AttentionArgs a) {
  const uint32_t row = block_x(), head_dim = a.cache.head_dim, n_splits = a.n_splits;
  if (row >= header(a.step).n_tokens) return;
  if (a.flash && seqs(a.step)[a.row_seq[row]].n_rows > kAttentionFlashRows) return;
  const uint64_t at = uint64_t(row) * a.n_heads + block_y();
  const float* partial = a.partial + at * n_splits * (head_dim + 2);
  float greatest = -__builtin_inff(), total = 0;
  for (uint32_t s = 0; s < n_splits; s++) {
    const float peak = partial[s * (head_dim + 2) + head_dim];
    greatest = greatest < peak ? peak : greatest;
  }
  greatest = finite_peak(greatest);
  for (uint32_t s = 0; s < n_splits; s++) {
    const float* p = partial + s * (head_dim + 2) + head_dim;
    total += p[1] * exp2_fast(p[0] - greatest);
  }
  for (uint32_t d = thread_id(); d < head_dim; d += kMergeThreads) {
    float sum = 0;
    for (uint32_t s = 0; s < n_splits; s++) {
      const float* p = partial + s * (head_dim + 2);
      sum += p[d] * exp2_fast(p[head_dim] - greatest);
    }
    a.out[at * head_dim + d] = divide(sum, total);
  }
}

RF_KERNEL(kBlock) rf_attention_dense(DenseAttentionArgs a) {
  using Shape = SplitShape<32, 2, 1, false>;
  RF_SHARED SplitShared<Shape> shared;
  const uint32_t row = block_x(), head = block_y(), kv_head = head / (a.n_heads / a.n_kv_heads);
  const uint64_t at = (uint64_t(row) * a.n_heads + head) * a.head_dim;
  const SplitQuery query = {a.q + at, 1, a.head_dim, 0, a.causal ? a.n_k - a.n_q + row + 1 : a.n_k, a.scale, 0};
  const auto index = [&](uint32_t key) { return (uint64_t(key) * a.n_kv_heads + kv_head) * a.head_dim; };
  const auto emit = [&](uint32_t, uint32_t d, float sum, float, float total) { a.out[at + d] = divide(sum, total); };
  attend<Shape, false>(query, reinterpret_cast<const uint8_t*>(a.k), reinterpret_cast<const uint8_t*>(a.v), shared, index, emit);
}

#define RF_FLASH_KERNEL(d) \
  RF_KERNEL_RESIDENT(kFlashThreads, 3) rf_attention_flash_##d(AttentionArgs a) { attention_flash<d>(a); }
RF_FLASH_KERNEL(64)
RF_FLASH_KERNEL(80)
RF_FLASH_KERNEL(96)
RF_FLASH_KERNEL(128)
