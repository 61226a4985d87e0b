// Attention over the paged cache and over plain matrices. ../attention.h chooses the kernel for a shape and lists the grids.
#include "attention-flash.h"
#include "attention-split.h"
#include "quantize.h"

using namespace rf;

// `blocks`: thread blocks that must fit on a multiprocessor, as many as the registers for float caches allow. The code for q8_0
// caches would otherwise use more registers, and fewer blocks would fit.
#define RF_SPLIT(name, lanes, chunks, heads, aligned, blocks) \
  RF_KERNEL_RESIDENT(kBlock, blocks)                          \
  rf_attention_split_##name(AttentionArgs a) { attention_split<SplitShape<lanes, chunks, heads, aligned>>(a); }
RF_SPLIT(64_1, 8, 1, 1, true, 2)
RF_SPLIT(64_4, 8, 1, 4, true, 2)
RF_SPLIT(128_1, 16, 1, 1, true, 2)
RF_SPLIT(128_4, 16, 1, 4, true, 1)
RF_SPLIT(256_1, 32, 1, 1, true, 2)
RF_SPLIT(256_4, 32, 1, 4, true, 1)
RF_SPLIT(512_2, 32, 2, 2, true, 1)
RF_SPLIT(any, 32, 2, 1, false, 2)

// Joins the splits of one head of one row, always in the same order. Each lane computes the weights of splits `lane` and
// `lane + 32` while the first sums are being loaded. If the next op is a product of block formats, the kernel also writes the int8
// copy that the product reads.
RF_KERNEL(kMergeThreads) rf_attention_merge(AttentionArgs a) {
  constexpr uint32_t Ahead = 16;
  static_assert(kMaxSplits == 2 * kSubgroup, "two splits a lane");
  const uint32_t row = block_x(), head_dim = a.cache.head_dim, stride = head_dim + 2;
  const uint64_t at = uint64_t(row) * a.n_heads + block_y();
  const float* partial = a.partial + at * a.n_splits * stride;
  const uint32_t n_tokens = header(a.step).n_tokens, row_seq = a.row_seq[row], position = a.row_pos[row];
  const bool flashed = row < n_tokens && a.flash && seqs(a.step)[row_seq].n_rows > kAttentionFlashRows;
  begin_kernel();
  if (row >= n_tokens || flashed) return;
  const uint32_t n_splits = row_keys(a, position).splits;
  if (n_splits == 1) return;  // rf_attention_split_* wrote the output
  RF_SHARED float weights[kMaxSplits];
  float peak[2], weight[2];
  RF_UNROLL for (uint32_t i = 0; i < 2; i++) {
    const uint32_t s = i * kSubgroup + lane_id();
    const float* p = partial + uint64_t(s < n_splits ? s : 0) * stride + head_dim;
    peak[i] = s < n_splits ? p[0] : -__builtin_inff();
    weight[i] = s < n_splits ? p[1] : 0.0f;
  }
  float total = 0;
  RF_UNROLL_BY(1) for (uint32_t first = 0; first < head_dim; first += kMergeThreads) {
    const uint32_t d = first + thread_id();
    const bool on = d < head_dim;
    float sum = 0, part[Ahead];
    const auto read = [&](uint32_t from) {
      RF_UNROLL for (uint32_t i = 0; i < Ahead; i++) {
        const uint32_t split = from + i < n_splits ? from + i : n_splits - 1;
        part[i] = partial[split * stride + (on ? d : 0)];
      }
    };
    read(0);
    if (first == 0) {
      const float greatest = finite_peak(subgroup_max(peak[0] < peak[1] ? peak[1] : peak[0]));
      RF_UNROLL for (uint32_t i = 0; i < 2; i++) {
        const float by = exp2_fast(peak[i] - greatest);
        total += weight[i] * by;
        if (subgroup_id() == 0) weights[i * kSubgroup + lane_id()] = by;
      }
      total = subgroup_sum(total);
      block_sync();
    }
    RF_UNROLL_BY(1) for (uint32_t from = 0; from < n_splits; from += Ahead) {
      if (from) read(from);
      RF_UNROLL for (uint32_t i = 0; i < Ahead; i++) sum =
          __builtin_fmaf(from + i < n_splits ? +part[i] : 0.0f, weights[from + i], sum);
    }
    const float y = on ? divide(sum, total) : 0.0f;
    if (on) a.out[at * head_dim + d] = y;
    if (a.int8) {  // head_dim is a multiple of 32 here, so a subgroup holds one block: eight lanes quantize four elements each
      const uint32_t width = a.n_heads * head_dim, four = lane_id() % 8 * 4;
      const Word4 quad = {float_bits(shuffle(y, four)), float_bits(shuffle(y, four + 1)), float_bits(shuffle(y, four + 2)),
                          float_bits(shuffle(y, four + 3))};
      const uint64_t start = uint64_t(row) * width;
      quantize_block(quad, a.int8 + 2 * start, a.info + start / 8, width, (block_y() * head_dim + d) / 32, on && lane_id() < 8);
    }
  }
}

// The keys begin … end - 1 that a query attends to; see ATTENTION_DENSE in ops.h. With a window, n_k ≥ n_q, so a position is never
// negative.
struct DenseKeys {
  uint32_t begin, end;
};
RF_DEVICE DenseKeys dense_keys(const DenseAttentionArgs& a, uint32_t row) {
  const uint32_t position = a.n_k - a.n_q + row, end = a.causal ? position + 1 : a.n_k;
  if (!a.window) return {0, end};
  const uint32_t begin = position >= a.window ? position - a.window + 1 : 0;
  return {begin, a.window < end - position ? position + a.window : end};
}

RF_KERNEL(kBlock) rf_attention_dense(DenseAttentionArgs a) {
  using Shape = SplitShape<32, 2, 1, false>;
  RF_SHARED SplitShared<Shape> shared;
  const uint32_t row = block_x(), head = block_y(), kv_head = head / (a.n_heads / a.n_kv_heads);
  const uint64_t at = (uint64_t(row) * a.n_heads + head) * a.head_dim;
  const DenseKeys keys = dense_keys(a, row);
  const SplitQuery query = {a.q + at, 1, a.head_dim, keys.begin, keys.end, 0, a.scale, 0};
  const auto index = [&](uint32_t key) { return (uint64_t(key) * a.n_kv_heads + kv_head) * a.head_dim; };
  const auto emit = [&](uint32_t, uint32_t d, float sum, float, float total) { a.out[at + d] = divide(sum, total); };
  attend<Shape, RF_F32>(query, reinterpret_cast<const uint8_t*>(a.k), reinterpret_cast<const uint8_t*>(a.v), shared, index, emit);
}

#define RF_FLASH_KERNEL(name, d, quantized) \
  RF_KERNEL_RESIDENT(kFlashThreads, 3) rf_attention_flash_##name(AttentionArgs a) { attention_flash<d, quantized>(a); }
RF_FLASH_KERNEL(64, 64, false)
RF_FLASH_KERNEL(80, 80, false)
RF_FLASH_KERNEL(96, 96, false)
RF_FLASH_KERNEL(128, 128, false)
RF_FLASH_KERNEL(q8_0_64, 64, true)
RF_FLASH_KERNEL(q8_0_96, 96, true)
RF_FLASH_KERNEL(q8_0_128, 128, true)
