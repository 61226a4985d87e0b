// The bandwidth measurement: the fastest copy that plain loads and stores give.
#include "../args.h"
#include "platform.h"

using namespace rf;

// Grid: some blocks for each compute unit. n_bytes is a multiple of 4096.
RF_KERNEL(kBlock) rf_copy_stream(StreamArgs a) {
  const Word4* from = reinterpret_cast<const Word4*>(a.from);
  Word4* to = reinterpret_cast<Word4*>(a.to);
  const uint64_t n = a.n_bytes / sizeof(Word4), stride = uint64_t(grid_x()) * kBlock;
  uint64_t i = uint64_t(block_x()) * kBlock + thread_id();
  // Four loads under way in each thread.
  for (; i + 3 * stride < n; i += 4 * stride) {
    Word4 v[4];
    RF_UNROLL for (int j = 0; j < 4; j++) v[j] = from[i + uint64_t(j) * stride];
    RF_UNROLL for (int j = 0; j < 4; j++) to[i + uint64_t(j) * stride] = v[j];
  }
  for (; i < n; i += stride) to[i] = from[i];
}
