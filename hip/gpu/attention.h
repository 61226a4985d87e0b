// Which attention kernel serves a shape, and its grid. Plain C++17, for the host and for the kernels.
//
// ATTENTION, one of
// - f32 mode, or a cache or head_dim that rf_attention_flash_* does not serve: rf_attention_split_* over all rows.
// - f16 and bf16 modes and attention_flash(head_dim, dtype): AttentionArgs.flash = 1 and both kernels;
//   rf_attention_flash_* takes the sequences of more than kAttentionFlashRows rows, rf_attention_split_* the others. A step (or
//   bucket) that has only one of the two kinds launches only that kernel.
// rf_attention_split_*: grid (rows of the bucket, n_kv_heads · ceil(group / kernel.heads), n_splits), kBlock threads.
//   n_splits = 1 writes `out` itself. Otherwise it fills `partial`, and rf_attention_merge joins the splits: grid (rows, n_heads),
//   kMergeThreads threads.
//   partial: rows · n_heads · n_splits · (head_dim + 2) floats: head_dim sums, then the maximum and the total of the weights.
//   Deterministic contexts: rf_attention_split_* takes every row, and the splits of a row depend only on its own length
//   (by_length).
// rf_attention_flash_*: grid (attention_flash_tiles, n_heads), kFlashThreads threads.
// rf_attention_dense: grid (n_q, n_heads), kBlock threads.
// No kernel takes dynamic shared memory.
#pragma once
#include "../abi.h"
#include "planes.h"

namespace rf {

constexpr uint32_t kAttentionFlashRows = 8;
constexpr uint32_t kFlashThreads = 128;
constexpr uint32_t kFlashQueries = 64;  // rows of one sequence that a block takes
constexpr uint32_t kFlashKeys = 64;
constexpr uint32_t kMergeThreads = 128;
constexpr uint32_t kMaxSplits = 64;

struct AttentionSplit {
  const char* name;
  uint32_t heads;  // query heads that a block takes, all of one K/V head
};
// group = n_heads / n_kv_heads.
constexpr AttentionSplit attention_split(uint32_t head_dim, uint32_t group) {
  if (head_dim % 8) return {"rf_attention_split_any", 1};
  if (head_dim > 256) return {"rf_attention_split_512_2", 2};
  if (head_dim > 128)
    return group == 1 ? AttentionSplit{"rf_attention_split_256_1", 1} : AttentionSplit{"rf_attention_split_256_4", 4};
  if (head_dim > 64)
    return group == 1 ? AttentionSplit{"rf_attention_split_128_1", 1} : AttentionSplit{"rf_attention_split_128_4", 4};
  return group == 1 ? AttentionSplit{"rf_attention_split_64_1", 1} : AttentionSplit{"rf_attention_split_64_4", 4};
}

// The kernel's name, or NULL where there is none. dtype: of the cache.
constexpr const char* attention_flash(uint32_t head_dim, uint32_t dtype) {
  const bool quantized = dtype == RF_Q8_0;
  if (dtype == RF_F32) return nullptr;
  switch (head_dim) {
    case 64: return quantized ? "rf_attention_flash_q8_0_64" : "rf_attention_flash_64";
    case 80: return quantized ? nullptr : "rf_attention_flash_80";
    case 96: return quantized ? "rf_attention_flash_q8_0_96" : "rf_attention_flash_96";
    case 128: return quantized ? "rf_attention_flash_q8_0_128" : "rf_attention_flash_128";
    default: return nullptr;
  }
}
// An upper bound on the tiles of a step; surplus blocks return at once.
constexpr uint32_t attention_flash_tiles(uint32_t n_tokens, uint32_t n_seqs) {
  const uint32_t longer = n_tokens / (kAttentionFlashRows + 1), sequences = n_seqs < longer ? n_seqs : longer;
  return n_tokens / kFlashQueries + sequences;
}

// The number of splits that takes the least time, where each compute unit runs one block at a time: rounds of blocks, each of which
// costs its keys and a fixed part worth kSplitCost keys. A split has at least kSplitKeys keys. kv_len: the longest of the bucket;
// more keys never give fewer splits.
constexpr uint32_t kSplitKeys = 64, kSplitCost = 96;
constexpr uint32_t attention_splits(uint32_t rows, uint32_t grid_y, uint32_t kv_len, uint32_t n_compute_units) {
  const uint64_t blocks = uint64_t(rows) * grid_y;
  if (blocks == 0 || blocks >= 2 * uint64_t(n_compute_units)) return 1;
  const auto least = [](uint64_t a, uint64_t b) { return a < b ? a : b; };
  const uint64_t most = least(least(kv_len / kSplitKeys, kMaxSplits), 4 * uint64_t(n_compute_units) / blocks);
  const auto rounds = [&](uint64_t splits) { return (blocks * splits + n_compute_units - 1) / n_compute_units; };
  uint64_t best = 1;
  for (uint64_t s = 2; s <= most; s++)
    if (rounds(s) * (kv_len + kSplitCost * s) * best < rounds(best) * (kv_len + kSplitCost * best) * s) best = s;
  return uint32_t(best);
}
// The splits of a row that sees `keys` keys, whatever else is in the step. More keys never give fewer splits.
constexpr uint32_t kRowSplitKeys = 256, kMaxRowSplits = 8;
RF_HD constexpr uint32_t attention_row_splits(uint32_t keys) {
  return keys < 2 * kRowSplitKeys ? 1 : keys >= kMaxRowSplits * kRowSplitKeys ? kMaxRowSplits : keys / kRowSplitKeys;
}

}  // namespace rf
