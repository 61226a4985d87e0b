// out[rows, n] = in[rows, k] · weight[n, k]ᵀ for every weight format.
//
// Weights of block formats are multiplied with activations that are rounded to integers in blocks of 32 (scale = max|x| / 32512)
// and stored as two int8 planes, x = scale · (256 · high + low). With one plane a small model's distribution moves by a
// Kullback-Leibler divergence of about 3e-3, with two by less than 1e-6, and both planes use the same unpacked weights.
// Work is cut into tiles of kTileRows weight rows. A few activation rows (decode) use each piece of a tile as soon as it is
// unpacked; many (prefill) share a tile that was unpacked to bytes once. Both add the blocks of a row in the same order, so the
// result of a token does not depend on the other tokens of its step.
// Plain weights (F32, F16, BF16) are multiplied with float activations, see matmul-plain.h.
#pragma once
#include <algorithm>
#include <utility>

#include "activations.h"
#include "kernels.h"
#include "matmul-plain.h"
#include "tile.h"

namespace rf {
namespace RF_ISA {

constexpr uint64_t kOwnRows = 4;     // up to this many, every thread rounds all activations itself, which is cheaper than a barrier
constexpr uint64_t kFusedRows = 16;  // up to this many, a piece of a tile is used as soon as it is unpacked
constexpr uint64_t kChunkRows = 64;  // activation rows that share one result buffer
// How many activation rows are multiplied together, with their sums in registers: first as many as fit, then fewer for the rest.
#if defined(__AVX512F__)
constexpr int kPanelRows[] = {16, 8, 4, 1};
#else
constexpr int kPanelRows[] = {4, 1};
#endif
constexpr int kPanelSizes = sizeof kPanelRows / sizeof *kPanelRows;

// One 32-column piece of a tile, unpacked.
template <class T>
struct Piece {
  i32x16 w[8];
  float scale[T::groups][kTileRows];
  float min[T::has_min ? T::groups : 1][kTileRows];
};

template <class T>
RF_INLINE i32x16 dot_bytes(i32x16 acc, i32x16 w, const int8_t* q) {
  int32_t a;
  memcpy(&a, q, 4);
  return T::small ? dot4_small(acc, w, a) : dot4(acc, w, a);
}

// Σ w · q over columns 4·first … 4·last, from a start value; |Σ| < 32 · 255 · 32768 fits 32 bits.
template <class T>
RF_INLINE i32x16 dot_planes(i32x16 start, const i32x16 w[8], const Planes& q, int first, int last) {
  i32x16 high = {}, low = start;
  for (int i = first; i < last; i++) {
    high = dot_bytes<T>(high, w[i], q.high + 4 * i);
    low = dot_bytes<T>(low, w[i], q.low + 4 * i);
  }
  return (high << 8) + low;
}

// acc[i] += piece · activations of row `row` + i, for N rows, or n where N is 0.
template <class T, int N>
RF_INLINE void multiply(const i32x16 w[8], const float* scale, const float* min, const Activations& a, uint64_t row, uint64_t n,
                        uint64_t block, f32x16* acc) {
  const uint64_t n_blocks = a.k / 32;
  constexpr int shift = T::has_min ? 0 : T::zero_shift;
  for (uint64_t i = 0; i < (N ? N : n); i++) {
    const uint64_t at = (row + i) * n_blocks + block;
    const BlockInfo& info = a.info[at];
    for (int g = 0; g < T::groups; g++) {
      const int32_t neg = T::groups == 1 ? info.neg_sum : info.neg_half[g];
      const i32x16 start = T::has_min ? i32x16{} : splat(int32_t(uint32_t(neg) << shift));
      const i32x16 dot = dot_planes<T>(start, w, a.q[at], g * 8 / T::groups, (g + 1) * 8 / T::groups);
      acc[i] = madd(to_float(dot), load<f32x16>(scale + kTileRows * g) * splat(info.scale), acc[i]);
      if constexpr (T::has_min)
        acc[i] = madd(load<f32x16>(min + kTileRows * g), splat(T::groups == 1 ? info.sum : info.sum_half[g]), acc[i]);
    }
  }
}

// Prefetches to the first-level cache where `near`, else to the second: two tiles may not fit the first.
RF_INLINE void prefetch(const uint8_t* p, uint64_t n_bytes, bool near) {
  for (uint64_t i = 0; i < n_bytes; i += 64) {
    if (near) __builtin_prefetch(p + i, 0, 3);
    else __builtin_prefetch(p + i, 0, 2);
  }
}

// Decode: unpacks the tile piece by piece and multiplies each piece at once with N activation rows, whose sums are in registers, or
// with n ≤ kFusedRows rows where N is 0. out: [n][kTileRows]
template <uint32_t Id, int N>
void fused(const uint8_t* rows, uint64_t stride, const uint8_t* next, const Activations& a, uint64_t n, float* out) {
  using T = Tile<Id>;
  constexpr uint64_t bytes = sizeof(typename Format<Id>::Block), elems = Format<Id>::elems;
  alignas(64) float scale[T::subs * T::groups * kTileRows], min[T::has_min ? T::subs * T::groups * kTileRows : kTileRows];
  constexpr uint64_t piece = kTileRows * bytes / T::subs;
  const bool near = 32 * stride <= 32 << 10;
  f32x16 acc[N ? N : kFusedRows] = {};
  for (uint64_t b = 0; b < a.k / elems; b++) {
    const uint8_t* p = rows + b * bytes;
    T::scales(p, stride, scale, min);
    for (int s = 0; s < T::subs; s++) {
      prefetch(next + (b * T::subs + uint64_t(s)) * piece, piece, near);
      i32x16 w[8];
      T::decode(p, stride, s, w);
      multiply<T, N>(w, scale + s * T::groups * kTileRows, min + (T::has_min ? s * T::groups * kTileRows : 0), a, 0, n,
                     b * T::subs + uint64_t(s), acc);
    }
  }
  for (uint64_t i = 0; i < n; i++) store(out + kTileRows * i, acc[i]);
}

// Prefill: unpacks the whole tile …
template <uint32_t Id>
void unpack(const uint8_t* rows, uint64_t stride, const uint8_t* next, uint64_t k, void* panel) {
  using T = Tile<Id>;
  constexpr uint64_t bytes = sizeof(typename Format<Id>::Block), elems = Format<Id>::elems;
  constexpr uint64_t size = kTileRows * bytes / T::subs;
  alignas(64) float scale[T::subs * T::groups * kTileRows], min[T::has_min ? T::subs * T::groups * kTileRows : kTileRows];
  auto* piece = static_cast<Piece<T>*>(panel);
  for (uint64_t b = 0; b < k / elems; b++) {
    const uint8_t* p = rows + b * bytes;
    T::scales(p, stride, scale, min);
    for (int s = 0; s < T::subs; s++, piece++) {
      prefetch(next + (b * T::subs + uint64_t(s)) * size, size, false);
      T::decode(p, stride, s, piece->w);
      memcpy(piece->scale, scale + s * T::groups * kTileRows, sizeof piece->scale);
      if (T::has_min) memcpy(piece->min, min + s * T::groups * kTileRows, sizeof piece->min);
    }
  }
}
// … which is then multiplied with N activation rows at a time. out: [N][kTileRows]
template <uint32_t Id, int N>
void panel_rows(const void* panel, const Activations& a, uint64_t row, float* out) {
  using T = Tile<Id>;
  const auto* piece = static_cast<const Piece<T>*>(panel);
  f32x16 acc[N] = {};
  for (uint64_t b = 0; b < a.k / 32; b++) multiply<T, N>(piece[b].w, piece[b].scale[0], piece[b].min[0], a, row, N, b, acc);
  for (int i = 0; i < N; i++) store(out + kTileRows * i, acc[i]);
}

struct QuantizedOps {
  void (*fused[5])(const uint8_t* rows, uint64_t stride, const uint8_t* next, const Activations&, uint64_t n, float* out);  // of N
  void (*unpack)(const uint8_t* rows, uint64_t stride, const uint8_t* next, uint64_t k, void* panel);
  void (*panel[kPanelSizes])(const void* panel, const Activations&, uint64_t row, float* out);  // of kPanelRows
};
template <uint32_t Id, size_t... I>
constexpr QuantizedOps quantized_ops(std::index_sequence<I...>) {
  return {{fused<Id, 0>, fused<Id, 1>, fused<Id, 2>, fused<Id, 3>, fused<Id, 4>}, unpack<Id>, {panel_rows<Id, kPanelRows[I]>...}};
}

// NULL for plain formats.
inline const QuantizedOps* ops_of(uint32_t format) {
  switch (format) {
#define CASE(id, NAME, elems, bytes)                                                                \
  case id: {                                                                                        \
    static constexpr QuantizedOps ops = quantized_ops<id>(std::make_index_sequence<kPanelSizes>()); \
    return &ops;                                                                                    \
  }
    RF_BLOCK_FORMATS(CASE)
#undef CASE
    default: return nullptr;
  }
}

// Scratch of one thread: rounded activations of up to kOwnRows rows, two unpacked tiles, two result buffers, and two padded tiles
// for weights of fewer than kTileRows rows.
struct MatmulScratch {
  uint8_t* activations;
  uint8_t* panel[2];
  float* result[2];  // [kChunkRows][kTileRows]
  uint8_t* rows[2];
};
constexpr uint64_t kPieceBytes = sizeof(Piece<Tile<FORMAT_Q2_K>>);
inline uint64_t layout_scratch(uint8_t* base, uint64_t k, MatmulScratch* s) {
  uint64_t at = 0;
  const auto take = [&](uint64_t n) {
    auto* p = reinterpret_cast<uint8_t*>(reinterpret_cast<uintptr_t>(base) + at);  // base is NULL where only the size is needed
    at += align64(n);
    return p;
  };
  s->activations = take(activation_bytes(kOwnRows, k));
  for (auto& p : s->panel) p = take((k / 32 + 1) * kPieceBytes);
  for (auto& p : s->result) p = reinterpret_cast<float*>(take(kChunkRows * kTileRows * sizeof(float)));
  for (auto& p : s->rows) p = take(kTileRows * (k * 2 + 64));  // no block format takes two bytes an element
  return at;
}

// kTileRows rows of one weight.
struct WeightTile {
  const Tensor* weight;
  const uint8_t* data;  // the first row
  uint64_t stride;
  const uint8_t* next;  // the tile that this thread reads next, to be prefetched
  uint64_t n_rows;      // rows that exist: fewer than kTileRows for a small weight
};

// The tile of the rows from `first` on. The last tile starts earlier so that it is whole; the rows that it computes again are not
// stored. A weight with fewer rows is copied to `padded`, unless that is NULL.
RF_INLINE WeightTile tile_at(const Tensor& weight, uint64_t first, uint8_t* padded) {
  const uint64_t start = first + kTileRows > weight.rows && weight.rows >= kTileRows ? weight.rows - kTileRows : first;
  const uint8_t* data = weight.data + start * weight.row_bytes;
  if (padded && weight.rows < kTileRows && !plain_format(weight.format)) {
    memset(padded, 0, kTileRows * weight.row_bytes);
    data = static_cast<const uint8_t*>(memcpy(padded, data, weight.rows * weight.row_bytes));
  }
  return {&weight, data, weight.row_bytes, data, std::min<uint64_t>(kTileRows, weight.rows)};
}

inline uint64_t n_tiles_of(uint64_t rows) { return (rows + kTileRows - 1) / kTileRows; }

// Where the index-th tile of all weights lies.
struct TilePlace {
  uint32_t which;   // of the weights; with SwiGLU the gate, and up beside it
  uint64_t first;   // row of that weight
  uint64_t column;  // of the output
};
RF_INLINE TilePlace place_of(const MatmulArgs& args, uint32_t index) {
  TilePlace place{0, uint64_t(index) * kTileRows, 0};
  for (; !args.swiglu; place.which++) {
    const uint64_t rows = args.weight[place.which]->rows, padded = n_tiles_of(rows) * kTileRows;
    if (place.first < padded) break;
    place.first -= padded;
    place.column += rows;
  }
  place.column += place.first;
  return place;
}

RF_INLINE void compute_tile(const WeightTile& t, const MatmulArgs& args, const Activations& a, void* panel, uint64_t row,
                            uint64_t n, float* out) {
  switch (t.weight->format) {
#define CASE(id, NAME, elems, bytes) \
  case id: return plain_rows<id>(t.data, t.stride, t.n_rows, args.in + row * args.k, n, args.k, out);
    RF_PLAIN_FORMATS(CASE)
#undef CASE
    default: break;
  }
  const QuantizedOps& ops = *ops_of(t.weight->format);
  if (args.rows <= kFusedRows) return ops.fused[n < 5 ? n : 0](t.data, t.stride, t.next, a, n, out);
  uint64_t i = 0;
  for (int size = 0; size < kPanelSizes; size++)
    for (; i + uint64_t(kPanelRows[size]) <= n; i += uint64_t(kPanelRows[size]))
      ops.panel[size](panel, a, row + i, out + i * kTileRows);
}

// Applies bias, residual or SwiGLU, and writes the n_new results from `skip` on to out.
RF_INLINE void finish_row(const MatmulArgs& args, const float* result, const float* up, const float* bias, uint64_t skip,
                          uint64_t n_new, float* out) {
  f32x16 v = load<f32x16>(result);
  if (args.swiglu) v = silu(v) * load<f32x16>(up);
  if (n_new == kTileRows) {
    if (bias) v += load<f32x16>(bias);
    if (args.add) v += load<f32x16>(out);
    return store(out, v);
  }
  float x[kTileRows];
  store(x, v);
  for (uint64_t r = 0; r < n_new; r++) {
    float y = x[r + skip];
    if (bias) y += bias[r];
    if (args.add) y += out[r];
    out[r] = y;
  }
}

inline void matmul(const Worker& worker, const MatmulArgs& args) {
  MatmulScratch scratch;
  layout_scratch(worker.scratch, args.k, &scratch);
  bool quantized = false;
  uint32_t n_tiles = 0;
  for (uint32_t i = 0; i < (args.swiglu ? 1 : args.n_weights); i++) n_tiles += uint32_t(n_tiles_of(args.weight[i]->rows));
  for (uint32_t i = 0; i < args.n_weights; i++) quantized |= !plain_format(args.weight[i]->format);

  Activations a{};
  if (quantized) {
    const bool own = args.rows <= kOwnRows;
    uint8_t* p = own ? scratch.activations : args.shared;
    a = activations_at(p, args.rows, args.k);
    uint64_t begin = 0, end = args.rows;
    if (!own) worker.range(args.rows, &begin, &end);
    for (uint64_t r = begin; r < end; r++)
      quantize_row(args.in + r * args.k, args.k, a.q + r * (args.k / 32), a.info + r * (args.k / 32));
    if (!own) worker.barrier();
  }

  const uint32_t n_parts = args.swiglu ? 2 : 1;
  const bool unpacked = args.rows > kFusedRows;
  const uint32_t chunk = unpacked ? 1 : 1 + n_tiles / (worker.count * 8);
  uint32_t begin = 0, end = 0;
  const auto take = [&](TilePlace* place) {
    if (begin == end && !worker.take(n_tiles, chunk, &begin, &end)) return false;
    *place = place_of(args, begin++);
    return true;
  };
  // Each thread takes the next tile before it computes the current one, to know what to prefetch.
  TilePlace place, ahead;
  for (bool more = take(&place); more; place = ahead) {
    more = take(&ahead);
    WeightTile tile[2];
    for (uint32_t p = 0; p < n_parts; p++) {
      tile[p] = tile_at(*args.weight[place.which + p], place.first, scratch.rows[p]);
      if (more) tile[p].next = tile_at(*args.weight[ahead.which + p], ahead.first, nullptr).data;
      if (unpacked && !plain_format(tile[p].weight->format))
        ops_of(tile[p].weight->format)->unpack(tile[p].data, tile[p].stride, tile[p].next, args.k, scratch.panel[p]);
    }
    const uint64_t n_rows = args.weight[place.which]->rows, n_new = std::min<uint64_t>(kTileRows, n_rows - place.first);
    const uint64_t skip = n_rows >= kTileRows ? kTileRows - n_new : 0;
    const float* bias = args.bias[place.which] ? args.bias[place.which] + place.first : nullptr;
    for (uint64_t row = 0; row < args.rows; row += kChunkRows) {
      const uint64_t n = std::min(kChunkRows, args.rows - row);
      for (uint32_t p = 0; p < n_parts; p++) compute_tile(tile[p], args, a, scratch.panel[p], row, n, scratch.result[p]);
      for (uint64_t t = 0; t < n; t++)
        finish_row(args, scratch.result[0] + t * kTileRows, scratch.result[1] + t * kTileRows, bias, skip, n_new,
                   args.out + (row + t) * args.out_width + place.column);
    }
  }
}

inline uint64_t matmul_shared_bytes(uint64_t rows, uint64_t k) { return activation_bytes(rows, k); }
inline uint64_t matmul_scratch_bytes(uint64_t k) {
  MatmulScratch s;
  return layout_scratch(nullptr, k, &s);
}

}  // namespace RF_ISA
}  // namespace rf
