// One block's tile of out[rows, n] = x[rows, k] · w[n, k]ᵀ on the matrix units. args.h documents the launch.
//
// Both operands pass through shared memory as halves, `depth` of k a step.
// NVIDIA: activations, and weights that are halves already, are copied asynchronously into three stages. Quantized weights are
// loaded into registers two steps ahead and stored dequantized one step ahead. One barrier a step.
// AMD: one stage, refilled from registers that were loaded during the previous step.
#pragma once
#include "matmul-weights.h"
#include "step.h"

namespace rf {

// Many rows: each wave computes 64 rows by 32 or 64 columns of the tile.
struct WideTile {
  static constexpr uint32_t rows = kMatmulWideRows, columns = kMatmulWideColumns, depth = 64;
  static constexpr uint32_t wave_rows = 64, wave_columns = kWave == 64 ? 64 : 32;
  static constexpr uint32_t prefetched = 0;
};
// Few rows: tiles are small, so that even a small weight has a block for every compute unit, and the waves of a block split k.
struct NarrowTile {
  static constexpr uint32_t rows = kMatmulNarrowRows, columns = kMatmulNarrowColumns, depth = 256;
  static constexpr uint32_t wave_rows = 32, wave_columns = 32;
  // Weights are prefetched this many steps ahead: the loads of one block alone do not keep the memory busy.
  static constexpr uint32_t prefetched = 16;
};

template <class T>
struct TileShape {
  using Layout = TileLayout<T::depth>;
  static constexpr uint32_t waves = kBlock / kWave;
  static constexpr uint32_t across = T::columns / T::wave_columns, down = T::rows / T::wave_rows;
  static constexpr uint32_t splits = waves / (across * down);
  static constexpr uint32_t tile_rows = T::wave_rows / kTile, tile_columns = T::wave_columns / kTile;
  static_assert(splits * across * down == waves && T::depth / splits % kTile == 0);
  static constexpr uint32_t row_halves = T::rows * Layout::stride, column_halves = T::columns * Layout::stride;
#if defined(__CUDACC__)
  static constexpr uint32_t stages = 3;
#else
  static constexpr uint32_t stages = 1;
#endif
  static constexpr uint32_t tiles_bytes = stages * (row_halves + column_halves) * 2;
  // Partial sums; they reuse the memory of the tiles.
  static constexpr uint32_t sums_bytes = splits > 1 ? waves* T::rows* T::columns * 4 : 0;
  static constexpr uint32_t shared_bytes = tiles_bytes > sums_bytes ? tiles_bytes : sums_bytes;
#if defined(__CUDACC__)
  static_assert(shared_bytes <= kMatmulShared);
#endif
};

// Copies a tile of the activations to shared memory; rows beyond the last live row become zeros.
template <class T, class Layout>
struct Activations {
  static constexpr uint32_t per_row = T::depth / kChunk, each = T::rows * per_row / kBlock, step_rows = kBlock / per_row;
  static_assert(T::rows * per_row % kBlock == 0 && kBlock % per_row == 0);
  const uint16_t* row;  // the first row that this thread copies
  uint32_t k, n_rows;   // live rows from that row on
  bool aligned;
#if !defined(__CUDACC__)
  Word4 chunk[each];
#endif

