// Copies tiles of the paged K/V cache to shared memory, for FlashAttention.
#pragma once
#include "../attention.h"
#include "cache.h"
#include "mma-tiles.h"

namespace rf {

constexpr uint32_t kLoadQuants = 16;  // quants of a q8_0 cache in one 16-byte load

// thread_id(). The remainder tells the compiler its range, so that the items of a thread differ by constants. The empty asm hides
// where the number comes from; otherwise the compiler keeps the address of every item in registers across the loop.
RF_DEVICE uint32_t flash_thread() {
  uint32_t id = thread_id();
#if defined(__CUDACC__)
  asm volatile("" : "+r"(id));
#else
  asm volatile("" : "+v"(id));
#endif
  return id % kFlashThreads;
}

// The keys 0 … end - 1 of one sequence and K/V head in the cache. Keys from `end` on read as zeros, because the rest of a cache
// block may hold data of an earlier sequence.
struct FlashSource {
  const uint8_t *k, *v;
  const int32_t* table;
  uint32_t n_kv_heads, kv_head, end;

  // Start of a key's row: cache_row.
  template <uint32_t D>
  RF_DEVICE uint64_t index(uint32_t key, bool quantized = false) const {
    const uint32_t at = key < end ? key : end - 1;
    return cache_row(uint64_t(table[at / RF_BLOCK_SIZE]) * n_kv_heads + kv_head, at % RF_BLOCK_SIZE, D, quantized);
  }
  // q8_0: the scale of elements 8 · eighth … + 7 of a row, as f16.
  template <uint32_t D>
  RF_DEVICE uint32_t scale(const uint8_t* row, uint32_t key, uint32_t eighth) const {
    const uint32_t at = key < end ? key : end - 1;
    return load<uint16_t>(row + cache_scales(at % RF_BLOCK_SIZE, D) + eighth / 4 * 2);
  }
};

// Tiles of halves in shared memory. FlashCopy fills them in two steps: fetch_* starts the loads, land_* completes them before the
// next block_sync, and converts the quants of a q8_0 cache to halves.
template <uint32_t D, bool Quantized>
struct alignas(16) FlashTiles {
  using KeyLayout = Padded<D + kChunk>;
  static constexpr uint32_t kChunks = D / kChunk;  // of a row
#if defined(__CUDACC__)
  using ValueLayout = KeyLayout;
  uint16_t k[kFlashKeys * KeyLayout::stride], v[kFlashKeys * KeyLayout::stride];
  uint8_t quants[Quantized ? kFlashKeys * D : kLoadQuants];  // q8_0: each 16 of them are written and read by the same thread
#else
  using ValueLayout = Padded<kFlashKeys + kChunk>;  // [d, key]
  uint16_t k[kFlashKeys * KeyLayout::stride], v[D * ValueLayout::stride];
#endif
#if defined(__CUDACC__) || defined(RF_MMA_MFMA) || defined(RF_MMA_WMMA)
  RF_DEVICE uint16_t* queries() { return k; }                // Q passes through the tile of K before the first keys are copied
  RF_DEVICE uint16_t* weights(uint32_t) { return nullptr; }  // room of mm_AB
#else
  uint16_t q[kFlashQueries * KeyLayout::stride], p[kFlashQueries * ValueLayout::stride];
  RF_DEVICE uint16_t* queries() { return q; }
  RF_DEVICE uint16_t* weights(uint32_t row) { return p + row * ValueLayout::stride; }
#endif
};

#if defined(__CUDACC__)

template <uint32_t D, bool Quantized>
struct FlashCopy {
  static constexpr uint32_t kQuantLoads = D / kLoadQuants;  // a row
  static constexpr uint32_t kQuantItems = kFlashKeys * kQuantLoads / kFlashThreads;
  FlashTiles<D, Quantized>& tiles;
  uint32_t scale[kQuantItems];

