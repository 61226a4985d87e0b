// FlashAttention (Dao 2023) over the paged cache on the matrix units: 64 queries of one sequence and head a block, 64 keys at a time,
// f16 operands, float sums and softmax state, in powers of two.
//
// Scores leave a product in the accumulator's layout, and the weights enter the next product as an operand. To go from one to the other
// without shared memory, the two platforms lie differently:
//   NVIDIA: scores are [query, key] and sums [query, d]; a lane's accumulators hold two queries, spread over four lanes.
//   AMD: scores are [key, query] and sums [d, query]; a lane holds one query, spread over the lanes that agree in lane % 16. There V is
//   transposed on its way into shared memory (NVIDIA's ldmatrix does it on the way out).
#pragma once
#include "attention-split.h"
#include "mma.h"

#if defined(__CUDACC__) || defined(RF_MMA_MFMA) || defined(RF_MMA_WMMA)
#define RF_FLASH 1

namespace rf {

constexpr uint32_t kFlashStrips = kFlashQueries / 16 / (kFlashThreads / kWave);  // 16 queries each, of one wave
constexpr uint32_t kKeyTiles = kFlashKeys / 16;
#if RF_MMA_WMMA == 11
constexpr uint32_t kFlashAhead = 1;  // fragments read ahead of their products; here one is eight registers
#else
constexpr uint32_t kFlashAhead = 2;
#endif

// The remainder tells the compiler the range, so that the items of a thread differ by constants. And it is made to forget where the number
// came from, or it would keep every item's address in registers from one round of the loop to the next.
RF_DEVICE uint32_t flash_thread() {
  uint32_t id = thread_id();
#if defined(__CUDACC__)
  asm volatile("" : "+r"(id));
#else
  asm volatile("" : "+v"(id));
#endif
  return id % kFlashThreads;
}

#if defined(__CUDACC__)

constexpr uint32_t kLaneQueries = 2;
constexpr uint32_t kQueryLanesFrom = 1, kQueryLanesTo = 4;  // a query's elements lie over lanes that differ in these bits
RF_DEVICE uint32_t lane_query(uint32_t i) { return i / 2 % 2; }
RF_DEVICE uint32_t query_at(uint32_t i) { return Accumulator::row(i); }
RF_DEVICE uint32_t other_at(uint32_t i) { return Accumulator::column(i); }  // the key of a score, the d of a sum
RF_DEVICE float power_of_2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
RF_DEVICE float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
template <class Layout>
RF_DEVICE void multiply_scores(Accumulator& c, const Fragment<F16, Layout>& q, const Fragment<F16, Layout>& k) {
  multiply(c, q, k);
}
template <class Layout>
RF_DEVICE void multiply_sums(Accumulator& c, const Fragment<F16, Layout>& p, const Fragment<F16, Layout>& v) {
  multiply(c, p, v);
}
template <class Layout>
RF_DEVICE void weights_fragment(Fragment<F16, Layout>& out, const Accumulator& p) {
  RF_UNROLL for (uint32_t i = 0; i < 4; i++) out.word[i] = F16::pack(p.value[2 * i], p.value[2 * i + 1]);
}

#else

constexpr uint32_t kLaneQueries = 1;
constexpr uint32_t kQueryLanesFrom = 16, kQueryLanesTo = kWave;
RF_DEVICE uint32_t lane_query(uint32_t) { return 0; }
RF_DEVICE uint32_t query_at(uint32_t i) { return Accumulator::column(i); }
RF_DEVICE uint32_t other_at(uint32_t i) { return Accumulator::row(i); }
RF_DEVICE float power_of_2(float x) { return exp2_fast(x); }
RF_DEVICE float reciprocal(float x) { return __builtin_amdgcn_rcpf(x); }
template <class Layout>
RF_DEVICE void multiply_scores(Accumulator& c, const Fragment<F16, Layout>& q, const Fragment<F16, Layout>& k) {
  multiply(c, k, q);
}
template <class Layout>
RF_DEVICE void multiply_sums(Accumulator& c, const Fragment<F16, Layout>& p, const Fragment<F16, Layout>& v) {
  multiply(c, v, p);
}
// Where a lane's accumulator elements are the k that it holds of a fragment, nothing moves. On gfx11 a lane has every other key of its
// query and needs all sixteen: the rest are 16 lanes away.
template <class Layout>
RF_DEVICE void weights_fragment(Fragment<F16, Layout>& out, const Accumulator& p) {
  constexpr uint32_t words = Accumulator::size / 2;
  uint32_t own[words];
  RF_UNROLL for (uint32_t i = 0; i < words; i++) own[i] = F16::pack(p.value[2 * i], p.value[2 * i + 1]);
#if RF_MMA_WMMA == 11
  Vector<uint32_t, 8> all;
  const bool odd = wave_lane() / 16;
  RF_UNROLL for (uint32_t i = 0; i < words; i++) {
    const uint32_t other = uint32_t(shuffle_xor(int32_t(own[i]), 16));
    const uint32_t even_keys = odd ? other : own[i], odd_keys = odd ? own[i] : other;
    all[2 * i] = (even_keys & 0xffffu) | odd_keys << 16;
    all[2 * i + 1] = even_keys >> 16 | (odd_keys & 0xffff0000u);
  }
#else
  Vector<uint32_t, words> all;
  RF_UNROLL for (uint32_t i = 0; i < words; i++) all[i] = own[i];
#endif
  out.bits = __builtin_bit_cast(decltype(out.bits), all);
}

#endif

// Where a tile of K and V comes from: keys first … end - 1 of one sequence and K/V head. Keys from `end` on read as zeros, whatever an
// earlier owner left in the rest of a block.
struct FlashSource {
  const uint16_t *k, *v;
  const int32_t* table;
  uint32_t n_kv_heads, kv_head, end;

