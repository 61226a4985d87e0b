// Weight times a few activation rows: decode, and every row count in f32 mode. ../matvec.h says how it is launched.
//
// A set of groups (one, two or four of a block: matvec_split) takes kMatvecRows weight rows; its lanes go through the columns a unit
// (units.h) at a time, all rows' loads in flight before the first is used. Quantized weights meet activations rounded to two int8 planes
// by dot4: Σ w · x = Σ over blocks of scale · xscale · (256 · Σ q·high + Σ q·low) + min · xscale · Σ x. Then the lanes' sums are joined
// by exchange and the groups' through shared memory, in an order that depends on the weight's shape alone.
//
// With one or two activation rows a block goes through several tiles of weight rows, and the loads for what comes next are on their way
// while it multiplies; its first ones leave before the kernel in front has ended.
#include "plain.h"
#include "step.h"
#include "units.h"
#include "which-weight.h"

#include "../matvec.h"

namespace rf {

// Rows of one block: R of each of W weights against N activation rows.
template <int W, int N>
struct Task {
  static constexpr int rows = int(kMatvecRows) / W;
  static constexpr int sums = W * rows * N;  // of a lane: [n][r][w]
  const MatmulArgs& args;
  DeviceWeight weight[W];
  const float* bias;
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

// What unit u of `Count` weight rows, from `First` on, adds to the sums.
template <uint32_t Id, int First, int Count, int W, int N>
RF_DEVICE void quantized_unit(const Task<W, N>& task, uint32_t u, const typename Unit<Id>::Raw (&raw)[W][Count],
                              float (&acc)[Task<W, N>::sums]) {
  using U = Unit<Id>;
  constexpr int rows = Task<W, N>::rows;
  const MatmulArgs& args = task.args;
  const uint32_t k = args.weight[0].cols, pieces = k / 32;
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

template <uint32_t Id, int First, int Count, int W, int N>
RF_DEVICE void load_quantized(const Task<W, N>& task, uint32_t u, typename Unit<Id>::Raw (&raw)[W][Count]) {
  const uint32_t blocks = task.args.weight[0].cols / uint32_t(Format<Id>::elems);
  RF_UNROLL for (int r = 0; r < Count; r++) RF_UNROLL for (int w = 0; w < W; w++)
      Unit<Id>::load(task.weight[w], uint64_t(task.weight_row(First + r)) * blocks, u, raw[w][r]);
}

// Of `Count` of the rows, from `First` on.
template <uint32_t Id, int First, int Count, int W, int N>
RF_DEVICE void quantized_sums(const Task<W, N>& task, float (&acc)[Task<W, N>::sums]) {
  const uint32_t units = task.args.weight[0].cols / Unit<Id>::cols;
  for (uint32_t u = task.lane; u < units; u += task.lanes) {
    typename Unit<Id>::Raw raw[W][Count];
    load_quantized<Id, First, Count>(task, u, raw);
    quantized_unit<Id, First, Count>(task, u, raw, acc);
  }
}

// Eight columns a lane. Whole: k is a multiple of eight; else the last columns, and activation rows that begin anywhere, are read singly.
template <uint32_t Id, bool Whole, int W, int N>
RF_DEVICE void plain_unit(const Task<W, N>& task, uint32_t u, const PlainUnit<Id> (&raw)[W][Task<W, N>::rows],
                          float (&acc)[Task<W, N>::sums]) {
  constexpr int rows = Task<W, N>::rows;
  const MatmulArgs& args = task.args;
  const uint32_t k = args.weight[0].cols;
  RF_UNROLL for (int n = 0; n < N; n++) {
    float x[8];
    load_floats<Whole>(args.in + uint64_t(task.row[n]) * k, u, k, x);
    RF_UNROLL for (int r = 0; r < rows; r++) RF_UNROLL for (int w = 0; w < W; w++) {
      float& sum = acc[sum_at(rows, W, n, r, w)];
      RF_UNROLL for (int i = 0; i < 8; i++) sum = __builtin_fmaf(raw[w][r].value(i), x[i], sum);
    }
  }
}
template <uint32_t Id, bool Whole, int W, int N>
RF_DEVICE void load_plain(const Task<W, N>& task, uint32_t u, PlainUnit<Id> (&raw)[W][Task<W, N>::rows]) {
  const uint32_t k = task.args.weight[0].cols;
  const uint64_t stride = plain_stride(Id, k);
  RF_UNROLL for (int r = 0; r < Task<W, N>::rows; r++) RF_UNROLL for (int w = 0; w < W; w++) raw[w][r].template load<Whole>(
      task.weight[w].plane[0] + task.weight_row(r) * stride, u, k);
}
template <uint32_t Id, bool Whole, int W, int N>
RF_DEVICE void plain_sums(const Task<W, N>& task, float (&acc)[Task<W, N>::sums]) {
  const uint32_t units = (task.args.weight[0].cols + 7) / 8;
  RF_UNROLL_BY(Whole ? 2 : 1) for (uint32_t u = task.lane; u < units; u += task.lanes) {
    PlainUnit<Id> raw[W][Task<W, N>::rows];
    load_plain<Id, Whole>(task, u, raw);
    plain_unit<Id, Whole>(task, u, raw, acc);
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

// Sets of a block, each with Task::rows rows of each weight.
RF_DEVICE uint32_t sets_of(uint32_t split) { return split == 1 ? kMatvecGroups : split == 2 ? kMatvecGroups / 2 : 1; }
// Tiles of all weights: what one block computes at a time.
template <int W, int N>
RF_DEVICE uint32_t tiles_of(const MatmulArgs& args, uint32_t sets) {
  const uint32_t each = sets * uint32_t(Task<W, N>::rows);
  uint32_t tiles = 0;
  RF_UNROLL for (uint32_t i = 0; i < (W == 1 ? 3 : 1); i++) tiles += (args.weight[i].rows + each - 1) / each;
  return tiles;
}

// Points a task at a tile, which becomes its index among its weight's.
template <int W, int N>
RF_DEVICE void point(Task<W, N>* task, uint32_t sets, uint32_t& tile) {
  using T = Task<W, N>;
  const MatmulArgs& args = task->args;
  if constexpr (W == 1) {
    const uint32_t which = weight_of_block(args, sets * uint32_t(T::rows), tile);
    task->weight[0] = picked_weight(args, which);
    task->bias = pick(which, args.bias[0], args.bias[1], args.bias[2]);
  } else {
    RF_UNROLL for (int w = 0; w < W; w++) task->weight[w] = args.weight[w];
  }
  task->first = (tile * sets + group_id() / task->split) * T::rows;
}

// One element of the output, which one thread of the block writes.
template <int W, int N>
struct Output {
  uint32_t set, n, r, column;
  float* at;  // NULL: none

  RF_DEVICE Output(const Task<W, N>& task, uint32_t sets, uint32_t tile) {
    using T = Task<W, N>;
    const MatmulArgs& args = task.args;
    set = thread_id() % sets, n = thread_id() / sets / T::rows, r = thread_id() / sets % T::rows;
    column = (tile * sets + set) * T::rows + r;
    const uint32_t row = block_y() * N + n;
    const bool on = thread_id() < sets * uint32_t(T::rows * N) && column < task.weight[0].rows && row < live(args.rows);
    at = on ? args.out + uint64_t(row) * args.out_width + task.weight[0].first + column : nullptr;
  }
};

// Joins the block's sums and writes them. `residual`: what was at the output.
template <int W, int N>
RF_DEVICE void finish(const Task<W, N>& task, const Output<W, N>& output, float residual, float (&acc)[Task<W, N>::sums],
                      float (&shared)[kMatvecGroups][Task<W, N>::sums]) {
  using T = Task<W, N>;
  join_lanes<T::sums>(acc);
  bool is_first;
  const int value = value_of<T::sums>(lane_id(), is_first);
  if (is_first) shared[group_id()][value] = acc[0];
  block_sync();
  if (!output.at) return;
  float sum[W] = {};
  for (uint32_t g = 0; g < task.split; g++)
    RF_UNROLL for (int w = 0; w < W; w++) sum[w] +=
        shared[output.set * task.split + g][(output.n * T::rows + output.r) * W + uint32_t(w)];
  float y = sum[0];
  if constexpr (W == 2) y = silu(y) * sum[1];
  if (task.bias) y += task.bias[output.column];
  *output.at = task.args.add ? residual + y : y;
}

template <uint32_t Id, int W, int N>
RF_DEVICE Task<W, N> make_task(const MatmulArgs& args) {
  const uint32_t first_row = block_y() * N, split = matvec_split(Id, args.weight[0].cols);
  Task<W, N> task{args, {}, nullptr, split, 0, thread_id() % (32 * split), 32 * split, {}};
  task.row[0] = first_row;
  if constexpr (N > 1) {
    const uint32_t live_rows = live(args.rows);
    RF_UNROLL for (int n = 1; n < N; n++) task.row[n] = first_row + uint32_t(n) < live_rows ? first_row + uint32_t(n) : first_row;
  }
  return task;
}

template <uint32_t Id, int W, int N>
RF_DEVICE void matvec(const MatmulArgs& args) {
  using T = Task<W, N>;
  RF_SHARED float shared[kMatvecGroups][T::sums];
  if (block_y() && block_y() * N >= live(args.rows)) return;
  T task = make_task<Id, W, N>(args);
  const uint32_t sets = sets_of(task.split);
  uint32_t tile = block_x();
  point(&task, sets, tile);
  begin_kernel();
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
  const Output<W, N> output(task, sets, tile);
  finish(task, output, args.add && output.at ? *output.at : 0.0f, acc, shared);
}

// One or two activation rows. Reader: Raw, load(task, u, raw) and add(task, u, raw, acc) of a unit of all rows of a tile.
template <uint32_t Id, class Reader, int W, int N>
RF_DEVICE void matvec_stream(const MatmulArgs& args, float (&shared)[2][kMatvecGroups][Task<W, N>::sums]) {
  using T = Task<W, N>;
  // The first rows do not ask how many are live, so that nothing stands between the launch and the first weights: a step without any
  // computes row 0 of the arena for nothing.
  if (block_y() && block_y() * N >= live(args.rows)) return;
  T task = make_task<Id, W, N>(args);
  const uint32_t sets = sets_of(task.split), tiles = tiles_of<W, N>(args, sets);
  const uint32_t units = (args.weight[0].cols + Reader::cols - 1) / Reader::cols;
  uint32_t wanted = block_x(), tile = wanted, parity = 0, pass = 0;  // the tile among all, and among its weight's
  point(&task, sets, tile);
  typename Reader::Raw raw[W][T::rows];
  uint32_t u = task.lane;
  if (u < units) Reader::load(task, u, raw);
  begin_kernel();
  float acc[T::sums] = {};
  for (;;) {
    // The loads of the next unit, of this tile or another …
    const bool last = pass + task.lanes >= units;
    T next = task;
    uint32_t next_wanted = wanted, next_tile = tile, next_u = u + task.lanes;
    if (last) {
      next_tile = next_wanted = wanted + grid_x();
      next_u = task.lane;
    }
    const bool more = next_wanted < tiles;
    if (last && more) point(&next, sets, next_tile);
    typename Reader::Raw ahead[W][T::rows];
    if (more && next_u < units) Reader::load(next, next_u, ahead);
    // … are on their way while this one is multiplied.
    if (last) {
      const Output<W, N> output(task, sets, tile);
      const float residual = args.add && output.at ? *output.at : 0.0f;
      if (u < units) Reader::add(task, u, raw, acc);
      finish(task, output, residual, acc, shared[parity]);
      RF_UNROLL for (int i = 0; i < T::sums; i++) acc[i] = 0;
      parity ^= 1;
      pass = 0;
    } else {
      Reader::add(task, u, raw, acc);
      pass += task.lanes;
    }
    if (!more) return;
    task.weight[0] = next.weight[0];
    task.bias = next.bias;
    task.first = next.first;
    wanted = next_wanted, tile = next_tile, u = next_u;
    RF_UNROLL for (int r = 0; r < T::rows; r++) RF_UNROLL for (int w = 0; w < W; w++) raw[w][r] = ahead[w][r];
  }
}

template <uint32_t Id>
struct QuantizedReader {
  using Raw = typename Unit<Id>::Raw;
  static constexpr uint32_t cols = Unit<Id>::cols;
  template <int W, int N>
  RF_DEVICE static void load(const Task<W, N>& task, uint32_t u, Raw (&raw)[W][Task<W, N>::rows]) {
    load_quantized<Id, 0, Task<W, N>::rows>(task, u, raw);
  }
  template <int W, int N>
  RF_DEVICE static void add(const Task<W, N>& task, uint32_t u, const Raw (&raw)[W][Task<W, N>::rows],
                            float (&acc)[Task<W, N>::sums]) {
    quantized_unit<Id, 0, Task<W, N>::rows>(task, u, raw, acc);
  }
};
template <uint32_t Id, bool Whole>
struct PlainReader {
  using Raw = PlainUnit<Id>;
  static constexpr uint32_t cols = 8;
  template <int W, int N>
  RF_DEVICE static void load(const Task<W, N>& task, uint32_t u, Raw (&raw)[W][Task<W, N>::rows]) {
    load_plain<Id, Whole>(task, u, raw);
  }
  template <int W, int N>
  RF_DEVICE static void add(const Task<W, N>& task, uint32_t u, const Raw (&raw)[W][Task<W, N>::rows],
                            float (&acc)[Task<W, N>::sums]) {
    plain_unit<Id, Whole>(task, u, raw, acc);
  }
};

template <uint32_t Id, int W, int N>
RF_DEVICE void matvec_few(const MatmulArgs& args) {
  RF_SHARED float shared[2][kMatvecGroups][Task<W, N>::sums];
  if constexpr (!plain_format(Id)) {
    matvec_stream<Id, QuantizedReader<Id>, W, N>(args, shared);
  } else {
    if (args.weight[0].cols % 8 == 0) matvec_stream<Id, PlainReader<Id, true>, W, N>(args, shared);
    else matvec_stream<Id, PlainReader<Id, false>, W, N>(args, shared);
  }
}

}  // namespace rf

using namespace rf;

#define MATVEC(NAME, MAT, N)                                                                             \
  RF_KERNEL(kMatvecThreads) rf_matvec_##NAME##_n##N(MatmulArgs args) { MAT<FORMAT_##NAME, 1, N>(args); } \
  RF_KERNEL(kMatvecThreads) rf_matvec_swiglu_##NAME##_n##N(MatmulArgs args) { MAT<FORMAT_##NAME, 2, N>(args); }
#define MATVECS(NAME) MATVEC(NAME, matvec_few, 1) MATVEC(NAME, matvec_few, 2) MATVEC(NAME, matvec, 4) MATVEC(NAME, matvec, 8)
RF_QUANT_FORMATS(MATVECS)
RF_PLAIN_FORMATS(MATVECS)
