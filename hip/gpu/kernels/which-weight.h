// Launches that serve up to three weights of one format and width: the grid holds the blocks of one weight after the other, each
// number of blocks rounded up by itself. An absent weight has no rows.
#pragma once
#include "../args.h"
#include "platform.h"

namespace rf {

// Selects by value, as the function of the same name in units.h.
template <class T>
RF_DEVICE T pick(uint32_t which, T a, T b, T c) {
  return which == 0 ? a : which == 1 ? b : c;
}
// The weight that a block works on. `block` becomes the block's index within that weight.
RF_DEVICE uint32_t weight_of_block(const MatmulArgs& args, uint32_t rows_each, uint32_t& block) {
  uint32_t which = 0;
  RF_UNROLL for (uint32_t i = 0; i < 2; i++) {
    const uint32_t blocks = (args.weight[i].rows + rows_each - 1) / rows_each;
    if (which != i || block < blocks) continue;
    block -= blocks;
    which++;
  }
  return which;
}
RF_DEVICE DeviceWeight picked_weight(const MatmulArgs& args, uint32_t which) {
  const DeviceWeight(&from)[3] = args.weight;
  DeviceWeight to;
  RF_UNROLL for (uint32_t i = 0; i < kMaxPlanes; i++) to.plane[i] =
      pick(which, from[0].plane[i], from[1].plane[i], from[2].plane[i]);
  to.format = from[0].format;
  to.rows = pick(which, from[0].rows, from[1].rows, from[2].rows);
  to.cols = from[0].cols;
  to.first = pick(which, from[0].first, from[1].first, from[2].first);
  return to;
}

}  // namespace rf
