// Attention in float for any row: flash-decoding (Dao et al. 2023) over the keys of one K/V head, all query heads of the group at once.
//
// A key's head_dim elements lie over `Lanes` lanes, 8 · Chunks a lane, so that a group of 32 lanes reads 32/Lanes whole keys with 16-byte
// loads. A block takes a chunk of keys at a time, `unroll` for each such subgroup, and has the next chunk's loads on their way
// meanwhile: all scores first, then one softmax over the chunk with a score a lane, then the values. Between chunks it is an online
// softmax (Milakov and Gimelshein 2018), in powers of two (scores are scaled by log2 e). Every sum has an order that depends on
// nothing but the kernel.
#pragma once
#include "cache.h"

#include "../attention.h"

namespace rf {

constexpr uint32_t kSplitSubgroups = kBlock / kSubgroup;
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

// Eight elements of a K or V row as they were read.
template <uint32_t Dtype>
struct Eight {
  static constexpr bool Half = Dtype == RF_F16;
  Word4 word[Half ? 1 : 2];

  // Aligned: rows are multiples of 16 bytes. n: how many of the eight belong to the row.
  template <bool Aligned>
  RF_DEVICE void read(const uint8_t* base, uint64_t index, uint32_t, uint32_t, uint32_t n) {
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

// Of q8_0 they are read as quants, and what they are multiplied by stays outside their sums.
template <>
struct Eight<RF_Q8_0> {
  Word2 word;
  uint32_t half;  // the scale

  // eighth: which eight of the row; scales: bytes from the row to its scales.
  template <bool Aligned>
  RF_DEVICE void read(const uint8_t* base, uint64_t index, uint32_t eighth, uint32_t scales, uint32_t n) {
    const uint8_t* row = base + index - eighth * 8;
    word = n ? load<Word2>(base + index) : Word2{0, 0};
    half = n ? load<uint16_t>(row + scales + eighth / 4 * 2) : 0;
  }
  RF_DEVICE void decode(float (&v)[8]) const {
    RF_UNROLL for (uint32_t i = 0; i < 8; i++) v[i] = byte_to_float(i < 4 ? word.x : word.y, i % 4);
  }
  RF_DEVICE float scale() const { return half_to_float(uint16_t(half)); }
};

template <uint32_t Lanes_, uint32_t Chunks_, uint32_t Heads_, bool Aligned_>
struct SplitShape {
  static constexpr uint32_t Lanes = Lanes_, Chunks = Chunks_, Heads = Heads_;
  static constexpr bool Aligned = Aligned_;
  static constexpr uint32_t width = Lanes * Chunks * 8;  // head_dim, rounded up
  static constexpr uint32_t clusters = kBlock / Lanes;
  // Keys of a subgroup whose loads are in flight together; registers limit it, and a chunk has no more scores than the block threads.
  static constexpr uint32_t unroll = !Aligned ? 1 : Chunks > 1 || clusters* Heads > 64 ? 2 : 4;
  static constexpr uint32_t keys = clusters * unroll;                  // of a chunk
  static constexpr uint32_t head_subgroups = kSplitSubgroups / Heads;  // groups that share the softmax of a head
  static_assert(keys <= head_subgroups * kSubgroup, "a lane for each score");
};
template <uint32_t N>
struct alignas(N * 4) Pack {
  float v[N];
};
template <class Shape>
struct SplitShared {
  Pack<Shape::unroll> scores[Shape::Heads][Shape::clusters], weights[Shape::Heads][Shape::clusters];
  float shrink[Shape::Heads], peak[Shape::Heads], total[Shape::Heads][Shape::head_subgroups];
  float sums[Shape::Heads][kSplitSubgroups][Shape::width];
};

// Adds each of `Count` values up over the lanes that differ in the bits Mask … Least alone, halving the values at each bit while there
// are several: value i ends up where these bits, from the highest, spell i.
template <uint32_t Mask, uint32_t Least, uint32_t Count, uint32_t N>
RF_DEVICE void fold(float (&v)[N]) {
  if constexpr (Mask != Least / 2) {
    [[maybe_unused]] constexpr uint32_t half = Count / 2;
    [[maybe_unused]] const bool upper = lane_id() & Mask;
    if constexpr (Count == 1) {
      v[0] += shuffle_xor(v[0], Mask);
    } else {
      RF_UNROLL for (uint32_t i = 0; i < half; i++) {
        const float low = v[i], high = v[half + i];
        const float keep = upper ? +high : +low, send = upper ? +low : +high;  // values: a choice of places would need memory
        v[i] = keep + shuffle_xor(send, Mask);
      }
    }
    fold<Mask / 2, Least, Count == 1 ? 1 : half>(v);
  }
}

struct SplitQuery {
  const float* q;    // [n_heads, head_dim]
  uint32_t n_heads;  // ≤ Shape::Heads, all of one K/V head
  uint32_t head_dim;
  uint32_t begin, end;  // keys begin … end - 1
  uint32_t old;  // keys that were there before this plan's step, so that they can be read before the kernel in front has ended
  float scale, softcap;
};

// index(key): where the key's row begins in k and v, in elements (in a q8_0 cache in bytes). emit(head, d, sum, peak, total) takes the result: sum / total is the output.
// Every thread of the block takes part with the same query.
template <class Shape, uint32_t Dtype, class Index, class Emit>
RF_DEVICE void attend(const SplitQuery& a, const uint8_t* k, const uint8_t* v, SplitShared<Shape>& shared, Index index, Emit emit) {
  constexpr uint32_t Lanes = Shape::Lanes, Chunks = Shape::Chunks, Heads = Shape::Heads, Unroll = Shape::unroll;
  constexpr uint32_t Scores = Heads * Unroll,
                     Left = Scores > Lanes ? Scores / Lanes : 1;     // of a subgroup, and of a lane in the end
  constexpr uint32_t Sharing = Scores > Lanes ? 1 : Lanes / Scores;  // lanes that end up with the same score
  const uint32_t cluster_lane = lane_id() % Lanes, cluster = thread_id() / Lanes;
  const float factor = a.softcap > 0 ? a.scale : a.scale * kLog2e;
  uint32_t here[Chunks];  // elements of each chunk that belong to the row
  RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) {
    const uint32_t d = (c * Lanes + cluster_lane) * 8;
    here[c] = d >= a.head_dim ? 0 : a.head_dim - d < 8 ? a.head_dim - d : 8;
  }
  Eight<Dtype> keys[Unroll][Chunks], values[Unroll][Chunks];
  uint64_t rows[Unroll];
  uint32_t scales[Unroll];
  const auto read = [&](Eight<Dtype>(&into)[Unroll][Chunks], const uint8_t* from) {
    RF_UNROLL for (uint32_t u = 0; u < Unroll; u++) RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) into[u][c]
        .template read<Shape::Aligned>(from, rows[u] + (c * Lanes + cluster_lane) * 8, c * Lanes + cluster_lane, scales[u],
                                       here[c]);
  };
  const auto find = [&](uint32_t start) {
    const uint32_t key = start + cluster * Unroll, last = a.end - 1;  // past the end it reads the last one again, and drops it
    RF_UNROLL for (uint32_t u = 0; u < Unroll; u++) {
      const uint32_t at = key + u < last ? key + u : last;
      rows[u] = index(at);
      scales[u] = Dtype == RF_Q8_0 ? cache_scales(at % kBlockTokens, a.head_dim) : 0;
    }
  };
  const bool early = a.begin < a.end && a.end - a.begin >= Shape::keys && a.begin + Shape::keys <= a.old;
  if (!early) begin_kernel();
  if (a.begin < a.end) {
    find(a.begin);
    read(keys, k);
    read(values, v);
  }
  if (early) begin_kernel();
  float q[Heads][Chunks][8], sums[Heads][Chunks][8] = {};
  RF_UNROLL for (uint32_t h = 0; h < Heads; h++) RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) {
    const float* from = a.q + (h < a.n_heads ? h : 0) * a.head_dim + (c * Lanes + cluster_lane) * 8;
    if constexpr (Shape::Aligned) {
      Pack<4> quad[2] = {};
      RF_UNROLL for (uint32_t i = 0; i < 2; i++) if (here[c]) quad[i] = load<Pack<4>>(from + 4 * i);
      RF_UNROLL for (uint32_t i = 0; i < 8; i++) q[h][c][i] = quad[i / 4].v[i % 4] * factor;
    } else {
      RF_UNROLL for (uint32_t i = 0; i < 8; i++) q[h][c][i] = i < here[c] ? from[i] * factor : 0.0f;
    }
  }
  // For the softmax, a lane has the score of one key for the head of its group, and the group's share of the total.
  const uint32_t head = subgroup_id() / Shape::head_subgroups, mine = subgroup_id() % Shape::head_subgroups * kSubgroup + lane_id();
  const float* head_scores = shared.scores[head][0].v;
  float* head_weights = shared.weights[head][0].v;
  float peak = -__builtin_inff(), total = 0;

