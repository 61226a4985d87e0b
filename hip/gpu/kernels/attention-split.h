// Attention in float for any row: flash-decoding (Dao et al. 2023) over the keys of one K/V head, all query heads of the group at once.
//
// A key's head_dim elements lie over `Lanes` lanes, 8 · Chunks a lane, so that a group of 32 lanes reads 32/Lanes whole keys with 16-byte
// loads. Each such subgroup walks its own keys with an online softmax (Milakov and Gimelshein 2018), in powers of two (scores are
// scaled by log2 e); the subgroups of the block are joined at the end, in an order that depends on nothing but the kernel.
#pragma once
#include "../attention.h"
#include "step.h"

namespace rf {

constexpr uint32_t kSplitGroups = kBlock / kGroup;
constexpr float kLog2e = 1.44269504f;

// cap · tanh(s / cap). Near 0 by its series (the other form would lose digits), elsewhere 1 - 2 / (e^2y + 1) with an exponent that cannot
// overflow; a NaN stays one.
RF_DEVICE float soft_cap(float s, float cap) {
  const float y = divide(s, cap), square = y * y;
  const float series =
      y + y * square * (-0.333333333f + square * (0.133333333f + square * (-0.0539682540f + square * 0.0218694885f)));
  const float x = y > 40.0f ? 80.0f * kLog2e : y * (2 * kLog2e);
  const float far = 1.0f - divide(2.0f, exp2_fast(x) + 1.0f);
  return cap * (square < 0.0625f ? series : far);
}
// What the running maximum is subtracted as: a maximum of -inf (no key yet) would give NaN.
RF_DEVICE float finite_peak(float peak) { return peak == -__builtin_inff() ? 0.0f : peak; }

// Eight elements of a K or V row as they were read.
template <bool Half>
struct Eight {
  Word4 word[Half ? 1 : 2];

  // Aligned: rows are multiples of 16 bytes. n: how many of the eight belong to the row.
  template <bool Aligned>
  RF_DEVICE void read(const uint8_t* base, uint64_t index, uint32_t n) {
    const uint8_t* p = base + index * (Half ? 2 : 4);
    if constexpr (Aligned) {
      const Word4 zero = {0, 0, 0, 0};
      RF_UNROLL for (uint32_t i = 0; i < (Half ? 1 : 2); i++) word[i] = n ? load<Word4>(p + i * 16) : zero;
    } else if constexpr (Half) {
      const auto* h = reinterpret_cast<const uint16_t*>(p);
      const auto pair = [&](uint32_t i) { return (i < n ? uint32_t(h[i]) : 0u) | (i + 1 < n ? uint32_t(h[i + 1]) : 0u) << 16; };
      word[0] = {pair(0), pair(2), pair(4), pair(6)};
    } else {
      const auto* w = reinterpret_cast<const uint32_t*>(p);
      const auto one = [&](uint32_t i) { return i < n ? w[i] : 0u; };
      word[0] = {one(0), one(1), one(2), one(3)};
      word[1] = {one(4), one(5), one(6), one(7)};
    }
  }
  RF_DEVICE void decode(float (&v)[8]) const {
    if constexpr (Half) {
      const uint32_t w[4] = {word[0].x, word[0].y, word[0].z, word[0].w};
      RF_UNROLL for (uint32_t i = 0; i < 4; i++) {
        v[2 * i] = half_to_float(uint16_t(w[i]));
        v[2 * i + 1] = half_to_float(uint16_t(w[i] >> 16));
      }
    } else {
      const uint32_t w[8] = {word[0].x, word[0].y, word[0].z, word[0].w, word[1].x, word[1].y, word[1].z, word[1].w};
      RF_UNROLL for (uint32_t i = 0; i < 8; i++) v[i] = bits_float(w[i]);
    }
  }
};

template <uint32_t Lanes_, uint32_t Chunks_, uint32_t Heads_, bool Aligned_>
struct SplitShape {
  static constexpr uint32_t Lanes = Lanes_, Chunks = Chunks_, Heads = Heads_;
  static constexpr bool Aligned = Aligned_;
  static constexpr uint32_t width = Lanes * Chunks * 8;  // head_dim, rounded up
  static constexpr uint32_t keys = kBlock / Lanes;       // of one pass of the block
  static constexpr uint32_t unroll =
      Chunks * Heads > 2 || !Aligned ? 2 : 4;  // passes whose loads are in flight together; registers limit it
};
template <class Shape>
struct SplitShared {
  float sums[Shape::Heads][kSplitGroups][Shape::width];
  float peak[Shape::Heads][kSplitGroups], total[Shape::Heads][kSplitGroups];
};

struct SplitQuery {
  const float* q;    // [n_heads, head_dim]
  uint32_t n_heads;  // ≤ Shape::Heads, all of one K/V head
  uint32_t head_dim;
  uint32_t begin, end;  // keys begin … end - 1
  float scale, softcap;
};

// index(key): where the key's row begins in k and v, in elements. emit(head, d, sum, peak, total) takes the result: sum / total is the output.
// Every thread of the block takes part with the same query.
template <class Shape, bool Half, class Index, class Emit>
RF_DEVICE void attend(const SplitQuery& a, const uint8_t* k, const uint8_t* v, SplitShared<Shape>& shared, Index index, Emit emit) {
  constexpr uint32_t Lanes = Shape::Lanes, Chunks = Shape::Chunks, Heads = Shape::Heads, Unroll = Shape::unroll;
  constexpr bool Aligned = Shape::Aligned;
  const uint32_t sub = lane_id() % Lanes, slot = thread_id() / Lanes;
  const float factor = a.softcap > 0 ? a.scale : a.scale * kLog2e;
  float q[Heads][Chunks][8], sums[Heads][Chunks][8] = {}, peak[Heads], total[Heads];
  uint32_t here[Chunks];  // elements of each chunk that belong to the row
  RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) {
    const uint32_t d = (c * Lanes + sub) * 8;
    here[c] = d >= a.head_dim ? 0 : a.head_dim - d < 8 ? a.head_dim - d : 8;
    RF_UNROLL for (uint32_t h = 0; h < Heads; h++) RF_UNROLL for (uint32_t i = 0; i < 8; i++) q[h][c][i] =
        h < a.n_heads && i < here[c] ? a.q[h * a.head_dim + d + i] * factor : 0.0f;
  }
  RF_UNROLL for (uint32_t h = 0; h < Heads; h++) {
    peak[h] = -__builtin_inff();
    total[h] = 0;
  }

