// Conversions: weights to planes, embedding rows to activations, activations to the operands of matrix products.
//
// Unless a kernel states its grid, the grid is one-dimensional and of any size. Threads stride over the items that each kernel
// names; one thread for each item is fastest.
#include "../args.h"
#include "formats.h"
#include "quantize.h"
#include "step.h"

namespace rf {

RF_DEVICE uint64_t first_item() { return uint64_t(block_x()) * block_threads() + thread_id(); }
RF_DEVICE uint64_t item_stride() { return uint64_t(grid_x()) * block_threads(); }

template <class Word>
RF_DEVICE void copy_word(const uint8_t* from, uint8_t* to) {
  *reinterpret_cast<Word*>(to) = *reinterpret_cast<const Word*>(from);
}

// Copies plane I: its bytes of every block, end to end. Blocks are only aligned to two bytes (one byte if their size is odd), so
// four bytes are read as two halves.
template <uint32_t Id, int I>
RF_DEVICE void repack_plane(const RepackArgs& args) {
  constexpr PlaneTable table = FormatPlanes<Id>::table;
  constexpr uint32_t bytes = table.plane[I].bytes, offset = table.plane[I].offset;
  constexpr uint32_t word = table.bytes % 2 ? 1 : bytes % 4 ? 2 : 4, per_block = bytes / word;
  uint8_t* plane = args.plane[I] + args.first_block * bytes;
  for (uint64_t i = first_item(); i < args.n_blocks * per_block; i += item_stride()) {
    const uint64_t block = i / per_block;
    const uint8_t* from = args.blocks + block * table.bytes + offset + uint32_t(i - block * per_block) * word;
    uint8_t* to = plane + i * word;
    if constexpr (word == 1) *to = *from;
    if constexpr (word == 2) copy_word<uint16_t>(from, to);
    if constexpr (word == 4)
      *reinterpret_cast<uint32_t*>(to) = uint32_t(load<uint16_t>(from)) | uint32_t(load<uint16_t>(from + 2)) << 16;
  }
}
template <uint32_t Id>
RF_DEVICE void repack(const RepackArgs& args) {
  constexpr uint32_t n = FormatPlanes<Id>::table.n_planes;
  repack_plane<Id, 0>(args);
  if constexpr (n > 1) repack_plane<Id, 1>(args);
  if constexpr (n > 2) repack_plane<Id, 2>(args);
  if constexpr (n > 3) repack_plane<Id, 3>(args);
}

template <uint32_t Id>
RF_DEVICE void embed_blocks(const EmbedArgs& args) {
  const uint32_t pieces = args.table.cols / kPiece;
  const uint64_t total = uint64_t(header(args.step).n_tokens) * pieces;
  for (uint64_t i = first_item(); i < total; i += item_stride()) {
    const uint64_t row = i / pieces;
    typename DeviceFormat<Id>::Out piece;
    DeviceFormat<Id>::load(args.table, uint64_t(tokens(args.step)[row]), uint32_t(i - row * pieces), piece);
    Word4* out = reinterpret_cast<Word4*>(args.out + i * kPiece);
    RF_UNROLL for (int j = 0; j < 8; j++) {
      uint32_t v[4];
      RF_UNROLL for (int e = 0; e < 4; e++) {
        const float x = piece_value<Id>(piece, 4 * j + e);
        v[e] = float_bits(args.scale == 1.0f ? x : x * args.scale);
      }
      out[j] = {v[0], v[1], v[2], v[3]};
    }
  }
}
template <uint32_t Id>
RF_DEVICE void embed_plain(const EmbedArgs& args) {
  const uint32_t cols = args.table.cols;
  const uint64_t total = uint64_t(header(args.step).n_tokens) * cols, stride = plain_stride(Id, cols);
  for (uint64_t i = first_item(); i < total; i += item_stride()) {
    const uint64_t row = i / cols;
    const uint8_t* from = args.table.plane[0] + uint64_t(tokens(args.step)[row]) * stride;
    const float x = plain_value<Id>(from, uint32_t(i - row * cols));
    args.out[i] = args.scale == 1.0f ? x : x * args.scale;
  }
}

RF_DEVICE uint16_t to_half(float x) {  // rounds; finite numbers stay finite
  const bool finite = (float_bits(x) & 0x7f800000u) != 0x7f800000u;
  return finite ? float_to_half_saturated(x) : float_to_half(x);
}

}  // namespace rf

using namespace rf;

// Item: four bytes of the largest plane. Unquantized weights are copied unchanged, so their rows must need no padding
// (plain_stride).
RF_KERNEL(kBlock) rf_repack(RepackArgs args) {
  switch (args.format) {
#define CASE(id, NAME, elems, bytes) \
  case id: return repack<id>(args);
    RF_FORMATS(CASE)
#undef CASE
  }
}

// Item: a piece of a row; of an unquantized table one column.
RF_KERNEL(kBlock) rf_embed(EmbedArgs args) {
  begin_kernel();
  switch (args.table.format) {
#define CASE(id, NAME, elems, bytes) \
  case id: return embed_blocks<id>(args);
    RF_BLOCK_FORMATS(CASE)
#undef CASE
#define CASE(id, NAME, elems, bytes) \
  case id: return embed_plain<id>(args);
    RF_PLAIN_FORMATS(CASE)
#undef CASE
  }
}

// Item: four numbers.
RF_KERNEL(kBlock) rf_to_half(ConvertArgs args) {
  begin_kernel();
  const uint64_t total = uint64_t(live(args.rows)) * args.width;
  const bool bf16 = args.compute == RF_COMPUTE_BF16;
  for (uint64_t i = first_item(); i * 4 < total; i += item_stride()) {
    if (i * 4 + 4 <= total) {
      const Word4 in = load<Word4>(args.in + i * 4);
      const float x[4] = {bits_float(in.x), bits_float(in.y), bits_float(in.z), bits_float(in.w)};
      uint32_t y[4];
      RF_UNROLL for (int j = 0; j < 4; j++) y[j] = bf16 ? float_to_bfloat16(x[j]) : to_half(x[j]);
      reinterpret_cast<uint32_t*>(args.half)[2 * i] = y[0] | y[1] << 16;
      reinterpret_cast<uint32_t*>(args.half)[2 * i + 1] = y[2] | y[3] << 16;
    } else {
      for (uint64_t j = i * 4; j < total; j++) args.half[j] = bf16 ? float_to_bfloat16(args.in[j]) : to_half(args.in[j]);
    }
  }
}

// Grid: rows · to_int8_blocks(width), kBlock threads; width is a multiple of 32. The first row is read without reading the live
// count.
RF_KERNEL(kBlock) rf_to_int8(ConvertArgs args) {
  const uint32_t blocks = (args.width / 4 + kBlock - 1) / kBlock, row = block_x() / blocks;  // to_int8_blocks
  begin_kernel();
  if (row && row >= live(args.rows)) return;
  const uint32_t i = (block_x() - row * blocks) * kBlock + thread_id();  // quadruple of the row
  const bool exists = i < args.width / 4;
  const uint64_t at = uint64_t(row) * args.width;
  const Word4 in = exists ? load<Word4>(args.in + at + 4 * i) : Word4{};
  quantize_block(in, args.int8 + 2 * at, args.info + at / 8, args.width, i / 8, exists);
}