  template <uint32_t D>
  RF_DEVICE uint64_t index(uint32_t key) const {
    const uint32_t at = key < end ? key : end - 1;
    return ((uint64_t(table[at / kBlockTokens]) * n_kv_heads + kv_head) * kBlockTokens + at % kBlockTokens) * D;
  }
};

// Tiles in shared memory, and the way there in two halves: `fetch` begins to read, `land` has the data there before the next block_sync.
template <uint32_t D>
struct alignas(16) FlashTiles {
  using KeyLayout = Padded<D + 8>;
  static constexpr uint32_t kChunks = D / 8;  // of 16 bytes a row
#if defined(__CUDACC__)
  using ValueLayout = KeyLayout;
  uint16_t k[kFlashKeys * (D + 8)], v[kFlashKeys * (D + 8)];
#else
  using ValueLayout = Padded<kFlashKeys + 8>;  // [d, key]
  uint16_t k[kFlashKeys * (D + 8)], v[D * (kFlashKeys + 8)];
#endif
};

#if defined(__CUDACC__)

template <uint32_t D>
struct FlashCopy {
  FlashTiles<D>& tiles;

  RF_DEVICE void fetch(const FlashSource& source, const uint16_t* from, uint16_t* to, uint32_t first) {
    constexpr uint32_t kChunks = D / 8;
    RF_UNROLL for (uint32_t i = 0; i < kFlashKeys * kChunks / kFlashThreads; i++) {
      const uint32_t item = flash_thread() + i * kFlashThreads, row = item / kChunks, chunk = item % kChunks, key = first + row;
      const uint32_t address = uint32_t(__cvta_generic_to_shared(to + FlashTiles<D>::KeyLayout::at(row, chunk)));
      const uint32_t bytes = key < source.end ? 16 : 0;  // the rest is filled with zeros
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from + source.index<D>(key) + chunk * 8),
                   "r"(bytes)
                   : "memory");
    }
  }
  RF_DEVICE void wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }
  RF_DEVICE void fetch_k(const FlashSource& source, uint32_t first) { fetch(source, source.k, tiles.k, first); }
  RF_DEVICE void fetch_v(const FlashSource& source, uint32_t first) { fetch(source, source.v, tiles.v, first); }
  RF_DEVICE void land_k() { wait(); }
  RF_DEVICE void land_v() { wait(); }
  // The operand [d … d + 15, key … key + 15] of V.
  RF_DEVICE void value_fragment(Fragment<F16, typename FlashTiles<D>::ValueLayout>& out, uint32_t d, uint32_t key) const {
    const uint32_t lane = wave_lane();
    const uint16_t* p = tiles.v + FlashTiles<D>::ValueLayout::at(key + lane % 8 + lane / 16 * 8, d / 8 + lane / 8 % 2);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out.word[0]), "=r"(out.word[1]), "=r"(out.word[2]), "=r"(out.word[3])
                 : "r"(uint32_t(__cvta_generic_to_shared(p)))
                 : "memory");
  }
};

