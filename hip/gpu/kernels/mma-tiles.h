// How scores, weights and sums of FlashAttention lie over the lanes of a wave.
//
// Scores leave a product in the accumulator's layout, and the weights enter the next product as an operand. To go from one to the other
// without shared memory, the two platforms lie differently:
//   NVIDIA: scores are [query, key] and sums [query, d]; a lane's accumulators hold two queries, spread over four lanes.
//   AMD: scores are [key, query] and sums [d, query]; a lane holds one query, spread over the lanes that agree in lane % 16. There V is
//   transposed on its way into shared memory (NVIDIA's ldmatrix does it on the way out).
#pragma once
#include "../attention.h"
#include "mma.h"

namespace rf {

constexpr uint32_t kFlashStrips = kFlashQueries / 16 / (kFlashThreads / kWave);  // 16 queries each, of one wave
constexpr uint32_t kKeyTiles = kFlashKeys / 16;
#if defined(__CUDACC__) || defined(RF_MMA_MFMA) || RF_MMA_WMMA == 12
constexpr uint32_t kFlashAhead = 2;  // fragments read ahead of their products
#else
constexpr uint32_t kFlashAhead = 1;  // gfx11: one is eight registers
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
RF_DEVICE void weights_fragment(Fragment<F16, Layout>& out, const Accumulator& p, uint16_t*, uint32_t) {
  RF_UNROLL for (uint32_t i = 0; i < 4; i++) out.word[i] = F16::pack(p.value[2 * i], p.value[2 * i + 1]);
}

#elif defined(RF_MMA_MFMA) || defined(RF_MMA_WMMA)

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
RF_DEVICE void weights_fragment(Fragment<F16, Layout>& out, const Accumulator& p, uint16_t*, uint32_t) {
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

#else  // no matrix unit: operands are read from shared memory with every product, so the weights have to pass through it

constexpr uint32_t kLaneQueries = 4;
constexpr uint32_t kQueryLanesFrom = 1, kQueryLanesTo = 8;
RF_DEVICE uint32_t lane_query(uint32_t i) { return i / 2; }
RF_DEVICE uint32_t query_at(uint32_t i) { return Accumulator::row(i); }
RF_DEVICE uint32_t other_at(uint32_t i) { return Accumulator::column(i); }
RF_DEVICE float power_of_2(float x) { return exp2_fast(x); }
RF_DEVICE float reciprocal(float x) { return __builtin_amdgcn_rcpf(x); }
template <class Layout>
RF_DEVICE void multiply_scores(Accumulator& c, const Fragment<F16, Layout>& q, const Fragment<F16, Layout>& k) {
  multiply(c, q, k);
}
template <class Layout>
RF_DEVICE void multiply_sums(Accumulator& c, const Fragment<F16, Layout>& p, const Fragment<F16, Layout>& v) {
  multiply(c, p, v);
}
template <class Layout>
RF_DEVICE void weights_fragment(Fragment<F16, Layout>& out, const Accumulator& p, uint16_t* room, uint32_t tile) {
  RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) {
    const uint32_t key = tile * 16 + Accumulator::column(i);
    room[Layout::at(Accumulator::row(i), key / 8) + key % 8] = float_to_half(p.value[i]);
  }
  group_sync();
  load_fragment(out, room, 0, tile * 16);
}

#endif

}  // namespace rf
