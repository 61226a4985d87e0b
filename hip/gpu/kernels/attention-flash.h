// FlashAttention (Dao 2023) over the paged cache on the matrix units: 64 queries of one sequence and head a block, 64 keys at a time,
// f16 operands, float sums and softmax state, in powers of two.
#pragma once
#include "attention-split.h"
#include "flash-tiles.h"

namespace rf {

// The tile of this block: 64 rows of a sequence of more than kAttentionFlashRows rows, the last ones (which see the most keys) first.
struct FlashTile {
  RfStepSeq seq;
  uint32_t row;  // its first, within the sequence
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

// cap · tanh(s / cap) · log2 e of every score, to about 1e-7 of the cap: what f16 operands leave of a score is far less.
RF_DEVICE void flash_cap(Accumulator (&scores)[kFlashStrips][kKeyTiles], float cap) {
  const float factor = divide(2 * kLog2e, cap), height = cap * kLog2e;
  RF_UNROLL for (uint32_t s = 0; s < kFlashStrips; s++) RF_UNROLL for (uint32_t t = 0; t < kKeyTiles; t++) {
    RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) {
      const float x = scores[s][t].value[i] * factor, e = power_of_2(x > 126.0f ? 126.0f : x);
      scores[s][t].value[i] = height - 2 * height * reciprocal(e + 1.0f);
    }
    schedule_fence();
  }
}

// The softmax of one strip's scores, in place: scores become weights, and the sums so far shrink by what the maximum grew.
template <uint32_t DTiles>
RF_DEVICE void flash_softmax(Accumulator (&scores)[kKeyTiles], Accumulator (&sums)[DTiles], float (&peak)[kLaneQueries],
                             float (&total)[kLaneQueries]) {
  float next[kLaneQueries], shrink[kLaneQueries];
  RF_UNROLL for (uint32_t n = 0; n < kLaneQueries; n++) next[n] = peak[n];
  RF_UNROLL for (uint32_t t = 0; t < kKeyTiles; t++) RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) {
    const uint32_t n = lane_query(i);
    next[n] = next[n] < scores[t].value[i] ? scores[t].value[i] : next[n];
  }
  RF_UNROLL for (uint32_t n = 0; n < kLaneQueries; n++) {
    RF_UNROLL for (uint32_t mask = kQueryLanesFrom; mask < kQueryLanesTo; mask *= 2) {
      const float other = shuffle_xor(next[n], mask);
      next[n] = next[n] < other ? other : next[n];
    }
    const float base = finite_peak(next[n]);
    shrink[n] = power_of_2(peak[n] - base);
    peak[n] = next[n];
    next[n] = base;
    total[n] *= shrink[n];
  }
  RF_UNROLL for (uint32_t t = 0; t < kKeyTiles; t++) {
    RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) {
      const uint32_t n = lane_query(i);
      scores[t].value[i] = power_of_2(scores[t].value[i] - next[n]);
      total[n] += scores[t].value[i];
    }
    schedule_fence();
  }
  RF_UNROLL for (uint32_t t = 0; t < DTiles; t++) RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) sums[t].value[i] *=
      shrink[lane_query(i)];
}