#else

template <uint32_t D>
struct FlashCopy {
  static constexpr uint32_t kChunks = D / 8;
  static constexpr uint32_t kItems = kFlashKeys * kChunks / kFlashThreads;  // 16 bytes each
  static constexpr uint32_t kPairItems =
      (kFlashKeys / 2 * kChunks + kFlashThreads - 1) / kFlashThreads;  // of two neighbouring keys
  FlashTiles<D>& tiles;
  Word4 word[2 * kPairItems];
  static_assert(kItems <= 2 * kPairItems, "K's chunks must fit where V's pairs do");

  RF_DEVICE static Word4 read(const FlashSource& source, const uint16_t* from, uint32_t key, uint32_t chunk) {
    const Word4 w = load<Word4>(from + source.index<D>(key) + chunk * 8);
    const uint32_t keep = key < source.end ? ~0u : 0u;
    return {w.x & keep, w.y & keep, w.z & keep, w.w & keep};
  }
  RF_DEVICE void fetch_k(const FlashSource& source, uint32_t first) {
    RF_UNROLL for (uint32_t i = 0; i < kItems; i++) {
      const uint32_t item = flash_thread() + i * kFlashThreads;
      word[i] = read(source, source.k, first + item / kChunks, item % kChunks);
    }
  }
  RF_DEVICE void land_k() {
    RF_UNROLL for (uint32_t i = 0; i < kItems; i++) {
      const uint32_t item = flash_thread() + i * kFlashThreads;
      *reinterpret_cast<Word4*>(tiles.k + FlashTiles<D>::KeyLayout::at(item / kChunks, item % kChunks)) = word[i];
    }
  }
  // Item: eight pairs of keys by eight d, so that a write of the wave spreads over the banks and a read takes whole lines.
  struct PairItem {
    uint32_t pair, chunk;
    bool on;
  };
  RF_DEVICE static PairItem pair_item(uint32_t i) {
    const uint32_t item = flash_thread() + i * kFlashThreads, high = item / 8;
    return {high / kChunks * 8 + item % 8, high % kChunks, item < kFlashKeys / 2 * kChunks};
  }
  RF_DEVICE void fetch_v(const FlashSource& source, uint32_t first) {
    RF_UNROLL for (uint32_t i = 0; i < kPairItems; i++) {
      const PairItem item = pair_item(i);
      const uint32_t pair = item.on ? item.pair : 0;
      word[2 * i] = read(source, source.v, first + pair * 2, item.chunk);
      word[2 * i + 1] = read(source, source.v, first + pair * 2 + 1, item.chunk);
    }
  }
  RF_DEVICE void land_v() {
    RF_UNROLL for (uint32_t i = 0; i < kPairItems; i++) {
      const PairItem item = pair_item(i);
      const uint32_t a[4] = {word[2 * i].x, word[2 * i].y, word[2 * i].z, word[2 * i].w};
      const uint32_t b[4] = {word[2 * i + 1].x, word[2 * i + 1].y, word[2 * i + 1].z, word[2 * i + 1].w};
      if (item.on) RF_UNROLL for (uint32_t j = 0; j < 8; j++) {
          const uint32_t pair = j % 2 ? a[j / 2] >> 16 | (b[j / 2] & 0xffff0000u) : (a[j / 2] & 0xffffu) | b[j / 2] << 16;
          uint16_t* to = tiles.v + FlashTiles<D>::ValueLayout::at(item.chunk * 8 + j, item.pair / 4) + item.pair % 4 * 2;
          *reinterpret_cast<uint32_t*>(to) = pair;
        }
    }
  }
  RF_DEVICE void value_fragment(Fragment<F16, typename FlashTiles<D>::ValueLayout>& out, uint32_t d, uint32_t key) const {
    load_fragment(out, tiles.v, d, key);
  }
};

