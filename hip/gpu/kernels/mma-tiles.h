// Whole tiles over mma.h: the operations of two matrix products in a row with a softmax between them, as in FlashAttention.
//
// A tile is Accumulator[Rows][Columns] of one wave: kTile · Rows rows by kTile · Columns columns. Operations on a whole tile:
//   mm_ABt(c, a, b)           c = a · bᵀ; a: fragments, b: in shared memory
//   mm_AB(c, a, b, room)      c += a · b; a: a tile, b: in shared memory
//   map(c, f)                 c = f(c), element by element
//   mask(c, range)            c = -inf outside the column range of each row
// Operations on one row of tiles, c[r], and a RowVector, which holds one float for each of its kTile rows:
//   load_row(a, shared, row)  a = rows row … row + kTile - 1 of shared memory, as left operand
//   clear(c)                  c = 0
//   raise_row_max(m, c)       m = max(m, rowmax(c)); returns 2^(m before - m after)
//   sub_row_exp2(c, m, l)     c = 2^(c - m), l += rowsum(c)
//   scale_rows(c, v)          c = diag(v) · c
//   for_each(c, f)            f(row, column, element)
//
// A tile becomes the left operand of the next product without a detour through shared memory where the hardware allows it.
// Therefore each platform holds tiles in its own way:
//   NVIDIA          as they are: a lane has elements of two of kTile rows, and four lanes share a row
//   AMD             transposed: a lane has elements of one row, and the lanes that agree in lane % 16 share it
//   no matrix unit  as they are: a lane has elements of four rows; the left operand does pass through shared memory
#pragma once
#include "mma.h"

namespace rf {

#if defined(__CUDACC__) || defined(RF_MMA_MFMA) || RF_MMA_WMMA == 12
constexpr uint32_t kFragmentsAhead = 2;  // fragments of b that are loaded before the products that need them
#else
constexpr uint32_t kFragmentsAhead = 1;  // a fragment of gfx11 takes eight registers
#endif

// What differs between the platforms:
//   kLaneRows                   rows of kTile that a lane has elements of
//   kRowLanesFrom, kRowLanesTo  lanes that share a row differ in the bits kRowLanesFrom … kRowLanesTo / 2 of their number
//   lane_row(i)                 which of the lane's rows element i of an accumulator belongs to
//   tile_row(i), tile_column(i) where element i lies in the accumulator's 16 × 16
//   multiply_rows(c, a, b)      c += a · bᵀ for one accumulator
//   load_b(out, b, column, k)   an operand of mm_AB's b, in shared memory as [k, column] on NVIDIA and [column, k] elsewhere
//   operand(out, c, room, k)    out = c as left operand, whose columns are k … k + 15 of the tile; room: as in mm_AB
#if defined(__CUDACC__)

constexpr uint32_t kLaneRows = 2, kRowLanesFrom = 1, kRowLanesTo = 4;
RF_DEVICE uint32_t lane_row(uint32_t i) { return i / 2 % 2; }
RF_DEVICE uint32_t tile_row(uint32_t i) { return Accumulator::row(i); }
RF_DEVICE uint32_t tile_column(uint32_t i) { return Accumulator::column(i); }
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
RF_DEVICE void multiply_rows(Accumulator& c, const Fragment<F16, Layout>& a, const Fragment<F16, Layout>& b) {
  multiply(c, a, b);
}
template <class Layout>
RF_DEVICE void load_b(Fragment<F16, Layout>& out, const uint16_t* b, uint32_t column, uint32_t k) {
  const uint32_t lane = wave_lane();
  const uint16_t* p = b + Layout::at(k + lane % 8 + lane / 16 * 8, column / kChunk + lane / 8 % 2);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out.word[0]), "=r"(out.word[1]), "=r"(out.word[2]), "=r"(out.word[3])
               : "r"(uint32_t(__cvta_generic_to_shared(p)))
               : "memory");
}
template <class Layout>
RF_DEVICE void operand(Fragment<F16, Layout>& out, const Accumulator& c, uint16_t*, uint32_t) {
  RF_UNROLL for (uint32_t i = 0; i < 4; i++) out.word[i] = F16::pack(c.value[2 * i], c.value[2 * i + 1]);
}

#elif defined(RF_MMA_MFMA) || defined(RF_MMA_WMMA)

