// Weight times a few activation rows: decode, and every row count in f32 mode. ../matvec.h says how it is launched.
//
// A set of groups (one, two or four of a block: matvec_split) takes kMatvecRows weight rows; its lanes go through the columns a unit
// (units.h) at a time, all rows' loads in flight before the first is used. Quantized weights meet activations rounded to two int8 planes
// by dot4: Σ w · x = Σ over blocks of scale · xscale · (256 · Σ q·high + Σ q·low) + min · xscale · Σ x. Then the lanes' sums are joined
// by exchange and the groups' through shared memory, in an order that depends on the weight's shape alone.
#include "plain.h"
#include "step.h"
#include "units.h"

#include "../matvec.h"

namespace rf {

// Rows of one block: R of each of W weights against N activation rows.
template <int W, int N>
struct Task {
  static constexpr int rows = int(kMatvecRows) / W;
  static constexpr int sums = W * rows * N;  // of a lane: [n][r][w]
  const MatmulArgs& args;
  DeviceWeight weight[W];
  uint32_t split;                               // groups of a set
  uint32_t first;                               // first weight row of this set
  uint32_t lane;                                // within the set
  uint32_t lanes;                               // of the set
  uint32_t row[N];                              // activation rows; those past the end repeat the first
  RF_DEVICE uint32_t weight_row(int r) const {  // those past the end repeat the last
    const uint32_t last = weight[0].rows - 1;
    return first + uint32_t(r) < last ? first + uint32_t(r) : last;
  }
};
RF_DEVICE constexpr int sum_at(int rows, int weights, int n, int r, int w) { return (n * rows + r) * weights + w; }

// Of row n's piece, the half from column 16 · half on (or both): args.h says how planes and info lie.
template <int Words>
RF_DEVICE void load_activations(const int8_t* row, uint32_t k, uint32_t piece, uint32_t half, int32_t (&high)[Words],
                                int32_t (&low)[Words]) {
  RF_UNROLL for (int i = 0; i < Words / 4; i++) {
    const int8_t* at = row + (half + uint32_t(i)) * (k / 2) + piece * 16;
    const Word4 h = load<Word4>(at), l = load<Word4>(at + k);
    high[4 * i] = int32_t(h.x), high[4 * i + 1] = int32_t(h.y), high[4 * i + 2] = int32_t(h.z), high[4 * i + 3] = int32_t(h.w);
    low[4 * i] = int32_t(l.x), low[4 * i + 1] = int32_t(l.y), low[4 * i + 2] = int32_t(l.z), low[4 * i + 3] = int32_t(l.w);
  }
}

// Of `Count` of the rows, from `First` on.
template <uint32_t Id, int First, int Count, int W, int N>
RF_DEVICE void quantized_sums(const Task<W, N>& task, float (&acc)[Task<W, N>::sums]) {
  using U = Unit<Id>;
  constexpr int rows = Task<W, N>::rows;
  const MatmulArgs& args = task.args;
  const uint32_t k = args.weight[0].cols, pieces = k / 32, units = k / U::cols, blocks = k / uint32_t(Format<Id>::elems);
  for (uint32_t u = task.lane; u < units; u += task.lanes) {
    typename U::Raw raw[W][Count];
    RF_UNROLL for (int r = 0; r < Count; r++) RF_UNROLL for (int w = 0; w < W; w++)
        U::load(task.weight[w], uint64_t(task.weight_row(First + r)) * blocks, u, raw[w][r]);
    // With many activation rows a loop, lest all strips be unpacked at once.
    RF_UNROLL_BY(N > 2 ? 1 : 4) for (int j = 0; j < U::strips; j++) {
      const uint32_t half = U::words == 8 ? 0 : u % 2, piece = U::words == 8 ? u : uint32_t(U::strips) * (u / 2) + uint32_t(j);
      int32_t q[W][Count][U::words];
      float scale[W][Count], min[W][Count];
      RF_UNROLL for (int r = 0; r < Count; r++) RF_UNROLL for (int w = 0; w < W; w++)
          U::strip(raw[w][r], u, j, q[w][r], scale[w][r], min[w][r]);
      RF_UNROLL for (int n = 0; n < N; n++) {
        int32_t high[U::words], low[U::words];
        load_activations<U::words>(args.planes + uint64_t(task.row[n]) * 2 * k, k, piece, half, high, low);
        const float* info = args.info + uint64_t(task.row[n]) * 4 * pieces + piece;
        const float xscale = info[0];
        float xsum = 0;
        if constexpr (U::has_min) xsum = info[(U::words == 8 ? 1 : 2 + half) * pieces];
        RF_UNROLL for (int r = 0; r < Count; r++) RF_UNROLL for (int w = 0; w < W; w++) {
          int32_t a = 0, b = 0;
          RF_UNROLL for (int i = 0; i < U::words; i++) {
            a = dot4(q[w][r][i], high[i], a);
            b = dot4(q[w][r][i], low[i], b);
          }
          float& sum = acc[sum_at(rows, W, n, First + r, w)];
          sum = __builtin_fmaf(scale[w][r] * xscale, float(a * 256 + b), sum);
          if constexpr (U::has_min) sum = __builtin_fmaf(min[w][r], xsum, sum);
        }
      }
    }
  }
}

// Eight columns a lane. Whole: k is a multiple of eight; else the last columns, and activation rows that begin anywhere, are read singly.
template <uint32_t Id, bool Whole, int W, int N>
RF_DEVICE void plain_sums(const Task<W, N>& task, float (&acc)[Task<W, N>::sums]) {
  constexpr int rows = Task<W, N>::rows;
  const MatmulArgs& args = task.args;
  const uint32_t k = args.weight[0].cols, units = (k + 7) / 8;
  const uint64_t stride = plain_stride(Id, k);
  RF_UNROLL_BY(Whole ? 2 : 1) for (uint32_t u = task.lane; u < units; u += task.lanes) {
    PlainUnit<Id> raw[W][rows];
    RF_UNROLL for (int r = 0; r < rows; r++) RF_UNROLL for (int w = 0; w < W; w++) raw[w][r].template load<Whole>(
        task.weight[w].plane[0] + task.weight_row(r) * stride, u, k);
    RF_UNROLL for (int n = 0; n < N; n++) {
      float x[8];
      load_floats<Whole>(args.in + uint64_t(task.row[n]) * k, u, k, x);
      RF_UNROLL for (int r = 0; r < rows; r++) RF_UNROLL for (int w = 0; w < W; w++) {
        float& sum = acc[sum_at(rows, W, n, r, w)];
        RF_UNROLL for (int i = 0; i < 8; i++) sum = __builtin_fmaf(raw[w][r].value(i), x[i], sum);
      }
    }
  }
}

// Joins the lanes of a group: afterwards v[0] is the whole sum of one of the V values, value_of() says which. Each exchange halves the
// values that a lane cares for while there are several; every value is added up along the same tree.
template <int V, uint32_t Mask = 16>
RF_DEVICE void join_lanes(float* v) {
  if constexpr (V > 1) {
    const bool upper = lane_id() & Mask;
    RF_UNROLL for (int i = 0; i < V / 2; i++) {
      const float low = v[i], high = v[i + V / 2];  // read before the choice, which else would be one of addresses
      const float send = upper ? low : high, keep = upper ? high : low;
      v[i] = keep + shuffle_xor(send, Mask);
    }
  } else {
    v[0] += shuffle_xor(v[0], Mask);
  }
  if constexpr (Mask > 1) join_lanes<(V > 1 ? V / 2 : 1), Mask / 2>(v);
}
// The value that a lane holds, and whether it is the first to hold it. V ≤ 32.
template <int V>
RF_DEVICE int value_of(uint32_t lane, bool& is_first) {
  is_first = lane % (32 / V) == 0;
  return int(lane / (32 / V));
}

// By value, for the reason given in units.h.
template <class T>
RF_DEVICE T pick(uint32_t which, T a, T b, T c) {
  return which == 0 ? a : which == 1 ? b : c;
}
// Which of several weights a block works for; `block` becomes its index among that weight's. One weight's grid ends with its blocks.
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

template <uint32_t Id, int W, int N>
RF_DEVICE void matvec(const MatmulArgs& args) {
  using T = Task<W, N>;
  const uint32_t first_row = block_y() * N;
  // The first rows do not ask how many are live, so that nothing stands between the launch and the first weights: a step without any
  // computes row 0 of the arena for nothing.
  if (first_row && first_row >= live(args.rows)) return;
  const uint32_t split = matvec_split(Id, args.weight[0].cols), sets = split == 1   ? kMatvecGroups
                                                                       : split == 2 ? kMatvecGroups / 2
                                                                                    : 1;
  uint32_t block = block_x();
  T task{args, {}, split, 0, thread_id() % (32 * split), 32 * split, {}};
  const float* bias = nullptr;
  if constexpr (W == 1) {
    const uint32_t which = weight_of_block(args, sets * uint32_t(T::rows), block);
    const DeviceWeight(&from)[3] = args.weight;
    DeviceWeight& to = task.weight[0];
    RF_UNROLL for (uint32_t i = 0; i < kMaxPlanes; i++) to.plane[i] =
        pick(which, from[0].plane[i], from[1].plane[i], from[2].plane[i]);
    to.rows = pick(which, from[0].rows, from[1].rows, from[2].rows);
    to.first = pick(which, from[0].first, from[1].first, from[2].first);
    to.cols = from[0].cols;
    bias = pick(which, args.bias[0], args.bias[1], args.bias[2]);
  } else {
    RF_UNROLL for (int w = 0; w < W; w++) task.weight[w] = args.weight[w];
  }
  task.first = (block * sets + group_id() / split) * T::rows;
  task.row[0] = first_row;
  if constexpr (N > 1) {
    const uint32_t live_rows = live(args.rows);
    RF_UNROLL for (int n = 1; n < N; n++) task.row[n] = first_row + uint32_t(n) < live_rows ? first_row + uint32_t(n) : first_row;
  }
  float acc[T::sums] = {};
  if constexpr (!plain_format(Id)) {
    // What a lane holds of super-blocks with four strips, and of many activation rows, leaves registers for half of the weight rows.
    constexpr int each = Unit<Id>::strips == 4 && N >= 4 ? T::rows / 2 : T::rows;
    quantized_sums<Id, 0, each>(task, acc);
    if constexpr (each < T::rows) quantized_sums<Id, each, each>(task, acc);
  } else {
    if (args.weight[0].cols % 8 == 0) plain_sums<Id, true, W, N>(task, acc);
    else plain_sums<Id, false, W, N>(task, acc);
  }

  RF_SHARED float shared[kMatvecGroups][T::sums];
  join_lanes<T::sums>(acc);
  bool is_first;
  const int value = value_of<T::sums>(lane_id(), is_first);
  if (is_first) shared[group_id()][value] = acc[0];
  block_sync();
  const uint32_t results = sets * uint32_t(T::rows * N);
  if (thread_id() >= results) return;
  const uint32_t set = thread_id() % sets, n = thread_id() / sets / T::rows, r = thread_id() / sets % T::rows;
  const uint32_t column = (block * sets + set) * T::rows + r, row = first_row + n;
  if (column >= task.weight[0].rows || row >= live(args.rows)) return;
  float sum[W] = {};
  for (uint32_t g = 0; g < split; g++)
    RF_UNROLL for (int w = 0; w < W; w++) sum[w] += shared[set * split + g][(n * T::rows + r) * W + uint32_t(w)];
  float y = sum[0];
  if constexpr (W == 2) y = silu(y) * sum[1];
  if (bias) y += bias[column];
  float* out = args.out + uint64_t(row) * args.out_width + task.weight[0].first + column;
  *out = args.add ? *out + y : y;
}

}  // namespace rf

using namespace rf;

#define MATVEC(NAME, N)                                                                                     \
  RF_KERNEL(kMatvecThreads) rf_matvec_##NAME##_n##N(MatmulArgs args) { matvec<FORMAT_##NAME, 1, N>(args); } \
  RF_KERNEL(kMatvecThreads) rf_matvec_swiglu_##NAME##_n##N(MatmulArgs args) { matvec<FORMAT_##NAME, 2, N>(args); }
#define MATVECS(NAME) MATVEC(NAME, 1) MATVEC(NAME, 2) MATVEC(NAME, 4) MATVEC(NAME, 8)
RF_QUANT_FORMATS(MATVECS)
RF_PLAIN_FORMATS(MATVECS)
