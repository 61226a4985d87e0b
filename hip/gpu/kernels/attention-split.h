// Attention of one row in float: flash-decoding (Dao et al. 2023) over the keys of one K/V head, for all its query heads at once.
//
// A cluster of `Lanes` lanes holds one key, 8 · Chunks of its elements in each lane, so that a subgroup reads 32 / Lanes whole keys
// with 16-byte loads. A block processes a tile of keys at a time, `unroll` keys a cluster: first all scores, then one softmax with
// a score in each lane, then the values. The next tile is loaded meanwhile. From tile to tile this is the online softmax (Milakov
// and Gimelshein 2018), in powers of two: scores are scaled by log2 e. The order of every sum depends on the kernel alone.
#pragma once
#include "cache.h"

#include "../attention.h"

namespace rf {

constexpr uint32_t kSplitSubgroups = kBlock / kSubgroup;
constexpr float kLog2e = 1.44269504f;

// cap · tanh(y), y = s / cap. Near 0 a series, because 1 - 2 / (e^2y + 1) loses digits there; elsewhere that formula, with an
// exponent that cannot overflow. A NaN stays a NaN.
RF_DEVICE float soft_cap(float s, float cap) {
  const float y = divide(s, cap), square = y * y;
  const float series =
      y + y * square * (-0.333333333f + square * (0.133333333f + square * (-0.0539682540f + square * 0.0218694885f)));
  const float x = y > 40.0f ? 80.0f * kLog2e : y * (2 * kLog2e);
  const float far = 1.0f - divide(2.0f, exp2_fast(x) + 1.0f);
  return cap * (square < 0.0625f ? series : far);
}

// Eight elements of a K or V row, in the cache's type.
template <uint32_t Dtype>
struct Eight {
  static constexpr bool Half = Dtype == RF_F16;
  Word4 word[Half ? 1 : 2];

  // Aligned: rows are multiples of 16 bytes. n: how many of the eight belong to the row; the others become zero.
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

// q8_0: decode returns the quants; the caller multiplies its sums by scale().
template <>
struct Eight<RF_Q8_0> {
  Word2 word;
  uint32_t half;  // the scale, as f16

