// FlashAttention-2 (Dao 2023, Algorithm 1) over the paged cache on the matrix units. A block computes kFlashQueries queries of one
// sequence and head, kFlashKeys keys at a time. Operands are f16; S, O and the softmax state are float; exponentials are powers of
// two.
//
// Names are the paper's: S = Q · Kᵀ, m the running maxima of its rows, P = 2^(S - m), l the running sums of P's rows, O = P · V.
#pragma once
#include "attention-split.h"
#include "flash-tiles.h"

namespace rf {

// The tile of a block: kFlashQueries rows of a sequence with more than kAttentionFlashRows rows. The last rows, which attend to the
// most keys, come first.
struct FlashTile {
  RfStepSeq seq;
  uint32_t row;  // its first row within the sequence
  bool found;
};
RF_DEVICE FlashTile flash_tile(const uint32_t* step, uint32_t index) {
  const RfStepSeq* all = seqs(step);
  const uint32_t n_seqs = header(step).n_seqs;
  for (uint32_t s = 0; s < n_seqs; s++) {
    const uint32_t n = all[s].n_rows > kAttentionFlashRows ? (all[s].n_rows + kFlashQueries - 1) / kFlashQueries : 0;
    if (index < n) return {all[s], (n - 1 - index) * kFlashQueries, true};
    index -= n;
  }
  return {{}, 0, false};
}

// S = cap · tanh(S / cap) · log2 e, with an error of about 1e-7 · cap, far below the rounding of f16 operands.
template <uint32_t Rows, uint32_t Columns>
RF_DEVICE void cap_scores(Accumulator (&s)[Rows][Columns], float cap) {
  const float factor = divide(2 * kLog2e, cap), height = cap * kLog2e;
  map(s, [&](float score) {
    const float x = score * factor, e = power_of_2(x > 126.0f ? 126.0f : x);
    return height - 2 * height * reciprocal(e + 1.0f);
  });
}

// Stores q [kFlashQueries, q_stride] times `factor` to shared memory as halves; rows from n_rows on become zeros.
template <class Layout, uint32_t D>
RF_DEVICE void store_queries(uint16_t* shared, const float* q, uint32_t q_stride, uint32_t n_rows, float factor) {
  for (uint32_t item = thread_id(); item < kFlashQueries * (D / kChunk); item += kFlashThreads) {
    const uint32_t row = item / (D / kChunk), chunk = item % (D / kChunk);
    const float* from = q + uint64_t(row) * q_stride + chunk * kChunk;
    uint32_t word[4] = {};
    if (row < n_rows)
      RF_UNROLL for (uint32_t i = 0; i < 4; i++) word[i] = uint32_t(float_to_half_saturated(from[2 * i] * factor)) |
                                                           uint32_t(float_to_half_saturated(from[2 * i + 1] * factor)) << 16;
    *reinterpret_cast<Word4*>(shared + Layout::at(row, chunk)) = {word[0], word[1], word[2], word[3]};
  }
}

// D: head_dim. Quantized: the cache is q8_0, otherwise f16.
template <uint32_t D, bool Quantized>
RF_DEVICE void attention_flash(const AttentionArgs& a) {
  using Tiles = FlashTiles<D, Quantized>;
  using KeyLayout = typename Tiles::KeyLayout;
  using ValueLayout = typename Tiles::ValueLayout;
  constexpr uint32_t kQueryTiles = kFlashQueries / kTile / (kFlashThreads / kWave);  // of one wave
  constexpr uint32_t kKeyTiles = kFlashKeys / kTile, kWidthTiles = D / kTile;
  RF_SHARED Tiles tiles;
  begin_kernel();
  const FlashTile tile = flash_tile(a.step, block_x());
  if (!tile.found) return;
  const uint32_t head = block_y(), group = a.n_heads / a.cache.n_kv_heads;
  const uint32_t past = tile.seq.kv_len - tile.seq.n_rows;  // position of the sequence's row 0
  const uint32_t n_rows = tile.seq.n_rows - tile.row < kFlashQueries ? tile.seq.n_rows - tile.row : kFlashQueries;
  const uint32_t low = past + tile.row, high = low + n_rows - 1;  // positions of the tile's first and last row
  const auto first_key = [&](uint32_t position) { return a.window && position >= a.window ? position - a.window + 1 : 0; };
  const uint32_t first_row = tile.seq.row_start + tile.row;  // of the step
  const FlashSource source = {a.cache.k,          a.cache.v,    block_ids(a.step) + tile.seq.block_start,
                              a.cache.n_kv_heads, head / group, high + 1};

  // Q, scaled so that the softmax takes powers of two. With a soft cap, cap_scores applies log2 e instead.
  store_queries<KeyLayout, D>(tiles.queries(), a.q + uint64_t(first_row) * a.q_stride + uint64_t(head) * D, a.q_stride, n_rows,
                              a.softcap > 0 ? a.scale : a.scale * kLog2e);
  block_sync();
  const uint32_t wave_row = wave_id() * kQueryTiles * kTile;
  Fragment<F16, KeyLayout> q[kQueryTiles][kWidthTiles];
  Accumulator o[kQueryTiles][kWidthTiles];
  RowVector m[kQueryTiles], l[kQueryTiles];
  RF_UNROLL for (uint32_t r = 0; r < kQueryTiles; r++) {
    load_row(q[r], tiles.queries(), wave_row + r * kTile);
    clear(o[r]);
    fill(m[r], -__builtin_inff());
    fill(l[r], 0.0f);
  }
  block_sync();

  FlashCopy<D, Quantized> copy = {tiles};
  uint32_t key = first_key(low) / kFlashKeys * kFlashKeys;
  copy.fetch_k(source, key);
  do {  // at least once, since every row attends to itself
    copy.land_k();
    block_sync();
    copy.fetch_v(source, key);
    schedule_fence();
    Accumulator s[kQueryTiles][kKeyTiles];  // S, then P
    mm_ABt(s, q, tiles.k);                  // S = Q · Kᵀ
    if (a.softcap > 0) cap_scores(s, a.softcap);
    if (key + kFlashKeys - 1 > low || key < first_key(high))  // some row does not attend to some key of this tile
      mask(s, [&](uint32_t row) {
        const uint32_t position = low + wave_row + row;
        return ColumnRange{int32_t(first_key(position) - key), int32_t(position - key)};
      });
    RF_UNROLL for (uint32_t r = 0; r < kQueryTiles; r++) {
      const RowVector shrink = raise_row_max(m[r], s[r]);  // m' = max(m, rowmax(S)), shrink = 2^(m - m')
      scale(l[r], shrink);
      sub_row_exp2(s[r], m[r], l[r]);  // P = 2^(S - m'), l' = 2^(m - m') · l + rowsum(P)
      scale_rows(o[r], shrink);        // O' = diag(2^(m - m')) · O
    }
    schedule_fence();
    copy.land_v();
    block_sync();
    key += kFlashKeys;
    if (key <= high) copy.fetch_k(source, key);
    schedule_fence();
    mm_AB<ValueLayout>(o, s, copy.tiles.v, tiles.weights(wave_row));  // O' += P · V
  } while (key <= high);

  RF_UNROLL for (uint32_t r = 0; r < kQueryTiles; r++) {
    sum_lanes(l[r]);
    invert(l[r]);
    scale_rows(o[r], l[r]);  // diag(l)⁻¹ · O
    for_each(o[r], [&](uint32_t tile_row, uint32_t d, float value) {
      const uint32_t row = wave_row + r * kTile + tile_row;
      if (row < n_rows) a.out[(uint64_t(first_row + row) * a.n_heads + head) * D + d] = value;
    });
  }
}

}  // namespace rf
