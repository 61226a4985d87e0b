// Weight times a few activation rows: decode, and any number of rows in f32 mode. ../matvec.h documents the launch.
//
// A set of one, two or four subgroups (matvec_split) computes kMatvecRows weight rows. Its lanes go through the columns one unit
// (units.h) at a time and issue the loads of all rows before they use the first. Activations for quantized weights are rounded to
// 16 bits and kept as two int8, so that dot4 applies: Σ w · x = Σ over pieces of scale · xscale · (256 · Σ q·high + Σ q·low) + min
// · xscale · Σ x. The sums of the lanes are added by shuffles, those of the subgroups through shared memory, in an order that
// depends on the weight's shape alone.
#include "formats.h"
#include "plain.h"
#include "step.h"
#include "which-weight.h"

#include "../matvec.h"

namespace rf {

// The work of one set of subgroups: `rows` rows of each of W weights times N activation rows.
template <int W, int N>
struct Task {
  static constexpr int rows = int(kMatvecRows) / W;
  static constexpr int sums = W * rows * N;  // a lane's sums: [n][r][w]
  const MatmulArgs& args;
  DeviceWeight weight[W];
  uint32_t split;   // subgroups of the set
  uint32_t first;   // first weight row of the set
  uint32_t lane;    // of this thread within the set
  uint32_t lanes;   // lanes of the set
  uint32_t row[N];  // activation rows; rows past the end repeat the first
  // Weight row r of the set; rows past the end repeat the last.
  RF_DEVICE uint32_t weight_row(int r) const {
    const uint32_t last = weight[0].rows - 1;
    return first + uint32_t(r) < last ? first + uint32_t(r) : last;
  }
  RF_DEVICE uint32_t row_offset(int r) const {  // weight_row(r) - weight_row(0)
    const uint32_t more = weight[0].rows - 1 - weight_row(0);
    return uint32_t(r) < more ? uint32_t(r) : more;
  }
};
RF_DEVICE constexpr int sum_at(int rows, int weights, int n, int r, int w) { return (n * rows + r) * weights + w; }

// Offsets of a unit's activations within a row of MatmulArgs.int8 (bytes) and of info (floats). They are 32-bit numbers of a
// lane, the same for every row, so that a row needs only two scalar base addresses.
struct ActivationOffsets {
  uint32_t high, low, scale, sum;
};
// Offsets for columns 16 · half … of `piece`, or for the whole piece if it has eight words (half = 0). k: columns of a row.
template <int Words>
RF_DEVICE ActivationOffsets activation_offsets(uint32_t k, uint32_t piece, uint32_t half) {
  const uint32_t at = half * (k / 2) + piece * 16;
  return {at, at + k, piece, (Words == 8 ? 1 : 2 + half) * (k / kPiece) + piece};
}
template <int Words>
RF_DEVICE void load_int8(const int8_t* row, uint32_t k, uint32_t at, int32_t (&q)[Words]) {
  RF_UNROLL for (uint32_t i = 0; i < Words / 4; i++) {
    const Word4 v = load<Word4>(row + (at + i * (k / 2)));
    q[4 * i] = int32_t(v.x), q[4 * i + 1] = int32_t(v.y), q[4 * i + 2] = int32_t(v.z), q[4 * i + 3] = int32_t(v.w);
  }
}

// Loads unit u of the weight rows First … First + Count - 1, and adds its products to the sums.
template <uint32_t Id, int First, int Count, int W, int N>
RF_DEVICE void load_unit(const Task<W, N>& task, uint32_t u, typename Unit<Id>::Raw (&raw)[W][Count]) {
  const uint32_t blocks = task.args.weight[0].cols / uint32_t(Format<Id>::elems);
  RF_UNROLL for (int r = 0; r < Count; r++) RF_UNROLL for (int w = 0; w < W; w++)
      Unit<Id>::load(task.weight[w], {uint64_t(task.weight_row(0)) * blocks, task.row_offset(First + r) * blocks}, u, raw[w][r]);
}
template <uint32_t Id, int First, int Count, int W, int N>
RF_DEVICE void add_unit(const Task<W, N>& task, uint32_t u, const typename Unit<Id>::Raw (&raw)[W][Count],
                        float (&acc)[Task<W, N>::sums]) {
  using U = Unit<Id>;
  constexpr int rows = Task<W, N>::rows;
  const MatmulArgs& args = task.args;
  const uint32_t k = args.weight[0].cols, pieces = k / kPiece;
  const uint32_t half = U::words == 8 ? 0 : u % 2, piece = U::words == 8 ? u : uint32_t(U::pieces) * (u / 2);
  // Unrolled, a piece's offset is a constant of the load. With many activation rows this stays a loop, or all pieces would be
  // unpacked at once.
  constexpr bool unrolled = N <= 2;
  RF_UNROLL_BY(unrolled ? 4 : 1) for (int j = 0; j < U::pieces; j++) {
    const int constant = unrolled ? j : 0;
    const ActivationOffsets at = activation_offsets<U::words>(k, piece + uint32_t(j - constant), half);
    int32_t q[W][Count][U::words];
    float scale[W][Count], min[W][Count];
    RF_UNROLL for (int r = 0; r < Count; r++) RF_UNROLL for (int w = 0; w < W; w++)
        U::decode(raw[w][r], u, j, q[w][r], scale[w][r], min[w][r]);
    RF_UNROLL for (int n = 0; n < N; n++) {
      const int8_t* int8 = args.int8 + uint64_t(task.row[n]) * 2 * k + constant * 16;
      const float* info = args.info + uint64_t(task.row[n]) * 4 * pieces + constant;
      int32_t high[U::words], low[U::words];
      load_int8(int8, k, at.high, high);
      load_int8(int8, k, at.low, low);
      const float xscale = info[at.scale];
      float xsum = 0;
      if constexpr (U::has_min) xsum = info[at.sum];
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

// The sums of weight rows First … First + Count - 1.
template <uint32_t Id, int First, int Count, int W, int N>
RF_DEVICE void quantized_sums(const Task<W, N>& task, float (&acc)[Task<W, N>::sums]) {
  const uint32_t units = task.args.weight[0].cols / Unit<Id>::cols;
  for (uint32_t u = task.lane; u < units; u += task.lanes) {
    typename Unit<Id>::Raw raw[W][Count];
    load_unit<Id, First, Count>(task, u, raw);
    add_unit<Id, First, Count>(task, u, raw, acc);
  }
}
// The same for all rows. The weights of the first unit are loaded while the previous kernel ends.
template <uint32_t Id, int W, int N>
RF_DEVICE void quantized_sums_early(const Task<W, N>& task, float (&acc)[Task<W, N>::sums]) {
  constexpr int rows = Task<W, N>::rows;
  const uint32_t units = task.args.weight[0].cols / Unit<Id>::cols;
  typename Unit<Id>::Raw raw[W][rows];
  uint32_t u = task.lane;
  if (u < units) load_unit<Id, 0, rows>(task, u, raw);
  begin_kernel();
  while (u < units) {
    add_unit<Id, 0, rows>(task, u, raw, acc);
    u += task.lanes;
    if (u < units) load_unit<Id, 0, rows>(task, u, raw);
  }
}

// The sums for an unquantized weight, eight columns a lane; k is a multiple of eight.
template <uint32_t Id, int W, int N>
RF_DEVICE void plain_sums(const Task<W, N>& task, float (&acc)[Task<W, N>::sums]) {
  constexpr int rows = Task<W, N>::rows;
  const MatmulArgs& args = task.args;
  const uint32_t k = args.weight[0].cols, units = k / 8;
  const uint64_t stride = plain_stride(Id, k);
  RF_UNROLL_BY(2) for (uint32_t u = task.lane; u < units; u += task.lanes) {
    PlainUnit<Id> raw[W][rows];
    RF_UNROLL for (int r = 0; r < rows; r++) RF_UNROLL for (int w = 0; w < W; w++) raw[w][r].load(
        task.weight[w].plane[0] + task.weight_row(r) * stride + uint64_t(u) * PlainUnit<Id>::bytes);
    RF_UNROLL for (int n = 0; n < N; n++) {
      float x[8];
      load_floats(args.in + uint64_t(task.row[n]) * k + 8 * u, x);
      RF_UNROLL for (int r = 0; r < rows; r++) RF_UNROLL for (int w = 0; w < W; w++) {
        float& sum = acc[sum_at(rows, W, n, r, w)];
        RF_UNROLL for (int i = 0; i < 8; i++) sum = __builtin_fmaf(raw[w][r].value(i), x[i], sum);
      }
    }
  }
}
// The same for any k, one column at a time, because rows of activations are not aligned. Rare, so the code is kept small.
template <uint32_t Id, int W, int N>
RF_DEVICE void plain_sums_any(const Task<W, N>& task, float (&acc)[Task<W, N>::sums]) {
  constexpr int rows = Task<W, N>::rows;
  const MatmulArgs& args = task.args;
  const uint32_t k = args.weight[0].cols;
  const uint64_t stride = plain_stride(Id, k);
  for (uint32_t begin = 8 * task.lane; begin < k; begin += 8 * task.lanes) {
    const uint32_t end = begin + 8 < k ? begin + 8 : k;
    RF_UNROLL_BY(1) for (uint32_t column = begin; column < end; column++) {
      float weight[W][rows];
      RF_UNROLL for (int r = 0; r < rows; r++) RF_UNROLL for (int w = 0; w < W; w++) weight[w][r] =
          plain_value<Id>(task.weight[w].plane[0] + task.weight_row(r) * stride, column);
      RF_UNROLL for (int n = 0; n < N; n++) {
        const float x = args.in[uint64_t(task.row[n]) * k + column];
        RF_UNROLL for (int r = 0; r < rows; r++) RF_UNROLL for (int w = 0; w < W; w++) {
          float& sum = acc[sum_at(rows, W, n, r, w)];
          sum = __builtin_fmaf(weight[w][r], x, sum);
        }
      }
    }
  }
}

// Sums V values over the lanes of a subgroup. Afterwards v[0] is the sum of one of them: value_of() returns which. Each exchange
// halves the values that a lane keeps, down to one. All values are added along the same tree.
template <int V, uint32_t Mask = kSubgroup / 2>
RF_DEVICE void join_lanes(float* v) {
  if constexpr (V > 1) {
    const bool upper = lane_id() & Mask;
    RF_UNROLL for (int i = 0; i < V / 2; i++) {
      const float low = v[i], high = v[i + V / 2];  // read before the selection, which would otherwise select addresses
      const float send = upper ? low : high, keep = upper ? high : low;
      v[i] = keep + shuffle_xor(send, Mask);
    }
  } else {
    v[0] += shuffle_xor(v[0], Mask);
  }
  if constexpr (Mask > 1) join_lanes<(V > 1 ? V / 2 : 1), Mask / 2>(v);
}
// The index of the value that a lane holds, and whether it is the first lane that holds it. V ≤ 32.
template <int V>
RF_DEVICE int value_of(uint32_t lane, bool& is_first) {
  is_first = lane % (kSubgroup / V) == 0;
  return int(lane / (kSubgroup / V));
}

// The output element that this thread writes, if any (on).
template <int W, int N>
struct Output {
  uint32_t set, n, r, column;
  bool on;
  float* at;

  RF_DEVICE Output(const Task<W, N>& task, uint32_t sets, uint32_t block) {
    constexpr uint32_t rows = Task<W, N>::rows;
    const MatmulArgs& args = task.args;
    set = thread_id() % sets, n = thread_id() / sets / rows, r = thread_id() / sets % rows;
    column = (block * sets + set) * rows + r;
    const uint32_t row = block_y() * N + n;
    on = thread_id() < sets * rows * N && column < task.weight[0].rows && row < live(args.rows);
    at = args.out + uint64_t(row) * args.out_width + task.weight[0].first + column;
  }
};

template <uint32_t Id, int W, int N>
RF_DEVICE void matvec(const MatmulArgs& args) {
  using T = Task<W, N>;
  const uint32_t first_row = block_y() * N;
  // The first rows are computed without reading the live count, so that weights are loaded at once. A step without rows computes
  // row 0 in vain.
  if (first_row && first_row >= live(args.rows)) return;
  const uint32_t split = matvec_split(Id, args.weight[0].cols), sets = split == 1   ? kMatvecSubgroups
                                                                       : split == 2 ? kMatvecSubgroups / 2
                                                                                    : 1;
  uint32_t block = block_x();
  T task{args, {}, split, 0, thread_id() % (kSubgroup * split), kSubgroup * split, {}};
  const float* bias = nullptr;
  if constexpr (W == 1) {
    // sets · rows, written as a shift: a division would delay the first load.
    const uint32_t which = weight_of_block(args, uint32_t(T::rows) << (sets / 2), block);
    if constexpr (kIndexedArguments) {
      task.weight[0] = args.weight[which];
      bias = args.bias[which];
    } else {
      task.weight[0] = picked_weight(args, which);
      bias = uniform_here(pick(which, args.bias[0], args.bias[1], args.bias[2]));
    }
  } else {
    RF_UNROLL for (int w = 0; w < W; w++) task.weight[w] = args.weight[w];
  }
  task.first = (block * sets + subgroup_id() / split) * T::rows;
  task.row[0] = first_row;
  if constexpr (N > 1) {
    const uint32_t live_rows = live(args.rows);
    RF_UNROLL for (int n = 1; n < N; n++) task.row[n] = first_row + uint32_t(n) < live_rows ? first_row + uint32_t(n) : first_row;
  }

  float acc[T::sums] = {};
  if constexpr (!plain_format(Id)) {
    // Units with four pieces and many activation rows leave registers for only half of the weight rows at a time.
    constexpr int each = Unit<Id>::pieces == 4 && N >= 4 ? T::rows / 2 : T::rows;
    if constexpr (kStartsEarly && N == 1) {
      quantized_sums_early<Id>(task, acc);
    } else {
      if constexpr (kStartsEarly) {
        for (uint32_t u = task.lane; u * Unit<Id>::cols < args.weight[0].cols; u += task.lanes)
          RF_UNROLL for (int i = 0; i < T::rows; i++) RF_UNROLL for (int w = 0; w < W; w++)
              prefetch_blocks<Id>(task.weight[w], task.weight_row(i), u * Unit<Id>::cols);
      }
      begin_kernel();
      quantized_sums<Id, 0, each>(task, acc);
      if constexpr (each < T::rows) quantized_sums<Id, each, each>(task, acc);
    }
  } else {
    begin_kernel();
    if (args.weight[0].cols % 8 == 0) plain_sums<Id>(task, acc);
    else plain_sums_any<Id>(task, acc);
  }

  RF_SHARED float shared[kMatvecSubgroups][T::sums];
  join_lanes<T::sums>(acc);
  bool is_first;
  const int value = value_of<T::sums>(lane_id(), is_first);
  if (is_first) shared[subgroup_id()][value] = acc[0];
  block_sync();
  const Output<W, N> output(task, sets, block);
  if (!output.on) return;
  float sum[W] = {};
  RF_UNROLL for (uint32_t g = 0; g < kMatvecSubgroups; g++) {
    if (g >= split) break;
    RF_UNROLL for (int w = 0; w < W; w++) sum[w] +=
        shared[output.set * split + g][(output.n * T::rows + output.r) * W + uint32_t(w)];
  }
  float y = sum[0];
  if constexpr (W == 2) y = silu(y) * sum[1];
  if (bias) y += bias[output.column];
  *output.at = args.add ? *output.at + y : y;
}

// Blocks that must fit on a multiprocessor at once (0: any number). Without a number ptxas saves registers by loading a row only
// after the previous rows are multiplied, which waits for memory several times. These numbers leave registers for all loads first.
constexpr uint32_t matvec_resident(uint32_t format, int n) {
  const bool wide = matvec_unit(format) == 64;
  return n == 1 ? (wide || format == FORMAT_Q5_K ? 4 : 5) : n == 2 ? (wide ? 3 : 4) : n == 4 || plain_format(format) ? 3 : 0;
}

}  // namespace rf

using namespace rf;

#define MATVEC_KERNEL(NAME, N) RF_KERNEL_RESIDENT(kMatvecThreads, matvec_resident(FORMAT_##NAME, N))
#define MATVEC(NAME, N)                                                                       \
  MATVEC_KERNEL(NAME, N)                                                                      \
  rf_matvec_##NAME##_n##N(RF_ARGUMENT MatmulArgs args) { matvec<FORMAT_##NAME, 1, N>(args); } \
  MATVEC_KERNEL(NAME, N)                                                                      \
  rf_matvec_swiglu_##NAME##_n##N(RF_ARGUMENT MatmulArgs args) { matvec<FORMAT_##NAME, 2, N>(args); }
#define MATVECS(id, NAME, elems, bytes) MATVEC(NAME, 1) MATVEC(NAME, 2) MATVEC(NAME, 4) MATVEC(NAME, 8)
RF_FORMATS(MATVECS)