  // index: bytes; eighth: elements 8 · eighth … + 7 of the row; scales: bytes from the row to its scales.
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
  // Keys of a cluster that are loaded together. Registers limit it, and a tile must not have more scores than the block has
  // threads.
  static constexpr uint32_t unroll = !Aligned ? 1 : Chunks > 1 || clusters* Heads > 64 ? 2 : 4;
  static constexpr uint32_t keys = clusters * unroll;                  // of a tile
  static constexpr uint32_t head_subgroups = kSplitSubgroups / Heads;  // that compute the softmax of a head together
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

// Sums each of `Count` values over the lanes that differ only in the bits Mask … Least. At each bit a lane keeps half of its
// values, down to one: value i ends in the lanes whose bits, highest first, are i.
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
        // Unary + makes these select values; selecting an element's address would need memory.
        const float keep = upper ? +high : +low, send = upper ? +low : +high;
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
  uint32_t old;         // keys 0 … old - 1 were stored by earlier steps, so they can be read before begin_kernel
  float scale, softcap;
};

// Attention of the heads of `a` over keys a.begin … a.end - 1. index(key): start of the key's row in k and v, in elements (q8_0: in
// bytes). emit(head, d, sum, peak, total) receives the result; the output is sum / total. All threads of a block call this with the
// same query.
template <class Shape, uint32_t Dtype, class Index, class Emit>
RF_DEVICE void attend(const SplitQuery& a, const uint8_t* k, const uint8_t* v, SplitShared<Shape>& shared, Index index, Emit emit) {
  constexpr uint32_t Lanes = Shape::Lanes, Chunks = Shape::Chunks, Heads = Shape::Heads, Unroll = Shape::unroll;
  constexpr uint32_t Scores = Heads * Unroll,
                     Left = Scores > Lanes ? Scores / Lanes : 1;     // of a cluster, and of a lane after fold
  constexpr uint32_t Sharing = Scores > Lanes ? 1 : Lanes / Scores;  // lanes that hold the same score after fold
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
    const uint32_t key = start + cluster * Unroll, last = a.end - 1;  // past the end the last key is read again, and dropped
    RF_UNROLL for (uint32_t u = 0; u < Unroll; u++) {
      const uint32_t at = key + u < last ? key + u : last;
      rows[u] = index(at);
      scales[u] = Dtype == RF_Q8_0 ? cache_scales(at % RF_BLOCK_SIZE, a.head_dim) : 0;
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
  // In the softmax a lane has the score of one key, for the head that its subgroup works on, and a partial sum of the weights.
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
    float next = -__builtin_inff();  // ignores a NaN, whose own weight makes the result NaN
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

  // Sum over the clusters of each subgroup …
  RF_UNROLL for (uint32_t h = 0; h < Heads; h++) RF_UNROLL for (uint32_t c = 0; c < Chunks; c++) {
    constexpr uint32_t Apart = kSubgroup / Lanes, Rest = 8 / Apart;  // cluster s ends with elements s · Rest …
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
  // … then over the subgroups of the block.
  RF_UNROLL for (uint32_t item = thread_id(); item < Heads * Shape::width; item += kBlock) {
    const uint32_t h = item / Shape::width, d = item % Shape::width;
    if (h >= a.n_heads || d >= a.head_dim) continue;
    float sum = 0, whole = 0;
    RF_UNROLL for (uint32_t g = 0; g < kSplitSubgroups; g++) sum += shared.sums[h][g][d];
    RF_UNROLL for (uint32_t g = 0; g < Shape::head_subgroups; g++) whole += shared.total[h][g];
    emit(h, d, sum, shared.peak[h], whole);
  }
}

// The keys that a row attends to, in blocks of RF_BLOCK_SIZE tokens, and the number of splits that share them.
struct RowKeys {
  uint32_t first, first_block, blocks, splits;
};
RF_DEVICE RowKeys row_keys(const AttentionArgs& a, uint32_t position) {
  const uint32_t first = a.window && position >= a.window ? position - a.window + 1 : 0, first_block = first / RF_BLOCK_SIZE;
  const uint32_t blocks = position / RF_BLOCK_SIZE + 1 - first_block;
  return {first, first_block, blocks, a.by_length ? attention_row_splits(blocks * RF_BLOCK_SIZE) : a.n_splits};
}

// One split of a row: split s of n takes the cache blocks s · ceil(blocks / n) … (s + 1) · ceil(blocks / n) - 1 of the row's
// `blocks`.
template <class Shape>
RF_DEVICE void attention_split(const AttentionArgs& a) {
  RF_SHARED SplitShared<Shape> shared;
  const uint32_t row = block_x();
  // Loaded together, because loads one after the other would each wait. Rows beyond the live rows have no sequence.
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
  const uint32_t from = (mine.first_block + block_z() * split_blocks) * RF_BLOCK_SIZE, to = from + split_blocks * RF_BLOCK_SIZE;
  const SplitQuery query = {a.q + uint64_t(row) * a.q_stride + uint64_t(head) * head_dim,
                            group - first_head < Shape::Heads ? group - first_head : Shape::Heads,
                            head_dim,
                            from < mine.first ? mine.first : from,
                            to < position + 1 ? to : position + 1,
                            seq.kv_len - seq.n_rows,
                            a.scale,
                            a.softcap};
  const int32_t* table = tables + seq.block_start;
  const auto tile = [&](uint32_t key) { return uint64_t(table[key / RF_BLOCK_SIZE]) * a.cache.n_kv_heads + kv_head; };
  const auto index = [&](uint32_t key) { return cache_row(tile(key), key % RF_BLOCK_SIZE, head_dim, false); };
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
  if constexpr (Shape::Aligned)  // rows of q8_0 always are
    if (a.cache.dtype == RF_Q8_0) {
      const auto row = [&](uint32_t key) { return cache_row(tile(key), key % RF_BLOCK_SIZE, head_dim, true); };
      return attend<Shape, RF_Q8_0>(query, a.cache.k, a.cache.v, shared, row, emit);
    }
  attend<Shape, RF_F32>(query, a.cache.k, a.cache.v, shared, index, emit);
}

}  // namespace rf
