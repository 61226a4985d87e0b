// Attention with an online softmax (Milakov and Gimelshein 2018; Dao et al. 2022): a block of keys at a time, a key in each lane,
// for up to kMaxQueries queries together. A query's sums run over the same blocks in the same order whatever the other queries are.
#pragma once
#include <algorithm>

#include "activations.h"
#include "kernels.h"
#include "vec.h"

namespace rf {
namespace RF_ISA {

constexpr uint32_t kMaxQueries = 8;
constexpr int64_t kBlockKeys = RF_BLOCK_SIZE;  // positions are signed

struct Query {
  const float* q;       // [head_dim]
  float* out;           // [head_dim]
  int64_t first, last;  // keys it sees, both included
};

// kLanes elements from `index` on as floats; those of q8_0 without their scale.
template <uint32_t Dtype>
RF_INLINE f32x16 load_lanes(const uint8_t* p, uint64_t index) {
  if constexpr (Dtype == RF_Q8_0) return to_float(__builtin_convertvector(load<i8x16>(p + index), i32x16));
  else if constexpr (Dtype == RF_F16) return from_half(load<u16x16>(p + index * 2));
  else return load<f32x16>(p + index * 4);
}
// The scales of the rows of a q8_0 tile, for the group of elements that begins at `element`.
RF_INLINE f32x16 load_scales(const uint8_t* tile, uint64_t head_dim, uint64_t element) {
  return from_half(load<u16x16>(tile + head_dim * RF_BLOCK_SIZE + element / kCacheGroup * sizeof(u16x16)));
}

RF_INLINE f32x16 soft_cap(f32x16 s, float cap) {  // cap · tanh(s / cap)
  return splat(cap) - splat(2 * cap) / (vexp(s * splat(2 / cap)) + splat(1.0f));
}

// Floats of scratch that `attend` uses: scaled queries and running outputs.
RF_INLINE uint64_t attend_floats(uint64_t head_dim) { return 2 * kMaxQueries * round_to_lanes(head_dim); }

// Attention of N queries. block(index, &k, &v) points k [head_dim, RF_BLOCK_SIZE] and v [RF_BLOCK_SIZE, dim] at the index-th block
// of keys; dim is head_dim rounded up to lanes.
template <uint32_t Dtype, int N, class Blocks>
void attend(const Query* queries, uint32_t head_dim, float scale, float cap, Blocks block, float* scratch) {
  const uint64_t dim = round_to_lanes(head_dim);
  float* q = scratch;
  float* sums = scratch + kMaxQueries * dim;
  memset(sums, 0, N * dim * 4);
  float peak[N], total[N];
  int64_t first = queries[0].first, last = queries[0].last;
  for (int n = 0; n < N; n++) {
    peak[n] = -__builtin_inff();
    total[n] = 0;
    first = std::min(first, queries[n].first);
    last = std::max(last, queries[n].last);
    for (uint32_t d = 0; d < head_dim; d++) q[uint64_t(n) * dim + d] = queries[n].q[d] * scale;
  }
  const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  for (int64_t b = first / kBlockKeys; b <= last / kBlockKeys; b++) {
    const uint8_t *k, *v;
    block(b, &k, &v);
    f32x16 s[N] = {}, odd[N] = {};
    uint32_t d = 0;
    const auto multiply = [&](uint32_t end, f32x16* even) {
      for (; d + 2 <= end; d += 2) {
        const f32x16 k0 = load_lanes<Dtype>(k, uint64_t(d) * RF_BLOCK_SIZE),
                     k1 = load_lanes<Dtype>(k, uint64_t(d + 1) * RF_BLOCK_SIZE);
        for (int n = 0; n < N; n++) {
          even[n] = madd(splat(q[uint64_t(n) * dim + d]), k0, even[n]);
          odd[n] = madd(splat(q[uint64_t(n) * dim + d + 1]), k1, odd[n]);
        }
      }
    };
    if constexpr (Dtype == RF_Q8_0) {
      while (d < head_dim) {
        const f32x16 scales = load_scales(k, head_dim, d);
        f32x16 even[N] = {};
        for (int n = 0; n < N; n++) odd[n] = f32x16{};
        multiply(d + kCacheGroup, even);
        for (int n = 0; n < N; n++) s[n] = madd(even[n] + odd[n], scales, s[n]);
      }
      for (int n = 0; n < N; n++) odd[n] = f32x16{};
    } else {
      multiply(head_dim, s);
      if (d < head_dim)
        for (int n = 0; n < N; n++)
          s[n] = madd(splat(q[uint64_t(n) * dim + d]), load_lanes<Dtype>(k, uint64_t(d) * RF_BLOCK_SIZE), s[n]);
    }

    alignas(64) float p[N][RF_BLOCK_SIZE];
    const int64_t start = b * kBlockKeys;
    for (int n = 0; n < N; n++) {
      const int64_t low = queries[n].first - start, high = queries[n].last - start;
      if (low >= kBlockKeys || high < 0) {  // no key of this block is visible to this query, only to others of the group
        store(p[n], f32x16{});
        continue;
      }
      f32x16 x = s[n] + odd[n];
      if (cap > 0) x = soft_cap(x, cap);
      const i32x16 seen = (lane >= int32_t(std::max<int64_t>(low, 0))) & (lane <= int32_t(std::min<int64_t>(high, kBlockKeys - 1)));
      x = select(seen, x, splat(-__builtin_inff()));
      const float greatest = max(x);
      if (greatest > peak[n]) {
        const float shrink = vexp(splat(peak[n] - greatest))[0];
        total[n] *= shrink;
        for (uint64_t c = 0; c < dim; c += kLanes)
          store(sums + uint64_t(n) * dim + c, load<f32x16>(sums + uint64_t(n) * dim + c) * splat(shrink));
        peak[n] = greatest;
      }
      const f32x16 e = select(seen, vexp(x - splat(peak[n])), splat(0.0f));
      total[n] += sum(e);
      store(p[n], e);
    }
    const int64_t n_keys = std::min<int64_t>(kBlockKeys, last + 1 - start);
    alignas(64) float scaled[N][RF_BLOCK_SIZE];
    for (uint64_t c = 0; c < dim; c += kLanes) {
      if (Dtype == RF_Q8_0 && c % kCacheGroup == 0) {
        const f32x16 scales = load_scales(v, dim, c);
        for (int n = 0; n < N; n++) store(scaled[n], load<f32x16>(p[n]) * scales);
      }
      const auto& weights = Dtype == RF_Q8_0 ? scaled : p;
      f32x16 acc[N];
      for (int n = 0; n < N; n++) acc[n] = load<f32x16>(sums + uint64_t(n) * dim + c);
      for (int64_t j = 0; j < n_keys; j++) {
        const f32x16 value = load_lanes<Dtype>(v, uint64_t(j) * dim + c);
        for (int n = 0; n < N; n++) acc[n] = madd(splat(weights[n][j]), value, acc[n]);
      }
      for (int n = 0; n < N; n++) store(sums + uint64_t(n) * dim + c, acc[n]);
    }
  }
  for (int n = 0; n < N; n++)
    for (uint32_t d = 0; d < head_dim; d++) queries[n].out[d] = sums[uint64_t(n) * dim + d] / total[n];
}

template <uint32_t Dtype, class Blocks>
RF_INLINE void attend_any(const Query* queries, uint32_t n, uint32_t head_dim, float scale, float cap, Blocks block,
                          float* scratch) {
  switch (n) {
    case 1: return attend<Dtype, 1>(queries, head_dim, scale, cap, block, scratch);
    case 2: return attend<Dtype, 2>(queries, head_dim, scale, cap, block, scratch);
    case 3: return attend<Dtype, 3>(queries, head_dim, scale, cap, block, scratch);
    case 4: return attend<Dtype, 4>(queries, head_dim, scale, cap, block, scratch);
    case 5: return attend<Dtype, 5>(queries, head_dim, scale, cap, block, scratch);
    case 6: return attend<Dtype, 6>(queries, head_dim, scale, cap, block, scratch);
    case 7: return attend<Dtype, 7>(queries, head_dim, scale, cap, block, scratch);
    default: return attend<Dtype, 8>(queries, head_dim, scale, cap, block, scratch);
  }
}

// How the queries that share a K/V head are grouped into work items: all heads of the group together where that leaves enough items
// for every thread, single heads otherwise.
struct Grouping {
  uint32_t heads, rows, head_parts;  // heads and rows of one item; items a K/V head's group is cut into
  Grouping(uint32_t group, uint64_t n_rows, uint32_t n_kv_heads, uint32_t n_threads) {
    const bool scarce = n_rows * n_kv_heads < 4 * uint64_t(n_threads);
    heads = scarce ? 1 : std::min(group, kMaxQueries);
    head_parts = (group + heads - 1) / heads;
    rows = kMaxQueries / heads;
  }
};

inline void attention(const Worker& worker, const AttentionArgs& a, const StepView& step) {
  const uint32_t group = a.n_heads / a.n_kv_heads;
  const Grouping grouping(group, step.n_tokens, a.n_kv_heads, worker.count);
  uint32_t n_items = 0;
  for (uint32_t s = 0; s < step.n_seqs; s++)
    n_items += (step.seqs[s].n_rows + grouping.rows - 1) / grouping.rows * a.n_kv_heads * grouping.head_parts;
  auto* scratch = reinterpret_cast<float*>(worker.scratch);
  for (uint32_t item, end; worker.take(n_items, 1, &item, &end);) {
    uint32_t s = 0, left = item;  // the last rows see the most keys, so they are computed first
    for (;; s++) {
      const uint32_t n = (step.seqs[s].n_rows + grouping.rows - 1) / grouping.rows * a.n_kv_heads * grouping.head_parts;
      if (left < n) {
        left = n - 1 - left;
        break;
      }
      left -= n;
    }
    const RfStepSeq& seq = step.seqs[s];
    const uint32_t part = left % grouping.head_parts, kv_head = left / grouping.head_parts % a.n_kv_heads;
    const uint32_t row0 = left / grouping.head_parts / a.n_kv_heads * grouping.rows,
                   row1 = std::min(row0 + grouping.rows, seq.n_rows);
    const uint32_t head0 = part * grouping.heads, head1 = std::min(head0 + grouping.heads, group);
    Query queries[kMaxQueries];
    uint32_t n = 0;
    for (uint32_t row = row0; row < row1; row++)
      for (uint32_t h = head0; h < head1; h++) {
        const uint64_t at = seq.row_start + row, head = kv_head * group + h;
        const int64_t last = int64_t(seq.kv_len) - seq.n_rows + row;
        const int64_t first = a.window && last >= a.window ? last - a.window + 1 : 0;
        queries[n++] = {a.q + at * a.q_stride + head * a.head_dim, a.out + (at * a.n_heads + head) * a.head_dim, first, last};
      }
    const int32_t* table = step.blocks + seq.block_start;
    const uint64_t k_tile = a.cache.k_tile_bytes(), v_tile = a.cache.v_tile_bytes();
    const auto block = [&](int64_t index, const uint8_t** k, const uint8_t** v) {
      const uint64_t at = uint64_t(table[index]) * a.cache.block_stride;
      *k = a.cache.k + at + kv_head * k_tile;
      *v = a.cache.v + at + kv_head * v_tile;
    };
    switch (a.cache.dtype) {
      case RF_Q8_0: attend_any<RF_Q8_0>(queries, n, a.head_dim, a.scale, a.softcap, block, scratch); break;
      case RF_F16: attend_any<RF_F16>(queries, n, a.head_dim, a.scale, a.softcap, block, scratch); break;
      default: attend_any<RF_F32>(queries, n, a.head_dim, a.scale, a.softcap, block, scratch);
    }
  }
}

// The keys that row `row` of the queries sees, as ops.h says.
inline Query dense_query(const DenseAttentionArgs& a, uint64_t row, uint64_t head) {
  const uint64_t at = (row * a.n_heads + head) * a.head_dim;
  const int64_t end = a.n_k, position = end - int64_t(a.n_q) + int64_t(row), window = a.window;
  Query query{a.q + at, a.out + at, 0, a.causal ? position : end - 1};
  if (window) {
    query.first = std::max<int64_t>(0, position - window + 1);
    query.last = std::min(query.last, position + window - 1);
  }
  return query;
}

inline void attention_dense(const Worker& worker, const DenseAttentionArgs& a) {
  const uint32_t group = a.n_heads / a.n_kv_heads;
  const uint64_t dim = round_to_lanes(a.head_dim);
  auto* scratch = reinterpret_cast<float*>(worker.scratch);
  float *packed_k = scratch + attend_floats(a.head_dim), *packed_v = packed_k + RF_BLOCK_SIZE * dim;
  for (uint32_t item, end; worker.take(a.n_q * a.n_heads, 1, &item, &end);) {
    const uint64_t head = item % a.n_heads, kv_head = head / group;
    const Query query = dense_query(a, item / a.n_heads, head);
    const auto block = [&](int64_t index, const uint8_t** k, const uint8_t** v) {
      memset(packed_k, 0, 2 * RF_BLOCK_SIZE * dim * sizeof(float));
      const uint64_t first = uint64_t(index) * RF_BLOCK_SIZE;
      for (uint64_t j = 0; j < RF_BLOCK_SIZE && first + j < a.n_k; j++) {
        const uint64_t key = ((first + j) * a.n_kv_heads + kv_head) * a.head_dim;
        for (uint64_t d = 0; d < a.head_dim; d++) packed_k[d * RF_BLOCK_SIZE + j] = a.k[key + d];
        memcpy(packed_v + j * dim, a.v + key, a.head_dim * sizeof(float));
      }
      *k = reinterpret_cast<const uint8_t*>(packed_k);
      *v = reinterpret_cast<const uint8_t*>(packed_v);
    };
    attend<RF_F32, 1>(&query, a.head_dim, a.scale, 0, block, scratch);
  }
}

inline uint64_t attention_scratch_bytes(uint32_t head_dim) {
  return (attend_floats(head_dim) + 2 * RF_BLOCK_SIZE * round_to_lanes(head_dim)) * sizeof(float);
}

// Rounds kCacheGroup elements as cache.h says, and returns their scale as f16. A NaN among them becomes the scale.
inline uint16_t quantize_group(const float* in, int8_t* out) {
  const f32x16 x[2] = {load<f32x16>(in), load<f32x16>(in + kLanes)},
               magic = splat(12582912.0f);  // 1.5 · 2^23: adding it rounds to even
  // Floats without their sign compare like their bits, and a NaN is the greatest.
  const i32x16 m0 = i32x16(vabs(x[0])), m1 = i32x16(vabs(x[1]));
  const int32_t bits = max16(m0 > m1 ? m0 : m1);
  float amax;
  memcpy(&amax, &bits, 4);
  if (amax > kCacheLimit) amax = kCacheLimit;
  const float scale = amax / kCacheMax, inverse = amax > 1e-30f ? 1.0f / scale : 0.0f;
  for (int g = 0; g < 2; g++) {
    f32x16 y = x[g] * splat(inverse);
    y = select(y > kCacheMax, splat(kCacheMax), select(y < -kCacheMax, splat(-kCacheMax), y));
    store(out + kLanes * uint32_t(g), __builtin_convertvector(i32x16(y + magic) - 0x4b400000, i8x16));
  }
  return to_half(splat(scale))[0];
}

// Rounds a row to int8, written `stride` bytes apart, and its scales, written RF_BLOCK_SIZE of them apart.
inline void store_quantized(const float* row, uint64_t head_dim, uint8_t* to, uint64_t stride, uint8_t* scales) {
  for (uint64_t d = 0; d < head_dim; d += kCacheGroup) {
    int8_t q[kCacheGroup];
    const uint16_t scale = quantize_group(row + d, q);
    if (stride == 1) memcpy(to + d, q, kCacheGroup);
    else
      for (uint64_t i = 0; i < kCacheGroup; i++) to[(d + i) * stride] = uint8_t(q[i]);
    memcpy(scales + d / kCacheGroup * RF_BLOCK_SIZE * sizeof scale, &scale, sizeof scale);
  }
}

// Stores one token's K and V of one head in its slot of the block.
inline void store_kv(const float* k, const float* v, const CacheView& cache, uint32_t kv_head, int32_t block, uint32_t slot) {
  const uint64_t at = uint64_t(block) * cache.block_stride;
  uint8_t *k_to = cache.k + at + kv_head * cache.k_tile_bytes(), *v_to = cache.v + at + kv_head * cache.v_tile_bytes();
  if (cache.dtype == RF_Q8_0) {
    const uint64_t dim = cache.head_dim, scales = dim * RF_BLOCK_SIZE + slot * sizeof(uint16_t);
    store_quantized(k, dim, k_to + slot, RF_BLOCK_SIZE, k_to + scales);
    return store_quantized(v, dim, v_to + slot * dim, 1, v_to + scales);
  }
  v_to += slot * cache.v_stride * (cache.dtype == RF_F16 ? 2 : 4);
  for (uint64_t d = 0; d < cache.head_dim; d += kLanes) {
    const uint64_t n = std::min<uint64_t>(kLanes, cache.head_dim - d);
    const f32x16 keys = load_part(k + d, n), values = load_part(v + d, n);
    if (cache.dtype == RF_F16) {
      const u16x16 halves = to_half(keys), value_halves = to_half(values);
      for (uint64_t i = 0; i < n; i++) {
        const uint16_t h = halves[i];
        memcpy(k_to + ((d + i) * RF_BLOCK_SIZE + slot) * 2, &h, 2);
      }
      store(v_to + d * 2, value_halves);
    } else {
      for (uint64_t i = 0; i < n; i++) memcpy(k_to + ((d + i) * RF_BLOCK_SIZE + slot) * 4, k + d + i, 4);
      store(v_to + d * 4, values);
    }
  }
}

}  // namespace RF_ISA
}  // namespace rf
