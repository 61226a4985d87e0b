// The grids of the mat-vec kernels. Plain C++17, for the host and for the kernels.
//
// rf_matvec_FORMAT_nN and rf_matvec_swiglu_FORMAT_nN, N of 1, 2, 4, 8 activation rows that share one pass over the weight:
// grid (tiles = ceil(weight rows / matvec_rows), ceil(rows of the bucket / N)), kMatvecThreads threads, no dynamic shared memory.
// Block formats read MatmulArgs.int8 and info (rf_to_int8), plain formats read `in`. One launch serves up to three weights of
// one format, with the blocks of one weight after those of the other (each rounded up on its own), or the gate and up of a SwiGLU,
// of one format and shape. The columns of a weight go to out[row · out_width + first …].
// A row's result is the same bits whatever N is, and whatever the other rows hold.
#pragma once
#include <stdint.h>

#include "planes.h"

namespace rf {

constexpr uint32_t kMatvecThreads = 128;
constexpr uint32_t kMatvecSubgroups = kMatvecThreads / 32;  // 4
constexpr uint32_t kMatvecRows = 4;                         // weight rows of a set of matvec_split subgroups, counting gate and up

// Columns that a lane takes at a time: those of sixteen bytes of quants (32 of Q8_0, eight plain numbers).
RF_HD constexpr uint32_t matvec_unit(uint32_t format) {
  if (plain_format(format)) return 8;
  return format == FORMAT_Q2_K || format == FORMAT_Q3_K || format == FORMAT_Q6_K ? 64 : 32;
}
// Subgroups of a thread block that share a weight row. It depends only on the shape, so that a sum is always split the same way.
RF_HD constexpr uint32_t matvec_split(uint32_t format, uint32_t cols) {
  const uint32_t units = (cols + matvec_unit(format) - 1) / matvec_unit(format);
  return units <= 32 ? 1 : units <= 64 ? 2 : 4;
}
// Weight rows of a thread block.
RF_HD constexpr uint32_t matvec_rows(uint32_t format, uint32_t cols, bool swiglu) {
  return kMatvecRows / (swiglu ? 2 : 1) * (kMatvecSubgroups / matvec_split(format, cols));
}

}  // namespace rf