  for (uint32_t start = a.begin; start < a.end; start += Shape::keys * Unroll) {
    Eight<Half> keys[Unroll][Chunks], values[Unroll][Chunks];
    RF_UNROLL for (uint32_t u = 0; u < Unroll; u++) {
      const uint32_t key = start + u * Shape::keys + slot,
                     last = a.end - 1;  // one past the end reads the last one again, and drops it
      const uint64_t row = index(key < last ? key : last);
      RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) {
        keys[u][c].template read<Aligned>(k, row + (c * Lanes + sub) * 8, here[c]);
        values[u][c].template read<Aligned>(v, row + (c * Lanes + sub) * 8, here[c]);
      }
    }
    float score[Unroll][Heads];
    RF_UNROLL for (uint32_t u = 0; u < Unroll; u++) {
      RF_UNROLL for (uint32_t h = 0; h < Heads; h++) score[u][h] = 0;
      RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) {
        float x[8];
        keys[u][c].decode(x);
        RF_UNROLL for (uint32_t h = 0; h < Heads; h++) RF_UNROLL for (uint32_t i = 0; i < 8; i++) score[u][h] =
            __builtin_fmaf(q[h][c][i], x[i], score[u][h]);
      }
      const bool seen = start + u * Shape::keys + slot < a.end;
      RF_UNROLL for (uint32_t h = 0; h < Heads; h++) {
        float s = score[u][h];
        RF_UNROLL for (uint32_t mask = Lanes / 2; mask; mask /= 2) s += shuffle_xor(s, mask);
        if (a.softcap > 0) s = soft_cap(s, a.softcap) * kLog2e;
        score[u][h] = seen ? s : -__builtin_inff();
      }
    }
    RF_UNROLL for (uint32_t h = 0; h < Heads; h++) {
      float next = peak[h];
      RF_UNROLL for (uint32_t u = 0; u < Unroll; u++) next = next < score[u][h] ? score[u][h] : next;
      const float base = finite_peak(next), shrink = exp2_fast(peak[h] - base);
      peak[h] = next;
      total[h] *= shrink;
      RF_UNROLL for (uint32_t u = 0; u < Unroll; u++) {
        score[u][h] = exp2_fast(score[u][h] - base);
        total[h] += score[u][h];
      }
      RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) RF_UNROLL for (uint32_t i = 0; i < 8; i++) sums[h][c][i] *= shrink;
    }
    RF_UNROLL for (uint32_t u = 0; u < Unroll; u++) RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) {
      float x[8];
      values[u][c].decode(x);
      RF_UNROLL for (uint32_t h = 0; h < Heads; h++) RF_UNROLL for (uint32_t i = 0; i < 8; i++) sums[h][c][i] =
          __builtin_fmaf(score[u][h], x[i], sums[h][c][i]);
    }
  }

  // Join the subgroups of the group …
  RF_UNROLL for (uint32_t h = 0; h < Heads; h++) {
    float greatest = peak[h];
    RF_UNROLL for (uint32_t mask = Lanes; mask < kGroup; mask *= 2) {
      const float other = shuffle_xor(greatest, mask);
      greatest = greatest < other ? other : greatest;
    }
    const float weight = exp2_fast(peak[h] - finite_peak(greatest));
    total[h] *= weight;
    RF_UNROLL for (uint32_t mask = Lanes; mask < kGroup; mask *= 2) total[h] += shuffle_xor(total[h], mask);
    RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) RF_UNROLL for (uint32_t i = 0; i < 8; i++) {
      float x = sums[h][c][i] * weight;
      RF_UNROLL for (uint32_t mask = Lanes; mask < kGroup; mask *= 2) x += shuffle_xor(x, mask);
      if (lane_id() < Lanes) shared.sums[h][group_id()][(c * Lanes + sub) * 8 + i] = x;
    }
    if (lane_id() == 0) {
      shared.peak[h][group_id()] = greatest;
      shared.total[h][group_id()] = total[h];
    }
  }
  block_sync();
  // … and the groups of the block.
  for (uint32_t item = thread_id(); item < a.n_heads * a.head_dim; item += kBlock) {
    const uint32_t h = item / a.head_dim, d = item % a.head_dim;
    float greatest = -__builtin_inff(), sum = 0, whole = 0;
    RF_UNROLL for (uint32_t g = 0; g < kSplitGroups; g++) greatest = greatest < shared.peak[h][g] ? shared.peak[h][g] : greatest;
    RF_UNROLL for (uint32_t g = 0; g < kSplitGroups; g++) {
      const float weight = exp2_fast(shared.peak[h][g] - finite_peak(greatest));
      sum += shared.sums[h][g][d] * weight;
      whole += shared.total[h][g] * weight;
    }
    emit(h, d, sum, greatest, whole);
  }
}

