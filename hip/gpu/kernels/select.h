// Selection from a long row without sorting: block-wide sums, and the place in a ranking where the running total reaches a mark.
// All sums are of integers, so that no result depends on the order of threads. Blocks have kSampleThreads threads.
#pragma once
#include "../args.h"
#include "platform.h"

namespace rf {

constexpr uint32_t kSelectSubgroups = kSampleThreads / kSubgroup;
static_assert(kSelectSubgroups == kSubgroup, "one lane reads the value of each subgroup");

constexpr uint32_t kBinBits = 11;
constexpr uint32_t kBins = 1u << kBinBits;
static_assert(kBins == 2 * kSampleThreads, "each thread reads two bins");

struct SelectShared {
  union {
    uint64_t sums[kBins];
    uint32_t counts[kBins];
  } bins;
  uint64_t exchanged[kSelectSubgroups];  // of each subgroup
  uint64_t above;                        // narrow()'s result
  uint32_t bin;                          // of narrow(); kBins: the mark was not reached
  uint32_t count;                        // entries of the list that rf_sample builds
};

RF_DEVICE uint64_t shuffle(uint64_t v, uint32_t from) {
  const uint32_t low = uint32_t(shuffle(int32_t(uint32_t(v)), from)), high = uint32_t(shuffle(int32_t(uint32_t(v >> 32)), from));
  return uint64_t(high) << 32 | low;
}
RF_DEVICE uint64_t shuffle_xor(uint64_t v, uint32_t mask) {
  const uint32_t low = uint32_t(shuffle_xor(int32_t(uint32_t(v)), mask)),
                 high = uint32_t(shuffle_xor(int32_t(uint32_t(v >> 32)), mask));
  return uint64_t(high) << 32 | low;
}

RF_DEVICE uint64_t subgroup_sum(uint64_t v) {
  RF_UNROLL for (uint32_t mask = 16; mask; mask /= 2) v += shuffle_xor(v, mask);
  return v;
}
RF_DEVICE uint64_t subgroup_max(uint64_t v) {
  RF_UNROLL for (uint32_t mask = 16; mask; mask /= 2) {
    const uint64_t other = shuffle_xor(v, mask);
    v = v < other ? other : v;
  }
  return v;
}
// Inclusive prefix sum over the lanes of the subgroup.
RF_DEVICE uint64_t subgroup_scan(uint64_t v) {
  RF_UNROLL for (uint32_t step = 1; step < kSubgroup; step *= 2) {
    const uint64_t other = shuffle(v, lane_id() - step);
    v += lane_id() >= step ? other : 0;
  }
  return v;
}

// v: the same in all lanes of a subgroup. Returns to lane i of every subgroup the value of subgroup i.
RF_DEVICE uint64_t exchange(uint64_t v, SelectShared& s) {
  block_sync();
  if (lane_id() == 0) s.exchanged[subgroup_id()] = v;
  block_sync();
  return s.exchanged[lane_id()];
}
RF_DEVICE uint64_t block_sum(uint64_t v, SelectShared& s) { return subgroup_sum(exchange(subgroup_sum(v), s)); }
RF_DEVICE uint64_t block_max(uint64_t v, SelectShared& s) { return subgroup_max(exchange(subgroup_max(v), s)); }
// Exclusive prefix sum over the threads of the block.
RF_DEVICE uint64_t block_scan(uint64_t v, SelectShared& s) {
  const uint64_t scan = subgroup_scan(v);
  const uint64_t subgroups = subgroup_scan(exchange(shuffle(scan, kSubgroup - 1), s));
  const uint64_t before = shuffle(subgroups, subgroup_id() - 1);
  return (subgroup_id() ? before : 0) + scan - v;
}

// A place in a ranking by descending key. key: where the running total of values reaches the mark; above: the total of all greater
// keys.
struct Place {
  uint32_t key;
  uint64_t above;
  bool found;
};

// One pass of a radix select: finds the kBinBits bits of the key from `shift` on, given its bits under `known`. Adds the values of
// the items that share the known bits into bins, then scans the bins from the top. Counting: values are 0 or 1, so 32-bit atomics
// suffice.
template <bool Counting, class Key, class Value>
RF_DEVICE Place narrow(Place place, uint32_t known, uint32_t shift, uint64_t mark, uint32_t n, SelectShared& s, Key key,
                       Value value) {
  const uint32_t t = thread_id();
  block_sync();
  s.bins.sums[t] = s.bins.sums[t + kSampleThreads] = 0;
  if (t == 0) s.bin = kBins;
  block_sync();
  for (uint32_t i = t; i < n; i += kSampleThreads) {
    const uint32_t k = key(i);
    if ((k & known) != place.key) continue;
    const uint64_t v = value(i);
    if (v == 0) continue;
    const uint32_t bin = k >> shift & (kBins - 1);
    if (Counting) atomic_add_shared(&s.bins.counts[bin], 1u);
    else atomic_add_shared(&s.bins.sums[bin], v);
  }
  block_sync();
  const uint32_t bin = kBins - 1 - 2 * t;
  const uint64_t first = Counting ? s.bins.counts[bin] : s.bins.sums[bin];
  const uint64_t second = Counting ? s.bins.counts[bin - 1] : s.bins.sums[bin - 1];
  const uint64_t before = place.above + block_scan(first + second, s);
  if (before < mark && before + first + second >= mark) {
    const bool in_first = before + first >= mark;
    s.bin = in_first ? bin : bin - 1;
    s.above = in_first ? before : before + first;
  }
  block_sync();
  const bool found = s.bin < kBins;
  return {found ? place.key | s.bin << shift : 0, s.above, found};
}

// The key at which the running total, from the greatest key down, reaches the mark (at least 1).
template <bool Counting, class Key, class Value>
RF_DEVICE Place select(uint64_t mark, uint32_t n, SelectShared& s, Key key, Value value) {
  // Always all three passes, so that the shuffles stay in uniform control flow.
  const Place first = narrow<Counting>({0, 0, true}, 0, 32 - kBinBits, mark, n, s, key, value);
  const Place second = narrow<Counting>(first, ~0u << (32 - kBinBits), 32 - 2 * kBinBits, mark, n, s, key, value);
  const Place third = narrow<Counting>(second, ~0u << (32 - 2 * kBinBits), 0, mark, n, s, key, value);
  return {third.key, third.above, first.found && second.found && third.found};
}

// The first of n items, in their own order, at which the running total of values exceeds `target`, which is below the total.
template <class Value>
RF_DEVICE uint32_t find_in_order(uint64_t target, uint32_t n, SelectShared& s, Value value) {
  uint32_t begin = 0, size = n;
  // Each level reduces the range to a 32nd: four levels suffice for 2^20 items.
  for (uint32_t level = 0; level < 4; level++) {
    const uint32_t range = (size + kSelectSubgroups - 1) / kSelectSubgroups;
    const uint32_t end = begin + size, first = begin + subgroup_id() * range;
    uint64_t sum = 0;
    for (uint32_t j = lane_id(); j < range && first + j < end; j += kSubgroup) sum += value(first + j);
    const uint64_t upto = subgroup_scan(exchange(subgroup_sum(sum), s));
    uint32_t skipped = uint32_t(subgroup_sum(uint64_t(upto <= target ? 1 : 0)));
    const uint64_t before = shuffle(upto, skipped - 1);
    target -= skipped ? before : 0;
    skipped = skipped < kSelectSubgroups ? skipped : kSelectSubgroups - 1;
    begin = begin + skipped * range < end ? begin + skipped * range : end - 1;
    size = range < end - begin ? range : end - begin;
  }
  return begin;
}

}  // namespace rf
