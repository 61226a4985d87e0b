// Measures a device's limits: the rate of copying with plain loads and stores, and of matrix products whose operands stay in
// registers.
#include "../args.h"
#include "mma.h"

using namespace rf;

#if defined(__CUDACC__)
typedef Word4 Quad;
#else
typedef Vector<uint32_t, 4> Quad;  // a struct would make the compiler reserve scratch memory on gfx9
#endif

// Grid: a few blocks for each compute unit. n_bytes is a multiple of 4096.
RF_KERNEL(kBlock) rf_copy_stream(StreamArgs a) {
  const Quad* from = reinterpret_cast<const Quad*>(a.from);
  Quad* to = reinterpret_cast<Quad*>(a.to);
  const uint64_t n = a.n_bytes / sizeof(Quad), stride = uint64_t(grid_x()) * kBlock;
  uint64_t i = uint64_t(block_x()) * kBlock + thread_id();
  // Four loads of each thread are in flight.
  for (; i + 3 * stride < n; i += 4 * stride) {
    const Quad first = from[i], second = from[i + stride], third = from[i + 2 * stride], fourth = from[i + 3 * stride];
    to[i] = first;
    to[i + stride] = second;
    to[i + 2 * stride] = third;
    to[i + 3 * stride] = fourth;
  }
  for (; i < n; i += stride) to[i] = from[i];
}

// kRateProducts independent sums a wave, so that no product waits for another. Operands look random, because zeros take less power.
RF_KERNEL(kBlock) rf_multiply_registers(RateArgs a) {
  using Layout = TileLayout<64>;
  alignas(16) RF_SHARED uint16_t tile[2 * kTile * Layout::stride];
  for (uint32_t i = thread_id(); i < 2 * kTile * Layout::stride; i += kBlock) {
    const uint32_t hash = i * 2654435761u >> 16;
    tile[i] = uint16_t(0x2c00u | (hash & 0x83ffu));  // ±1/16 … ±1/8
  }
  block_sync();
  Fragment<F16, Layout> left[2], right[4];
  Accumulator sums[kRateProducts];
  RF_UNROLL for (uint32_t i = 0; i < 2; i++) load_fragment(left[i], tile, kTile * i, 0);
  RF_UNROLL for (uint32_t i = 0; i < 4; i++) load_fragment(right[i], tile, 0, kTile * i);
  RF_UNROLL for (uint32_t i = 0; i < kRateProducts; i++) clear(sums[i]);
  for (uint32_t round = 0; round < a.rounds; round++)
    RF_UNROLL for (uint32_t i = 0; i < kRateProducts; i++) multiply(sums[i], left[i % 2], right[i / 2]);
  float total = 0;
  RF_UNROLL for (uint32_t i = 0; i < kRateProducts; i++) RF_UNROLL for (uint32_t j = 0; j < Accumulator::size; j++) total +=
      sums[i].value[j];
  a.out[uint64_t(block_x()) * kBlock + thread_id()] = total;
}