constexpr uint32_t kLaneRows = 1, kRowLanesFrom = 16, kRowLanesTo = kWave;
RF_DEVICE uint32_t lane_row(uint32_t) { return 0; }
RF_DEVICE uint32_t tile_row(uint32_t i) { return Accumulator::column(i); }
RF_DEVICE uint32_t tile_column(uint32_t i) { return Accumulator::row(i); }
RF_DEVICE float power_of_2(float x) { return exp2_fast(x); }
RF_DEVICE float reciprocal(float x) { return __builtin_amdgcn_rcpf(x); }
template <class Layout>
RF_DEVICE void multiply_rows(Accumulator& c, const Fragment<F16, Layout>& a, const Fragment<F16, Layout>& b) {
  multiply(c, b, a);
}
template <class Layout>
RF_DEVICE void load_b(Fragment<F16, Layout>& out, const uint16_t* b, uint32_t column, uint32_t k) {
  load_fragment(out, b, column, k);
}
// The elements of a lane are the k that it must hold of the fragment, so nothing moves. Only on gfx11 a lane needs all sixteen
// columns of its row and has every other one; the lane 16 away has the rest.
template <class Layout>
RF_DEVICE void operand(Fragment<F16, Layout>& out, const Accumulator& c, uint16_t*, uint32_t) {
  constexpr uint32_t words = Accumulator::size / 2;
  uint32_t own[words];
  RF_UNROLL for (uint32_t i = 0; i < words; i++) own[i] = F16::pack(c.value[2 * i], c.value[2 * i + 1]);
#if RF_MMA_WMMA == 11
  Vector<uint32_t, 8> all;
  const bool odd = wave_lane() / 16;
  RF_UNROLL for (uint32_t i = 0; i < words; i++) {
    const uint32_t other = uint32_t(shuffle_xor(int32_t(own[i]), 16));
    const uint32_t even_columns = odd ? other : own[i], odd_columns = odd ? own[i] : other;
    all[2 * i] = (even_columns & 0xffffu) | odd_columns << 16;
    all[2 * i + 1] = even_columns >> 16 | (odd_columns & 0xffff0000u);
  }
#else
  Vector<uint32_t, words> all;
  RF_UNROLL for (uint32_t i = 0; i < words; i++) all[i] = own[i];
#endif
  out.bits = __builtin_bit_cast(decltype(out.bits), all);
}

#else

constexpr uint32_t kLaneRows = 4, kRowLanesFrom = 1, kRowLanesTo = 8;
RF_DEVICE uint32_t lane_row(uint32_t i) { return i / 2; }
RF_DEVICE uint32_t tile_row(uint32_t i) { return Accumulator::row(i); }
RF_DEVICE uint32_t tile_column(uint32_t i) { return Accumulator::column(i); }
RF_DEVICE float power_of_2(float x) { return exp2_fast(x); }
RF_DEVICE float reciprocal(float x) { return __builtin_amdgcn_rcpf(x); }
template <class Layout>
RF_DEVICE void multiply_rows(Accumulator& c, const Fragment<F16, Layout>& a, const Fragment<F16, Layout>& b) {
  multiply(c, a, b);
}
template <class Layout>
RF_DEVICE void load_b(Fragment<F16, Layout>& out, const uint16_t* b, uint32_t column, uint32_t k) {
  load_fragment(out, b, column, k);
}
template <class Layout>
RF_DEVICE void operand(Fragment<F16, Layout>& out, const Accumulator& c, uint16_t* room, uint32_t k) {
  RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) {
    const uint32_t column = k + Accumulator::column(i);
    room[Layout::at(Accumulator::row(i), column / kChunk) + column % kChunk] = float_to_half(c.value[i]);
  }
  subgroup_sync();
  load_fragment(out, room, 0, k);
}

#endif

// One float for each of kTile rows: this lane's kLaneRows of them. Sums are partial until sum_lanes adds up the lanes that share a
// row.
struct RowVector {
  float of[kLaneRows];
};
RF_DEVICE void fill(RowVector& v, float x) { RF_UNROLL for (uint32_t n = 0; n < kLaneRows; n++) v.of[n] = x; }
RF_DEVICE void scale(RowVector& v, const RowVector& by) { RF_UNROLL for (uint32_t n = 0; n < kLaneRows; n++) v.of[n] *= by.of[n]; }
RF_DEVICE void invert(RowVector& v) { RF_UNROLL for (uint32_t n = 0; n < kLaneRows; n++) v.of[n] = divide(1.0f, v.of[n]); }
RF_DEVICE void sum_lanes(RowVector& v) {
  RF_UNROLL for (uint32_t n = 0; n < kLaneRows; n++) RF_UNROLL for (uint32_t bit = kRowLanesFrom; bit < kRowLanesTo; bit *= 2)
      v.of[n] += shuffle_xor(v.of[n], bit);
}

template <uint32_t Columns>
RF_DEVICE void clear(Accumulator (&c)[Columns]) {
  RF_UNROLL for (uint32_t t = 0; t < Columns; t++) clear(c[t]);
}

template <class Layout, uint32_t Depth>
RF_DEVICE void load_row(Fragment<F16, Layout> (&a)[Depth], const uint16_t* shared, uint32_t row) {
  RF_UNROLL for (uint32_t k = 0; k < Depth; k++) load_fragment(a[k], shared, row, k * kTile);
}