  for (uint32_t start = a.begin; start < a.end; start += Shape::keys) {
    const bool more = a.end - start > Shape::keys;
    float score[Scores] = {};
    RF_UNROLL for (uint32_t u = 0; u < Unroll; u++) RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) {
      float x[8];
      keys[u][c].decode(x);
      RF_UNROLL for (uint32_t h = 0; h < Heads; h++) {
        float& sum = score[h * Unroll + u];
        if constexpr (Dtype == RF_Q8_0) {
          float product = 0;
          RF_UNROLL for (uint32_t i = 0; i < 8; i++) product = __builtin_fmaf(q[h][c][i], x[i], product);
          sum = __builtin_fmaf(product, keys[u][c].scale(), sum);
        } else {
          RF_UNROLL for (uint32_t i = 0; i < 8; i++) sum = __builtin_fmaf(q[h][c][i], x[i], sum);
        }
      }
    }
    if (more) {
      find(start + Shape::keys);
      read(keys, k);
    }
    fold<Lanes / 2, 1, Scores>(score);
    if (cluster_lane % Sharing == 0) RF_UNROLL for (uint32_t i = 0; i < Left; i++) {
        const uint32_t at = cluster_lane / Sharing * Left + i;
        shared.scores[at / Unroll][cluster].v[at % Unroll] = score[i];
      }
    block_sync();