  RF_DEVICE void point(const MatmulArgs& a, uint32_t live_rows) {
    const uint32_t first = block_x() * T::rows + thread_id() / per_row;
    k = a.k;
    aligned = k % kChunk == 0;
    row = a.half + uint64_t(first) * k;
    n_rows = first < live_rows ? live_rows - first : 0;
  }
  RF_DEVICE uint16_t* place(uint16_t* tile, uint32_t i) const {
    return tile + Layout::at(thread_id() / per_row + i * step_rows, thread_id() % per_row);
  }
  RF_DEVICE Word4 read(uint32_t i, uint32_t at) const {
    if (i * step_rows >= n_rows || at >= k) return {0, 0, 0, 0};
    const uint16_t* from = row + uint64_t(i * step_rows) * k + at;
    if (aligned) return load<Word4>(from);
    // Rare (k not a multiple of eight): one half at a time, not unrolled, so that it costs the common case no registers.
    uint64_t low = 0, high = 0;
#pragma nounroll
    for (uint32_t n = k - at < kChunk ? k - at : kChunk; n-- > 0;) {
      high = high << 16 | low >> 48;
      low = low << 16 | from[n];
    }
    return {uint32_t(low), uint32_t(low >> 32), uint32_t(high), uint32_t(high >> 32)};
  }
#if defined(__CUDACC__)
  template <bool AnyWidth>
  RF_DEVICE void copy(uint16_t* tile, uint32_t step) const {
    const uint32_t at = step * T::depth + thread_id() % per_row * kChunk;
    if (!AnyWidth || aligned) {
      RF_UNROLL for (uint32_t i = 0; i < each; ++i) {
        const bool inside = at < k && i * step_rows < n_rows;
        copy_async(place(tile, i), inside ? row + uint64_t(i * step_rows) * k + at : row, inside ? kChunkBytes : 0);
      }
    } else {
      RF_UNROLL for (uint32_t i = 0; i < each; ++i) * reinterpret_cast<Word4*>(place(tile, i)) = read(i, at);
    }
  }
#else
  template <bool AnyWidth>
  RF_DEVICE void fetch(uint32_t step) {
    if constexpr (!AnyWidth) aligned = true;
    RF_UNROLL for (uint32_t i = 0; i < each; ++i) chunk[i] = read(i, step * T::depth + thread_id() % per_row * kChunk);
  }
  RF_DEVICE void store(uint16_t* tile) const {
    RF_UNROLL for (uint32_t i = 0; i < each; ++i) * reinterpret_cast<Word4*>(place(tile, i)) = chunk[i];
  }
#endif
};

// The place of this wave's tile within the block's tile, and its first k of a step.
template <class T>
struct WavePlace {
  using Shape = TileShape<T>;
  uint32_t row, column, k;
  RF_DEVICE WavePlace() {
    const uint32_t wave = wave_id(), tile = wave / Shape::splits;
    row = tile / Shape::across * T::wave_rows;
    column = tile % Shape::across * T::wave_columns;
    k = wave % Shape::splits * (T::depth / Shape::splits);
  }
};

template <class T, class Half, class Layout>
RF_DEVICE void multiply_step(Accumulator (&sum)[TileShape<T>::tile_rows][TileShape<T>::tile_columns], const WavePlace<T>& at,
                             const uint16_t* x, const uint16_t* w) {
  using Shape = TileShape<T>;
  RF_UNROLL_BY(kMatrixUnit ? 16 : 1)
  for (uint32_t k = 0; k < T::depth / Shape::splits; k += kTile) {
    if (k % (2 * kTile) == 0) schedule_fence();
    Fragment<Half, Layout> rows[Shape::tile_rows], columns[Shape::tile_columns];
    RF_UNROLL for (uint32_t j = 0; j < Shape::tile_columns; ++j) load_fragment(columns[j], w, at.column + kTile * j, at.k + k);
    RF_UNROLL for (uint32_t i = 0; i < Shape::tile_rows; ++i) load_fragment(rows[i], x, at.row + kTile * i, at.k + k);
    RF_UNROLL for (uint32_t i = 0; i < Shape::tile_rows; ++i) RF_UNROLL for (uint32_t j = 0; j < Shape::tile_columns; ++j)
        multiply(sum[i][j], rows[i], columns[j]);
  }
}

// Writes N outputs, wherever they lie: adds bias and residual. All loads come before the first store, so that one wait covers them.
template <uint32_t N>
RF_DEVICE void finish(const MatmulArgs& a, const BlockWork& work, uint32_t n_rows, const uint32_t (&row)[N],
                      const uint32_t (&column)[N], float (&value)[N]) {
  const uint32_t last_row = n_rows - 1, last_column = work.weight.rows - 1;
  float* const out = a.out + work.weight.first;
  const auto at = [&](uint32_t i) {
    return uint64_t(row[i] < last_row ? row[i] : last_row) * a.out_width + (column[i] < last_column ? column[i] : last_column);
  };
  if (work.bias) {
    RF_UNROLL for (uint32_t i = 0; i < N; ++i) value[i] += work.bias[column[i] < last_column ? column[i] : last_column];
  }
  if (a.add) {
    float before[N];
    RF_UNROLL for (uint32_t i = 0; i < N; ++i) before[i] = out[at(i)];
    RF_UNROLL for (uint32_t i = 0; i < N; ++i) value[i] += before[i];
  }
  RF_UNROLL for (uint32_t i = 0; i < N; ++i) {
    if (row[i] <= last_row && column[i] <= last_column) out[at(i)] = value[i];
  }
}

// Writes outputs from the accumulators of a wave, which hold whole sums.
template <class T, bool Swiglu>
RF_DEVICE void finish_wave(const MatmulArgs& a, const BlockWork& work,
                           const Accumulator (&sum)[TileShape<T>::tile_rows][TileShape<T>::tile_columns], const WavePlace<T>& at,
                           uint32_t n_rows) {
  using Shape = TileShape<T>;
  constexpr uint32_t step = Swiglu ? 2 : 1, n = Accumulator::size;
  RF_UNROLL for (uint32_t i = 0; i < Shape::tile_rows; ++i) RF_UNROLL for (uint32_t j = 0; j < Shape::tile_columns; j += step) {
    uint32_t row[n], column[n];
    float value[n];
    RF_UNROLL for (uint32_t e = 0; e < n; ++e) {
      row[e] = block_x() * T::rows + at.row + kTile * i + Accumulator::row(e);
      column[e] = (work.tile * T::columns + at.column + kTile * j) / step + Accumulator::column(e);
      value[e] = sum[i][j].value[e];
      if constexpr (Swiglu) value[e] = silu(value[e]) * sum[i][j + 1].value[e];
    }
    finish(a, work, n_rows, row, column, value);
  }
}

// Writes outputs whose partial sums lie in all waves of the block: adds them up through shared memory, always in the same order.
template <class T, bool Swiglu>
RF_DEVICE void finish_split(const MatmulArgs& a, const BlockWork& work,
                            const Accumulator (&sum)[TileShape<T>::tile_rows][TileShape<T>::tile_columns], float* shared,
                            uint32_t n_rows) {
  using Shape = TileShape<T>;
  static_assert(Shape::splits == Shape::waves);
  constexpr uint32_t outputs = Swiglu ? T::columns / 2 : T::columns, n = T::rows * outputs / kBlock;
  static_assert(T::rows * outputs % kBlock == 0);
  // Columns are permuted by row to avoid bank conflicts.
  const auto place = [&](uint32_t wave, uint32_t row, uint32_t column) -> float& {
    return shared[(wave * T::rows + row) * T::columns + (column ^ (row & 7) * 4)];
  };
  block_sync();
  RF_UNROLL for (uint32_t i = 0; i < Shape::tile_rows; ++i) RF_UNROLL for (uint32_t j = 0; j < Shape::tile_columns; ++j)
      RF_UNROLL for (uint32_t e = 0; e < Accumulator::size; ++e)
          place(wave_id(), kTile * i + Accumulator::row(e), kTile * j + Accumulator::column(e)) = sum[i][j].value[e];
  block_sync();
  const auto total = [&](uint32_t row, uint32_t column) {
    float value = 0.0f;
    RF_UNROLL for (uint32_t wave = 0; wave < Shape::waves; ++wave) value += place(wave, row, column);
    return value;
  };
  const auto gate_column = [](uint32_t c) { return c / kTile * (2 * kTile) + c % kTile; };
  uint32_t row[n], column[n];
  float value[n];
  RF_UNROLL for (uint32_t i = 0; i < n; ++i) {
    const uint32_t e = thread_id() + i * kBlock, r = e / outputs, c = e % outputs;
    row[i] = block_x() * T::rows + r;
    column[i] = work.tile * outputs + c;
    if constexpr (Swiglu) value[i] = silu(total(r, gate_column(c))) * total(r, gate_column(c) + kTile);
    else value[i] = total(r, c);
  }
  finish(a, work, n_rows, row, column, value);
}

template <bool Plain, uint32_t Id, class Half, class Layout, class T, bool Swiglu>
struct WeightTileOf {
  using type = BlockTile<Id, Half, Layout, T::columns, T::depth, Swiglu>;
};
template <uint32_t Id, class Half, class Layout, class T, bool Swiglu>
struct WeightTileOf<true, Id, Half, Layout, T, Swiglu> {
  using type = PlainTile<Id, Half, Layout, T::columns, T::depth, Swiglu>;
};

template <uint32_t Id, class Half, class T, bool Swiglu>
RF_DEVICE void matmul(const MatmulArgs& a, uint8_t* shared) {
  using Shape = TileShape<T>;
  using Layout = typename Shape::Layout;
  constexpr bool any_width = kPlain<Id>;
  const uint32_t n_rows = live(a.rows);
  Activations<T, Layout> x;
  typename WeightTileOf<kPlain<Id>, Id, Half, Layout, T, Swiglu>::type w;
  const BlockWork work = work_of_block<Swiglu, T::columns>(a);
  x.point(a, n_rows);
  w.point(a, work);
  const uint32_t n_steps = (a.k + T::depth - 1) / T::depth;
  if constexpr (T::prefetched > 0) {
    RF_UNROLL_BY(1) for (uint32_t s = 0; s < T::prefetched && s < n_steps; ++s) w.prefetch(s);
  }
  begin_kernel();
  if (block_x() * T::rows >= n_rows) return;

  const WavePlace<T> at;
  Accumulator sum[Shape::tile_rows][Shape::tile_columns];
  RF_UNROLL for (uint32_t i = 0; i < Shape::tile_rows; ++i) RF_UNROLL for (uint32_t j = 0; j < Shape::tile_columns; ++j)
      clear(sum[i][j]);
  uint16_t* const rows = reinterpret_cast<uint16_t*>(shared);
  uint16_t* const columns = rows + Shape::stages * Shape::row_halves;

#if defined(__CUDACC__)
  const auto copy = [&](uint32_t stage, uint32_t step) {
    if (step < n_steps) {
      x.template copy<any_width>(rows + stage * Shape::row_halves, step);
      if constexpr (w.raw) w.copy(columns + stage * Shape::column_halves, step);
    }
    close_copies();
  };
  RF_UNROLL for (uint32_t s = 0; s + 1 < Shape::stages; ++s) copy(s, s);
  if constexpr (!w.raw) {
    w.fetch(0);
    w.store(columns, 0);
    if (n_steps > 1) w.fetch(1);
  }
  uint32_t stage = 0, write = Shape::stages - 1;
  for (uint32_t step = 0; step < n_steps; ++step) {
    wait_copies<Shape::stages - 2>();
    block_sync();  // this step's tiles are complete, and no wave reads the previous step's tiles any more
    copy(write, step + Shape::stages - 1);
    if constexpr (T::prefetched > 0) {
      if (step + T::prefetched < n_steps) w.prefetch(step + T::prefetched);
    }
    if constexpr (!w.raw) {
      if (step + 1 < n_steps) w.store(columns + (step + 1) % 2 * Shape::column_halves, step + 1);
      if (step + 2 < n_steps) w.fetch(step + 2);
    }
    multiply_step<T, Half, Layout>(sum, at, rows + stage * Shape::row_halves,
                                   columns + (w.raw ? stage : step % 2) * Shape::column_halves);
    stage = stage + 1 == Shape::stages ? 0 : stage + 1;
    write = write + 1 == Shape::stages ? 0 : write + 1;
  }
#else
  x.template fetch<any_width>(0);
  w.fetch(0);
  for (uint32_t step = 0; step < n_steps; ++step) {
    if (step) block_sync();  // all waves have read the previous tiles
    x.store(rows);
    w.store(columns, step);
    block_sync();
    if (step + 1 < n_steps) {
      x.template fetch<any_width>(step + 1);
      w.fetch(step + 1);
    }
    multiply_step<T, Half, Layout>(sum, at, rows, columns);
  }
#endif
  if constexpr (Shape::splits == 1) finish_wave<T, Swiglu>(a, work, sum, at, n_rows);
  else finish_split<T, Swiglu>(a, work, sum, reinterpret_cast<float*>(shared), n_rows);
}

}  // namespace rf