  RF_DEVICE static void copy(uint32_t address, const uint8_t* from, uint32_t bytes) {  // fills up to 16 bytes with zeros
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
  }
  RF_DEVICE void fetch(const FlashSource& source, const uint8_t* from, uint16_t* to, uint32_t first) {
    constexpr uint32_t kChunks = D / kChunk;
    if constexpr (Quantized) {
      RF_UNROLL for (uint32_t i = 0; i < kQuantItems; i++) {
        const uint32_t item = flash_thread() + i * kFlashThreads, key = first + item / kQuantLoads, sixteen = item % kQuantLoads;
        const uint8_t* row = from + source.index<D>(key, true);
        copy(uint32_t(__cvta_generic_to_shared(tiles.quants + item * kLoadQuants)), row + sixteen * kLoadQuants,
             key < source.end ? kChunkBytes : 0);
        scale[i] = source.scale<D>(row, key, sixteen * 2);
      }
    } else {
      RF_UNROLL for (uint32_t i = 0; i < kFlashKeys * kChunks / kFlashThreads; i++) {
        const uint32_t item = flash_thread() + i * kFlashThreads, row = item / kChunks, chunk = item % kChunks, key = first + row;
        const uint32_t address = uint32_t(__cvta_generic_to_shared(to + FlashTiles<D, Quantized>::KeyLayout::at(row, chunk)));
        copy(address, from + (source.index<D>(key) + chunk * kChunk) * 2, key < source.end ? kChunkBytes : 0);
      }
    }
  }
  RF_DEVICE void land(uint16_t* to) {
    asm volatile("cp.async.wait_all;" ::: "memory");
    if constexpr (Quantized) RF_UNROLL for (uint32_t i = 0; i < kQuantItems; i++) {
        const uint32_t item = flash_thread() + i * kFlashThreads, row = item / kQuantLoads, sixteen = item % kQuantLoads;
        const Word4 q = *reinterpret_cast<const Word4*>(tiles.quants + item * kLoadQuants);
        const auto put = [&](uint32_t chunk) {
          return reinterpret_cast<Word4*>(to + FlashTiles<D, Quantized>::KeyLayout::at(row, chunk));
        };
        *put(sixteen * 2) = eight_halves(q.x, q.y, scale[i]);
        *put(sixteen * 2 + 1) = eight_halves(q.z, q.w, scale[i]);
      }
  }
  RF_DEVICE void fetch_k(const FlashSource& source, uint32_t first) { fetch(source, source.k, tiles.k, first); }
  RF_DEVICE void fetch_v(const FlashSource& source, uint32_t first) { fetch(source, source.v, tiles.v, first); }
  RF_DEVICE void land_k() { land(tiles.k); }
  RF_DEVICE void land_v() { land(tiles.v); }
};

#else

template <uint32_t D, bool Quantized>
struct FlashCopy {
  static constexpr uint32_t kChunks = D / kChunk;
  static constexpr uint32_t kItems = kFlashKeys * kChunks / kFlashThreads;  // one chunk each
  static constexpr uint32_t kPairItems =
      (kFlashKeys / 2 * kChunks + kFlashThreads - 1) / kFlashThreads;  // one chunk of two neighbouring keys each
  static constexpr uint32_t kQuantLoads = D / kLoadQuants, kQuantItems = kItems / 2;
  FlashTiles<D, Quantized>& tiles;
  Word4 word[2 * kPairItems];
  static_assert(kItems <= 2 * kPairItems, "K's chunks must fit where V's pairs do");