// One row's share of keys: split s of n takes every block of 16 tokens from s · ceil(blocks / n) on, of those that the row sees.
template <class Shape>
RF_DEVICE void attention_split(const AttentionArgs& a) {
  RF_SHARED SplitShared<Shape> shared;
  const uint32_t row = block_x();
  if (row >= header(a.step).n_tokens) return;
  const RfStepSeq seq = seqs(a.step)[a.row_seq[row]];
  if (a.flash && seq.n_rows > kAttentionFlashRows) return;
  const uint32_t group = a.n_heads / a.cache.n_kv_heads, parts = (group + Shape::Heads - 1) / Shape::Heads;
  const uint32_t kv_head = block_y() / parts, first_head = block_y() % parts * Shape::Heads, head = kv_head * group + first_head;
  const uint32_t position = a.row_pos[row], head_dim = a.cache.head_dim;
  const uint32_t first = a.window && position >= a.window ? position - a.window + 1 : 0;
  const uint32_t first_block = first / kBlockTokens, blocks = position / kBlockTokens + 1 - first_block;
  const uint32_t share = (blocks + a.n_splits - 1) / a.n_splits;
  const uint32_t from = (first_block + block_z() * share) * kBlockTokens, to = from + share * kBlockTokens;
  const SplitQuery query = {a.q + uint64_t(row) * a.q_stride + uint64_t(head) * head_dim,
                            group - first_head < Shape::Heads ? group - first_head : Shape::Heads,
                            head_dim,
                            from < first ? first : from,
                            to < position + 1 ? to : position + 1,
                            a.scale,
                            a.softcap};
  const int32_t* table = block_ids(a.step) + seq.block_start;
  const auto index = [&](uint32_t key) {
    return ((uint64_t(table[key / kBlockTokens]) * a.cache.n_kv_heads + kv_head) * kBlockTokens + key % kBlockTokens) * head_dim;
  };
  const uint64_t at = uint64_t(row) * a.n_heads + head;
  const auto emit = [&](uint32_t h, uint32_t d, float sum, float peak, float total) {
    if (a.n_splits == 1) {
      a.out[(at + h) * head_dim + d] = divide(sum, total);
      return;
    }
    float* partial = a.partial + ((at + h) * a.n_splits + block_z()) * (head_dim + 2);
    partial[d] = sum;
    if (d == 0) {
      partial[head_dim] = peak;
      partial[head_dim + 1] = total;
    }
  };
  if (a.cache.dtype == RF_F16) attend<Shape, true>(query, a.cache.k, a.cache.v, shared, index, emit);
  else attend<Shape, false>(query, a.cache.k, a.cache.v, shared, index, emit);
}

}  // namespace rf
