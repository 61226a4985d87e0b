// How weights are stored on a device, for host and device code. Plain C++17.
//
// A format's blocks are cut into planes: plane i of a weight [rows, cols] holds bytes [offset, offset + bytes) of every block, end
// to end, row after row. So each load of a kernel is aligned, and neighbouring lanes read neighbouring bytes. Planes together hold
// exactly the bytes of the file.
//
// Plain numbers (F32, F16, BF16) are one plane of rows as they are, each beginning at a multiple of 16 bytes (plain_stride).
#pragma once
#include <stdint.h>

#include "../formats.h"

namespace rf {

constexpr uint32_t kPlaneAlign = 256;  // where a plane may begin

struct PlaneRange {  // of a file block
  uint32_t offset, bytes;
};
struct PlaneTable {
  uint32_t elems, bytes;  // of a file block
  uint32_t n_planes;
  PlaneRange plane[4];  // quants first
};

template <uint32_t Id>
struct FormatPlanes;
#define RF_PLANES(NAME, n, ...)                                                                                \
  template <>                                                                                                  \
  struct FormatPlanes<FORMAT_##NAME> {                                                                         \
    static constexpr PlaneTable table = {Format<FORMAT_##NAME>::elems, sizeof(Block##NAME), n, {__VA_ARGS__}}; \
  };
RF_PLANES(F32, 1, {0, 4})
RF_PLANES(F16, 1, {0, 2})
RF_PLANES(BF16, 1, {0, 2})
RF_PLANES(Q4_0, 2, {2, 16}, {0, 2})
RF_PLANES(Q4_1, 2, {4, 16}, {0, 4})
RF_PLANES(Q5_0, 3, {6, 16}, {2, 4}, {0, 2})
RF_PLANES(Q5_1, 3, {8, 16}, {4, 4}, {0, 4})
RF_PLANES(Q8_0, 2, {2, 32}, {0, 2})
RF_PLANES(IQ4_NL, 2, {2, 16}, {0, 2})
RF_PLANES(MXFP4, 2, {1, 16}, {0, 1})
RF_PLANES(Q2_K, 3, {16, 64}, {0, 16}, {80, 4})                // quants, scales, scale and min
RF_PLANES(Q3_K, 4, {32, 64}, {0, 32}, {96, 12}, {108, 2})     // quants, high bits, scales, scale
RF_PLANES(Q4_K, 2, {16, 128}, {0, 16})                        // quants, all scales
RF_PLANES(Q5_K, 3, {48, 128}, {16, 32}, {0, 16})              // quants, high bits, all scales
RF_PLANES(Q6_K, 4, {0, 128}, {128, 64}, {192, 16}, {208, 2})  // quants, high bits, scales, scale
RF_PLANES(IQ4_XS, 2, {8, 128}, {0, 8})                        // quants, all scales
#undef RF_PLANES

constexpr bool planes_cover(const PlaneTable& t) {
  uint32_t total = 0;
  for (uint32_t i = 0; i < t.n_planes; i++) total += t.plane[i].bytes;
  return total == t.bytes;
}
#define RF_PLANES_CHECK(id, NAME, elems, bytes) static_assert(planes_cover(FormatPlanes<id>::table), #NAME);
RF_FORMATS(RF_PLANES_CHECK)
#undef RF_PLANES_CHECK

// n_planes 0: not a format.
constexpr PlaneTable plane_table(uint32_t format) {
  switch (format) {
#define RF_PLANES_CASE(id, NAME, elems, bytes) \
  case id: return FormatPlanes<id>::table;
    RF_FORMATS(RF_PLANES_CASE)
#undef RF_PLANES_CASE
    default: return {};
  }
}

// Bytes from one row of plain numbers to the next. Where this is more than cols · size the host copies row by row, and the bytes
// between are never used.
RF_HD constexpr uint64_t plain_stride(uint32_t format, uint64_t cols) {
  return (cols * (format == FORMAT_F32 ? 4 : 2) + 15) / 16 * 16;
}

// Bytes of plane i of a weight. cols is a whole number of blocks.
constexpr uint64_t plane_bytes(uint32_t format, uint32_t i, uint64_t rows, uint64_t cols) {
  const PlaneTable t = plane_table(format);
  if (i >= t.n_planes) return 0;
  return plain_format(format) ? rows * plain_stride(format, cols) : rows * (cols / t.elems) * t.plane[i].bytes;
}
// Where plane i begins in one allocation that holds them all; i = n_planes: its size.
constexpr uint64_t plane_offset(uint32_t format, uint32_t i, uint64_t rows, uint64_t cols) {
  uint64_t at = 0;
  for (uint32_t j = 0; j < i; j++) at += (plane_bytes(format, j, rows, cols) + kPlaneAlign - 1) / kPlaneAlign * kPlaneAlign;
  return at;
}

}  // namespace rf