    const auto score_of = [&](uint32_t key) {
      if (key >= Shape::keys || start + key >= a.end) return -__builtin_inff();
      const float s = head_scores[key];
      return a.softcap > 0 ? soft_cap(s, a.softcap) * kLog2e : s;
    };
    const float own = score_of(mine);
    float next = -__builtin_inff();  // passes over a NaN, which spreads by its own weight
    RF_UNROLL for (uint32_t i = 0; i < (Shape::keys + kSubgroup - 1) / kSubgroup; i++) {
      const float other = score_of(i * kSubgroup + lane_id());
      next = next < other ? other : next;
    }
    next = subgroup_max(next);
    next = next < peak ? peak : next;
    const float base = finite_peak(next), shrink = exp2_fast(peak - base), weight = exp2_fast(own - base);
    total = total * shrink + weight;
    peak = next;
    if (mine < Shape::keys) head_weights[mine] = weight;
    if (mine == 0) shared.shrink[head] = shrink;
    block_sync();

    if (start != a.begin) RF_UNROLL for (uint32_t h = 0; h < Heads; h++) {
        const float by = shared.shrink[h];
        RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) RF_UNROLL for (uint32_t i = 0; i < 8; i++) sums[h][c][i] *= by;
      }
    Pack<Unroll> weights[Heads];
    RF_UNROLL for (uint32_t h = 0; h < Heads; h++) weights[h] = shared.weights[h][cluster];
    RF_UNROLL for (uint32_t u = 0; u < Unroll; u++) RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) {
      float x[8];
      values[u][c].decode(x);
      RF_UNROLL for (uint32_t h = 0; h < Heads; h++) {
        float weight = weights[h].v[u];
        if constexpr (Dtype == RF_Q8_0) weight *= values[u][c].scale();
        RF_UNROLL for (uint32_t i = 0; i < 8; i++) sums[h][c][i] = __builtin_fmaf(weight, x[i], sums[h][c][i]);
      }
    }
    if (more) read(values, v);
  }

  // Join the subgroups of the group …
  RF_UNROLL for (uint32_t h = 0; h < Heads; h++) RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) {
    constexpr uint32_t Apart = kSubgroup / Lanes, Rest = 8 / Apart;  // subgroup s ends up with elements s · Rest on
    const uint32_t d = (c * Lanes + cluster_lane) * 8;
    fold<kSubgroup / 2, Lanes, 8>(sums[h][c]);
    RF_UNROLL for (uint32_t i = 0; i < Rest; i++) shared.sums[h][subgroup_id()][d + lane_id() / Lanes * Rest + i] = sums[h][c][i];
  }
  total = subgroup_sum(total);
  if (lane_id() == 0) {
    shared.total[head][subgroup_id() % Shape::head_subgroups] = total;
    shared.peak[head] = peak;
  }
  block_sync();
  // … and the groups of the block.
  RF_UNROLL for (uint32_t item = thread_id(); item < Heads * Shape::width; item += kBlock) {
    const uint32_t h = item / Shape::width, d = item % Shape::width;
    if (h >= a.n_heads || d >= a.head_dim) continue;
    float sum = 0, whole = 0;
    RF_UNROLL for (uint32_t g = 0; g < kSplitSubgroups; g++) sum += shared.sums[h][g][d];
    RF_UNROLL for (uint32_t g = 0; g < Shape::head_subgroups; g++) whole += shared.total[h][g];
    emit(h, d, sum, shared.peak[h], whole);
  }
}