template <class Layout, uint32_t Rows, uint32_t Columns, uint32_t Depth>
RF_DEVICE void mm_ABt(Accumulator (&c)[Rows][Columns], const Fragment<F16, Layout> (&a)[Rows][Depth], const uint16_t* b) {
  RF_UNROLL for (uint32_t t = 0; t < Columns; t++) {
    RF_UNROLL for (uint32_t r = 0; r < Rows; r++) clear(c[r][t]);
    RF_UNROLL for (uint32_t k = 0; k < Depth; k++) {
      Fragment<F16, Layout> right;
      load_fragment(right, b, t * kTile, k * kTile);
      RF_UNROLL for (uint32_t r = 0; r < Rows; r++) multiply_rows(c[r][t], a[r][k], right);
      if (k % kFragmentsAhead == kFragmentsAhead - 1) schedule_fence();
    }
  }
}

// room: without a matrix unit, shared memory of this wave for `a` as halves, kTile · Rows rows in Layout.
template <class Layout, uint32_t Rows, uint32_t Columns, uint32_t Depth>
RF_DEVICE void mm_AB(Accumulator (&c)[Rows][Columns], const Accumulator (&a)[Rows][Depth], const uint16_t* b, uint16_t* room) {
  RF_UNROLL for (uint32_t k = 0; k < Depth; k++) {
    Fragment<F16, Layout> left[Rows];
    RF_UNROLL for (uint32_t r = 0; r < Rows; r++) operand(left[r], a[r][k], room + r * kTile * Layout::stride, k * kTile);
    schedule_fence();
    RF_UNROLL for (uint32_t t = 0; t < Columns; t++) {
      Fragment<F16, Layout> right;
      load_b(right, b, t * kTile, k * kTile);
      RF_UNROLL for (uint32_t r = 0; r < Rows; r++) multiply_rows(c[r][t], left[r], right);
      if (t % kFragmentsAhead == kFragmentsAhead - 1) schedule_fence();
    }
  }
}

template <uint32_t Rows, uint32_t Columns, class F>
RF_DEVICE void map(Accumulator (&c)[Rows][Columns], F f) {
  RF_UNROLL for (uint32_t r = 0; r < Rows; r++) RF_UNROLL for (uint32_t t = 0; t < Columns; t++) {
    RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) c[r][t].value[i] = f(c[r][t].value[i]);
    schedule_fence();
  }
}
template <uint32_t Columns, class F>
RF_DEVICE void for_each(const Accumulator (&c)[Columns], F f) {
  RF_UNROLL for (uint32_t t = 0; t < Columns; t++) RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++)
      f(tile_row(i), t * kTile + tile_column(i), c[t].value[i]);
}

struct ColumnRange {
  int32_t first, last;
};
// range(row) → ColumnRange.
template <uint32_t Rows, uint32_t Columns, class Range>
RF_DEVICE void mask(Accumulator (&c)[Rows][Columns], Range range) {
  RF_UNROLL for (uint32_t r = 0; r < Rows; r++) {
    ColumnRange seen[kLaneRows];
    RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) seen[lane_row(i)] = range(r * kTile + tile_row(i));
    RF_UNROLL for (uint32_t t = 0; t < Columns; t++) RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) {
      const int32_t column = int32_t(t * kTile + tile_column(i));
      if (column > seen[lane_row(i)].last || column < seen[lane_row(i)].first) c[r][t].value[i] = -__builtin_inff();
    }
  }
}

template <uint32_t Columns>
RF_DEVICE RowVector raise_row_max(RowVector& m, const Accumulator (&c)[Columns]) {
  RowVector next = m, shrink;
  RF_UNROLL for (uint32_t t = 0; t < Columns; t++) RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) {
    float& greatest = next.of[lane_row(i)];
    greatest = greatest < c[t].value[i] ? c[t].value[i] : greatest;
  }
  RF_UNROLL for (uint32_t n = 0; n < kLaneRows; n++) {
    RF_UNROLL for (uint32_t bit = kRowLanesFrom; bit < kRowLanesTo; bit *= 2) {
      const float other = shuffle_xor(next.of[n], bit);
      next.of[n] = next.of[n] < other ? other : next.of[n];
    }
    shrink.of[n] = power_of_2(m.of[n] - finite_peak(next.of[n]));
  }
  m = next;
  return shrink;
}
template <uint32_t Columns>
RF_DEVICE void sub_row_exp2(Accumulator (&c)[Columns], const RowVector& m, RowVector& l) {
  RF_UNROLL for (uint32_t t = 0; t < Columns; t++) {
    RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) {
      c[t].value[i] = power_of_2(c[t].value[i] - finite_peak(m.of[lane_row(i)]));
      l.of[lane_row(i)] += c[t].value[i];
    }
    schedule_fence();
  }
}
template <uint32_t Columns>
RF_DEVICE void scale_rows(Accumulator (&c)[Columns], const RowVector& by) {
  RF_UNROLL for (uint32_t t = 0; t < Columns; t++) RF_UNROLL for (uint32_t i = 0; i < Accumulator::size; i++) c[t].value[i] *=
      by.of[lane_row(i)];
}

}  // namespace rf