  RF_DEVICE static Word4 kept(const Word4& w, bool keep) {
    const uint32_t mask = keep ? ~0u : 0u;
    return {w.x & mask, w.y & mask, w.z & mask, w.w & mask};
  }
  RF_DEVICE static Word4 read(const FlashSource& source, const uint8_t* from, uint32_t key, uint32_t chunk) {
    return kept(load<Word4>(from + (source.index<D>(key) + chunk * kChunk) * 2), key < source.end);
  }
  RF_DEVICE void fetch_k(const FlashSource& source, uint32_t first) {
    if constexpr (Quantized) {
      RF_UNROLL for (uint32_t i = 0; i < kQuantItems; i++) {
        const uint32_t item = flash_thread() + i * kFlashThreads, key = first + item / kQuantLoads, sixteen = item % kQuantLoads;
        const uint8_t* row = source.k + source.index<D>(key, true);
        word[i] = kept(load<Word4>(row + sixteen * kLoadQuants), key < source.end);
        word[kQuantItems + i].x = source.scale<D>(row, key, sixteen * 2);
      }
    } else {
      RF_UNROLL for (uint32_t i = 0; i < kItems; i++) {
        const uint32_t item = flash_thread() + i * kFlashThreads;
        word[i] = read(source, source.k, first + item / kChunks, item % kChunks);
      }
    }
  }
  RF_DEVICE void land_k() {
    const auto place = [&](uint32_t row, uint32_t chunk) {
      return reinterpret_cast<Word4*>(tiles.k + FlashTiles<D, Quantized>::KeyLayout::at(row, chunk));
    };
    if constexpr (Quantized) {
      RF_UNROLL for (uint32_t i = 0; i < kQuantItems; i++) {
        const uint32_t item = flash_thread() + i * kFlashThreads, row = item / kQuantLoads, sixteen = item % kQuantLoads;
        const uint32_t scale = word[kQuantItems + i].x;
        *place(row, sixteen * 2) = eight_halves(word[i].x, word[i].y, scale);
        *place(row, sixteen * 2 + 1) = eight_halves(word[i].z, word[i].w, scale);
      }
    } else {
      RF_UNROLL for (uint32_t i = 0; i < kItems; i++) {
        const uint32_t item = flash_thread() + i * kFlashThreads;
        *place(item / kChunks, item % kChunks) = word[i];
      }
    }
  }
  static constexpr uint32_t kItemPairs = 8;
  // Neighbouring threads take eight pairs of keys, then the next chunk: a wave's writes spread over the banks, its reads are whole
  // lines.
  struct PairItem {
    uint32_t pair, chunk;
    bool on;
  };
  RF_DEVICE static PairItem pair_item(uint32_t i) {
    const uint32_t item = flash_thread() + i * kFlashThreads, high = item / kItemPairs;
    return {high / kChunks * kItemPairs + item % kItemPairs, high % kChunks, item < kFlashKeys / 2 * kChunks};
  }
  RF_DEVICE void fetch_v(const FlashSource& source, uint32_t first) {
    RF_UNROLL for (uint32_t i = 0; i < kPairItems; i++) {
      const PairItem item = pair_item(i);
      const uint32_t key = first + (item.on ? item.pair : 0) * 2;
      if constexpr (Quantized) {  // word[2 i] holds the quants of both keys, word[2 i + 1] their scales
        const uint8_t *row = source.v + source.index<D>(key, true), *next = source.v + source.index<D>(key + 1, true);
        const Word2 a = load<Word2>(row + item.chunk * kChunk), b = load<Word2>(next + item.chunk * kChunk);
        const uint32_t keep = key < source.end ? ~0u : 0u, keep_next = key + 1 < source.end ? ~0u : 0u;
        word[2 * i] = {a.x & keep, a.y & keep, b.x & keep_next, b.y & keep_next};
        word[2 * i + 1].x = source.scale<D>(row, key, item.chunk);
        word[2 * i + 1].y = source.scale<D>(next, key + 1, item.chunk);
      } else {
        word[2 * i] = read(source, source.v, key, item.chunk);
        word[2 * i + 1] = read(source, source.v, key + 1, item.chunk);
      }
    }
  }
  RF_DEVICE void land_v() {
    RF_UNROLL for (uint32_t i = 0; i < kPairItems; i++) {
      const PairItem item = pair_item(i);
      if constexpr (Quantized) {
        const Word4 q = word[2 * i];
        const uint32_t scale = word[2 * i + 1].x, scale_next = word[2 * i + 1].y;
        word[2 * i] = eight_halves(q.x, q.y, scale);
        word[2 * i + 1] = eight_halves(q.z, q.w, scale_next);
      }
      const uint32_t a[4] = {word[2 * i].x, word[2 * i].y, word[2 * i].z, word[2 * i].w};
      const uint32_t b[4] = {word[2 * i + 1].x, word[2 * i + 1].y, word[2 * i + 1].z, word[2 * i + 1].w};
      if (item.on) RF_UNROLL for (uint32_t j = 0; j < kChunk; j++) {
          const uint32_t pair = j % 2 ? a[j / 2] >> 16 | (b[j / 2] & 0xffff0000u) : (a[j / 2] & 0xffffu) | b[j / 2] << 16;
          uint16_t* to =
              tiles.v + FlashTiles<D, Quantized>::ValueLayout::at(item.chunk * kChunk + j, item.pair / 4) + item.pair % 4 * 2;
          *reinterpret_cast<uint32_t*>(to) = pair;
        }
    }
  }
};

#endif

}  // namespace rf