// Quantized: of a q8_0 cache, else of an f16 one.
template <uint32_t D, bool Quantized>
RF_DEVICE void attention_flash(const AttentionArgs& a) {
  constexpr uint32_t DTiles = D / 16;
  using Tiles = FlashTiles<D, Quantized>;
  using KeyLayout = typename Tiles::KeyLayout;
  using ValueLayout = typename Tiles::ValueLayout;
  RF_SHARED Tiles tiles;
  begin_kernel();
  const FlashTile tile = flash_tile(a.step, block_x());
  if (!tile.found) return;
  const uint32_t head = block_y(), group = a.n_heads / a.cache.n_kv_heads;
  const uint32_t past = tile.seq.kv_len - tile.seq.n_rows;  // position of the sequence's row 0
  const uint32_t n_rows = tile.seq.n_rows - tile.row < kFlashQueries ? tile.seq.n_rows - tile.row : kFlashQueries;
  const uint32_t low = past + tile.row, high = low + n_rows - 1;  // positions of the tile's rows
  const auto first_key = [&](uint32_t position) { return a.window && position >= a.window ? position - a.window + 1 : 0; };
  const FlashSource source = {a.cache.k,          a.cache.v,    block_ids(a.step) + tile.seq.block_start,
                              a.cache.n_kv_heads, head / group, high + 1};

  // Queries pass through the keys' tile once, scaled (in powers of two where nothing comes between the scores and the softmax).
  const float factor = a.softcap > 0 ? a.scale : a.scale * kLog2e;
  for (uint32_t item = thread_id(); item < kFlashQueries * (D / 8); item += kFlashThreads) {
    const uint32_t row = item / (D / 8), chunk = item % (D / 8);
    const float* q = a.q + uint64_t(tile.seq.row_start + tile.row + row) * a.q_stride + uint64_t(head) * D + chunk * 8;
    uint32_t word[4] = {};
    if (row < n_rows)
      RF_UNROLL for (uint32_t i = 0; i < 4; i++) word[i] =
          uint32_t(float_to_half_saturated(q[2 * i] * factor)) | uint32_t(float_to_half_saturated(q[2 * i + 1] * factor)) << 16;
    *reinterpret_cast<Word4*>(tiles.queries() + KeyLayout::at(row, chunk)) = {word[0], word[1], word[2], word[3]};
  }
  block_sync();
  const uint32_t strip0 = wave_id() * kFlashStrips * 16;
  Fragment<F16, KeyLayout> queries[kFlashStrips][DTiles];
  RF_UNROLL for (uint32_t s = 0; s < kFlashStrips; s++) RF_UNROLL for (uint32_t t = 0; t < DTiles; t++)
      load_fragment(queries[s][t], tiles.queries(), strip0 + s * 16, t * 16);
  block_sync();

  Accumulator sums[kFlashStrips][DTiles];
  float peak[kFlashStrips][kLaneQueries], total[kFlashStrips][kLaneQueries];
  RF_UNROLL for (uint32_t s = 0; s < kFlashStrips; s++) {
    RF_UNROLL for (uint32_t t = 0; t < DTiles; t++) clear(sums[s][t]);
    RF_UNROLL for (uint32_t n = 0; n < kLaneQueries; n++) {
      peak[s][n] = -__builtin_inff();
      total[s][n] = 0;
    }
  }

  FlashCopy<D, Quantized> copy = {tiles};
  uint32_t key = first_key(low) / kFlashKeys * kFlashKeys;
  copy.fetch_k(source, key);
  do {  // a row sees itself at least
    copy.land_k();
    block_sync();
    copy.fetch_v(source, key);
    schedule_fence();
    Accumulator scores[kFlashStrips][kKeyTiles];
    RF_UNROLL for (uint32_t t = 0; t < kKeyTiles; t++) {
      RF_UNROLL for (uint32_t s = 0; s < kFlashStrips; s++) clear(scores[s][t]);
      RF_UNROLL for (uint32_t d = 0; d < DTiles; d++) {
        Fragment<F16, KeyLayout> keys;
        load_fragment(keys, tiles.k, t * 16, d * 16);
        RF_UNROLL for (uint32_t s = 0; s < kFlashStrips; s++) multiply_scores(scores[s][t], queries[s][d], keys);
        if (d % kFlashAhead == kFlashAhead - 1) schedule_fence();
      }
    }
    if (a.softcap > 0) flash_cap(scores, a.softcap);
    if (key + kFlashKeys - 1 > low || key < first_key(high))  // some row does not see some key of this tile
      RF_UNROLL for (uint32_t s = 0; s < kFlashStrips; s++) {
        int32_t last[kLaneQueries], first[kLaneQueries];  // what this lane's queries see of the tile
        RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) {
          const uint32_t position = low + strip0 + s * 16 + query_at(i);
          last[lane_query(i)] = int32_t(position - key);
          first[lane_query(i)] = int32_t(first_key(position) - key);
        }
        RF_UNROLL for (uint32_t t = 0; t < kKeyTiles; t++) RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) {
          const int32_t at = int32_t(t * 16 + other_at(i));
          if (at > last[lane_query(i)] || at < first[lane_query(i)]) scores[s][t].value[i] = -__builtin_inff();
        }
      }
    RF_UNROLL for (uint32_t s = 0; s < kFlashStrips; s++) flash_softmax<DTiles>(scores[s], sums[s], peak[s], total[s]);
    schedule_fence();
    copy.land_v();
    block_sync();
    key += kFlashKeys;
    if (key <= high) copy.fetch_k(source, key);
    schedule_fence();
    RF_UNROLL for (uint32_t t = 0; t < kKeyTiles; t++) {
      Fragment<F16, ValueLayout> weights[kFlashStrips];
      RF_UNROLL for (uint32_t s = 0; s < kFlashStrips; s++)
          weights_fragment(weights[s], scores[s][t], tiles.weights(strip0 / 16 + s), t);
      schedule_fence();
      RF_UNROLL for (uint32_t d = 0; d < DTiles; d++) {
        Fragment<F16, ValueLayout> values;
        copy.value_fragment(values, d * 16, t * 16);
        RF_UNROLL for (uint32_t s = 0; s < kFlashStrips; s++) multiply_sums(sums[s][d], weights[s], values);
        if (d % kFlashAhead == kFlashAhead - 1) schedule_fence();
      }
    }
  } while (key <= high);

  RF_UNROLL for (uint32_t s = 0; s < kFlashStrips; s++) {
    RF_UNROLL for (uint32_t n = 0; n < kLaneQueries; n++) {
      RF_UNROLL for (uint32_t mask = kQueryLanesFrom; mask < kQueryLanesTo; mask *= 2) total[s][n] +=
          shuffle_xor(total[s][n], mask);
      total[s][n] = divide(1.0f, total[s][n]);
    }
    RF_UNROLL for (uint32_t t = 0; t < DTiles; t++) RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) {
      const uint32_t row = strip0 + s * 16 + query_at(i);
      float* out = a.out + (uint64_t(tile.seq.row_start + tile.row + row) * a.n_heads + head) * D;
      if (row < n_rows) out[t * 16 + other_at(i)] = sums[s][t].value[i] * total[s][lane_query(i)];
    }
  }
}

}  // namespace rf