#endif

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

template <uint32_t D>
RF_DEVICE void attention_flash(const AttentionArgs& a) {
  constexpr uint32_t DTiles = D / 16;
  using KeyLayout = typename FlashTiles<D>::KeyLayout;
  using ValueLayout = typename FlashTiles<D>::ValueLayout;
  RF_SHARED FlashTiles<D> tiles;
  const FlashTile tile = flash_tile(a.step, block_x());
  if (!tile.found) return;
  const uint32_t head = block_y(), group = a.n_heads / a.cache.n_kv_heads;
  const uint32_t past = tile.seq.kv_len - tile.seq.n_rows;  // position of the sequence's row 0
  const uint32_t n_rows = tile.seq.n_rows - tile.row < kFlashQueries ? tile.seq.n_rows - tile.row : kFlashQueries;
  const uint32_t low = past + tile.row, high = low + n_rows - 1;  // positions of the tile's rows
  const auto first_key = [&](uint32_t position) { return a.window && position >= a.window ? position - a.window + 1 : 0; };
  const FlashSource source = {reinterpret_cast<const uint16_t*>(a.cache.k),
                              reinterpret_cast<const uint16_t*>(a.cache.v),
                              block_ids(a.step) + tile.seq.block_start,
                              a.cache.n_kv_heads,
                              head / group,
                              high + 1};

  // Queries pass through the keys' tile once, scaled (in powers of two where nothing comes between the scores and the softmax).
  const float factor = a.softcap > 0 ? a.scale : a.scale * kLog2e;
  for (uint32_t item = thread_id(); item < kFlashQueries * (D / 8); item += kFlashThreads) {
    const uint32_t row = item / (D / 8), chunk = item % (D / 8);
    const float* q = a.q + uint64_t(tile.seq.row_start + tile.row + row) * a.q_stride + uint64_t(head) * D + chunk * 8;
    uint32_t word[4] = {};
    if (row < n_rows)
      RF_UNROLL for (uint32_t i = 0; i < 4; i++) word[i] =
          uint32_t(float_to_half_saturated(q[2 * i] * factor)) | uint32_t(float_to_half_saturated(q[2 * i + 1] * factor)) << 16;
    *reinterpret_cast<Word4*>(tiles.k + KeyLayout::at(row, chunk)) = {word[0], word[1], word[2], word[3]};
  }
  block_sync();
  const uint32_t strip0 = wave_id() * kFlashStrips * 16;
  Fragment<F16, KeyLayout> queries[kFlashStrips][DTiles];
  RF_UNROLL for (uint32_t s = 0; s < kFlashStrips; s++) RF_UNROLL for (uint32_t t = 0; t < DTiles; t++)
      load_fragment(queries[s][t], tiles.k, strip0 + s * 16, t * 16);
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

  FlashCopy<D> copy = {tiles};
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
      RF_UNROLL for (uint32_t s = 0; s < kFlashStrips; s++) weights_fragment(weights[s], scores[s][t]);
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
#endif