// The keys of a row, in blocks of 16 tokens, and how many splits share them.
struct RowKeys {
  uint32_t first, first_block, blocks, splits;
};
RF_DEVICE RowKeys row_keys(const AttentionArgs& a, uint32_t position) {
  const uint32_t first = a.window && position >= a.window ? position - a.window + 1 : 0, first_block = first / kBlockTokens;
  const uint32_t blocks = position / kBlockTokens + 1 - first_block;
  return {first, first_block, blocks, a.by_length ? attention_row_splits(blocks * kBlockTokens) : a.n_splits};
}

// One row's share of keys: split s of n takes every block of 16 tokens from s · ceil(blocks / n) on, of those that the row sees.
template <class Shape>
RF_DEVICE void attention_split(const AttentionArgs& a) {
  RF_SHARED SplitShared<Shape> shared;
  const uint32_t row = block_x();
  // Read together: each would wait for the one before. A row beyond the live ones has no sequence to be read.
  const uint32_t row_seq = a.row_seq[row], position = a.row_pos[row], n_tokens = header(a.step).n_tokens;
  const RfStepSeq* all = seqs(a.step);
  const int32_t* tables = block_ids(a.step);
  if (row >= n_tokens) return begin_kernel();
  const RfStepSeq seq = all[row_seq];
  if (a.flash && seq.n_rows > kAttentionFlashRows) return begin_kernel();
  const RowKeys mine = row_keys(a, position);
  if (block_z() >= mine.splits) return begin_kernel();
  const uint32_t group = a.n_heads / a.cache.n_kv_heads, head_blocks = (group + Shape::Heads - 1) / Shape::Heads;
  const uint32_t kv_head = block_y() / head_blocks, first_head = block_y() % head_blocks * Shape::Heads,
                 head = kv_head * group + first_head;
  const uint32_t head_dim = a.cache.head_dim;
  const uint32_t split_blocks = (mine.blocks + mine.splits - 1) / mine.splits;
  const uint32_t from = (mine.first_block + block_z() * split_blocks) * kBlockTokens, to = from + split_blocks * kBlockTokens;
  const SplitQuery query = {a.q + uint64_t(row) * a.q_stride + uint64_t(head) * head_dim,
                            group - first_head < Shape::Heads ? group - first_head : Shape::Heads,
                            head_dim,
                            from < mine.first ? mine.first : from,
                            to < position + 1 ? to : position + 1,
                            seq.kv_len - seq.n_rows,
                            a.scale,
                            a.softcap};
  const int32_t* table = tables + seq.block_start;
  const auto tile = [&](uint32_t key) { return uint64_t(table[key / kBlockTokens]) * a.cache.n_kv_heads + kv_head; };
  const auto index = [&](uint32_t key) { return cache_row(tile(key), key % kBlockTokens, head_dim, false); };
  const uint64_t at = uint64_t(row) * a.n_heads + head;
  const auto emit = [&](uint32_t h, uint32_t d, float sum, float peak, float total) {
    if (mine.splits == 1) {
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
  if (a.cache.dtype == RF_F16) return attend<Shape, RF_F16>(query, a.cache.k, a.cache.v, shared, index, emit);
  if constexpr (Shape::Aligned)  // as rows of q8_0 always are
    if (a.cache.dtype == RF_Q8_0) {
      const auto row = [&](uint32_t key) { return cache_row(tile(key), key % kBlockTokens, head_dim, true); };
      return attend<Shape, RF_Q8_0>(query, a.cache.k, a.cache.v, shared, row, emit);
    }
  attend<Shape, RF_F32>(query, a.cache.k, a.cache.v, shared, index, emit);
}

}  // namespace rf
