// Copies a tile of a weight, `Columns` of its rows by `Depth` of k, from global to shared memory and converts it to halves.
//
// BlockTile serves the block formats, PlainTile F32, F16 and BF16. Both have
//   point(args, work)  called once: computes the addresses that this thread reads
//   fetch(step)        starts loading the tile of that step into registers (nothing if the tile keeps none)
//   prefetch(step)     prefetches the tile of that step into the L2 cache
//   store(tile, step)  converts the loaded data and writes it to shared memory
// A row of the tile is one output column. Columns beyond the weight's rows repeat its last row, and their results are dropped. k
// beyond the end is stored as zeros, because the other operand may hold any value there.
#pragma once
#include "formats.h"
#include "mma.h"
#include "which-weight.h"

namespace rf {

#if defined(__CUDACC__)
// Copies n bytes of `from` to shared memory, and zeros up to 16 bytes.
RF_DEVICE void copy_async(uint16_t* to, const void* from, uint32_t n) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(uint32_t(__cvta_generic_to_shared(to))), "l"(from),
               "r"(n < kChunkBytes ? n : kChunkBytes)
               : "memory");
}
RF_DEVICE void close_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Open>
RF_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Open) : "memory");
}
#endif

// The weight row of a tile's column. In a SwiGLU kTile columns of the gate alternate with the same columns of `up`, so that the
// accumulators of one lane hold both factors of an output.
template <bool Swiglu>
RF_DEVICE uint32_t weight_row(uint32_t block, uint32_t columns, uint32_t column) {
  return Swiglu ? block * (columns / 2) + column / (2 * kTile) * kTile + column % kTile : block * columns + column;
}
// The weight that a block multiplies (in a SwiGLU the gate), and the index of its tile.
struct BlockWork {
  DeviceWeight weight;
  const float* bias;
  uint32_t tile;
};
template <bool Swiglu, uint32_t Columns>
RF_DEVICE BlockWork work_of_block(const MatmulArgs& a) {
  uint32_t tile = block_y();
  if constexpr (Swiglu) return {a.weight[0], nullptr, tile};
  const uint32_t which = weight_of_block(a, Columns, tile);
  return {picked_weight(a, which), pick(which, a.bias[0], a.bias[1], a.bias[2]), tile};
}
template <bool Swiglu>
RF_DEVICE DeviceWeight weight_of(const MatmulArgs& a, const BlockWork& work, uint32_t column) {
  DeviceWeight w = work.weight;
  if constexpr (Swiglu) {
    const bool up = column / kTile % 2;
    RF_UNROLL for (uint32_t i = 0; i < kMaxPlanes; ++i) w.plane[i] = up ? a.weight[1].plane[i] : w.plane[i];
  }
  return w;
}

// The first n of eight halves, and zeros for the others.
RF_DEVICE Word4 keep_halves(const Word4& v, uint32_t n) {
  const auto keep = [&](uint32_t word, uint32_t i) { return n >= i + 2 ? word : n == i + 1 ? word & 0xffffu : 0; };
  return {keep(v.x, 0), keep(v.y, 2), keep(v.z, 4), keep(v.w, 6)};
}
// Columns at … at + 7 of an f16 or bf16 row, unconverted; zeros from `end` on. Rows begin at multiples of 16 bytes.
RF_DEVICE Word4 raw_halves_at(const uint8_t* row, uint32_t at, uint32_t end) {
  return at < end ? keep_halves(load<Word4>(row + 2 * at), end - at) : Word4{0, 0, 0, 0};
}
// The same for F32, F16 and BF16, converted to Half.
template <uint32_t Id, class Half>
RF_DEVICE Word4 plain_halves_at(const uint8_t* row, uint32_t at, uint32_t end) {
  constexpr Word4 none = {0, 0, 0, 0};
  Word4 out;
  if constexpr (Id == FORMAT_F32) {
    const Word4 a = at < end ? load<Word4>(row + 4 * at) : none, b = at + 4 < end ? load<Word4>(row + 4 * at + 16) : none;
    out = {Half::pack(bits_float(a.x), bits_float(a.y)), Half::pack(bits_float(a.z), bits_float(a.w)),
           Half::pack(bits_float(b.x), bits_float(b.y)), Half::pack(bits_float(b.z), bits_float(b.w))};
  } else {
    using From = typename Half::Other;
    const Word4 v = at < end ? load<Word4>(row + 2 * at) : none;
    const auto convert = [](uint32_t x) { return Half::pack(From::to_float(uint16_t(x)), From::to_float(uint16_t(x >> 16))); };
    out = {convert(v.x), convert(v.y), convert(v.z), convert(v.w)};
  }
  return at < end ? keep_halves(out, end - at) : none;
}

// Whether scale and min are binary16 in the file. Then scale · q + min in f16 rounds once, which gives the same f16 as through
// float.
template <uint32_t Id>
constexpr bool kHalfScales =
    Id == FORMAT_Q4_0 || Id == FORMAT_Q4_1 || Id == FORMAT_Q5_0 || Id == FORMAT_Q5_1 || Id == FORMAT_Q8_0 || Id == FORMAT_IQ4_NL;

// scale · q + min of four signed bytes, as four halves.
template <uint32_t Id, class Half>
RF_DEVICE void dequantize4(int32_t q, float scale, float min, uint32_t& low, uint32_t& high) {
  const uint32_t biased = uint32_t(q) ^ 0x80808080u;
  if constexpr (kHalfScales<Id> && !Half::is_bf16) {
    // 0x6400 | b is 1024 + b in binary16, for a byte b. Two bytes of q paired with 0x64 are two halves; subtracting 1152 is exact.
#if defined(__CUDACC__)
    const __half2 zero = __half2half2(__ushort_as_half(0x6480)), s = __float2half2_rn(scale), m = __float2half2_rn(min);
    RF_UNROLL for (int i = 0; i < 2; ++i) {
      const uint32_t bits = __byte_perm(biased, 0x64646464u, i ? 0x4342u : 0x4140u);
      __half2 value = __hsub2(*reinterpret_cast<const __half2*>(&bits), zero);
      value = DeviceFormat<Id>::has_min ? __hfma2(value, s, m) : __hmul2(value, s);
      (i ? high : low) = *reinterpret_cast<const uint32_t*>(&value);
    }
#else
    using Pair = Vector<_Float16, 2>;
    const Pair zero = _Float16(1152.0f), s = _Float16(scale), m = _Float16(min);
    RF_UNROLL for (int i = 0; i < 2; ++i) {
      const uint32_t bits = __builtin_amdgcn_perm(0x64646464u, biased, i ? 0x04030402u : 0x04010400u);
      const Pair value = __builtin_bit_cast(Pair, bits) - zero;
      (i ? high : low) = __builtin_bit_cast(uint32_t, DeviceFormat<Id>::has_min ? value* s + m : value* s);
    }
#endif
  } else {
    float w[4];
    RF_UNROLL for (int i = 0; i < 4; ++i) {
      const float value = float(signed_byte(uint32_t(q) >> (8 * i)));
      w[i] = DeviceFormat<Id>::has_min ? value * scale + min : value * scale;
    }
    low = Half::pack(w[0], w[1]);
    high = Half::pack(w[2], w[3]);
  }
}

// ---- block formats: pieces, fetched one step ahead -----------------------------------------------------------------------
template <uint32_t Id, class Half, class Layout, uint32_t Columns, uint32_t Depth, bool Swiglu>
struct BlockTile {
  static constexpr bool ahead = true, raw = false;
  static constexpr uint32_t per_row = Depth / kPiece, each = Columns * per_row / kBlock;
  static_assert(Columns * per_row % kBlock == 0 && kBlock % per_row == 0, "every thread must have the same number of pieces");
  static constexpr uint32_t step_rows = kBlock / per_row;

  DeviceWeight weight[each];
  uint32_t row[each], n_pieces;
  typename DeviceFormat<Id>::Out piece[each];

  RF_DEVICE void point(const MatmulArgs& a, const BlockWork& work) {
    n_pieces = a.k / kPiece;
    RF_UNROLL for (uint32_t i = 0; i < each; ++i) {
      const uint32_t column = thread_id() / per_row + i * step_rows;
      weight[i] = weight_of<Swiglu>(a, work, column);
      const uint32_t r = weight_row<Swiglu>(work.tile, Columns, column);
      row[i] = r < work.weight.rows ? r : work.weight.rows - 1;
    }
  }
  RF_DEVICE void prefetch(uint32_t step) const {
    const uint32_t p = step * per_row + thread_id() % per_row;
    if (p < n_pieces) RF_UNROLL for (uint32_t i = 0; i < each; ++i) prefetch_blocks<Id>(weight[i], row[i], p * kPiece);
  }
  RF_DEVICE void fetch(uint32_t step) {
    const uint32_t p = step * per_row + thread_id() % per_row;
    const bool inside = p < n_pieces;
    RF_UNROLL for (uint32_t i = 0; i < each; ++i) {
      DeviceFormat<Id>::load(weight[i], row[i], inside ? p : n_pieces - 1, piece[i]);
      RF_UNROLL for (int g = 0; g < DeviceFormat<Id>::n_scales; ++g) {
        piece[i].scale[g] = inside ? piece[i].scale[g] : 0.0f;
        if constexpr (DeviceFormat<Id>::has_min) piece[i].min[g] = inside ? piece[i].min[g] : 0.0f;
      }
    }
  }
  RF_DEVICE void store(uint16_t* tile, uint32_t) {
    RF_UNROLL for (uint32_t i = 0; i < each; ++i) {
      const uint32_t column = thread_id() / per_row + i * step_rows, chunk = thread_id() % per_row * (kPiece / kChunk);
      RF_UNROLL for (uint32_t c = 0; c < kPiece / kChunk; ++c) {
        const int g = DeviceFormat<Id>::n_scales == 2 ? c / 2 : 0;
        const float min = DeviceFormat<Id>::has_min ? piece[i].min[g] : 0.0f;
        Word4 out;
        dequantize4<Id, Half>(piece[i].q[2 * c], piece[i].scale[g], min, out.x, out.y);
        dequantize4<Id, Half>(piece[i].q[2 * c + 1], piece[i].scale[g], min, out.z, out.w);
        *reinterpret_cast<Word4*>(tile + Layout::at(column, chunk + c)) = out;
      }
    }
  }
};

// ---- unquantized weights ---------------------------------------------------------------------------------------------
template <uint32_t Id>
constexpr bool kPlain = plain_format(Id);

// raw: the weight has the operands' type and is copied unchanged. Other weights are converted in store().
template <uint32_t Id, class Half, class Layout, uint32_t Columns, uint32_t Depth, bool Swiglu>
struct PlainTile {
  static constexpr bool raw = Id == (Half::is_bf16 ? FORMAT_BF16 : FORMAT_F16);
#if defined(__CUDACC__)
  static constexpr bool ahead = false;
#else
  static constexpr bool ahead = raw;
#endif
  static constexpr uint32_t per_row = Depth / kChunk, each = Columns * per_row / kBlock;
  static_assert(Columns * per_row % kBlock == 0 && kBlock % per_row == 0, "every thread must have the same number of chunks");
  static constexpr uint32_t step_rows = kBlock / per_row;

  const uint8_t* row[each];
  uint32_t k;
  Word4 chunk[ahead ? each : 1];

  RF_DEVICE void point(const MatmulArgs& a, const BlockWork& work) {
    k = a.k;
    const uint64_t stride = plain_stride(Id, a.k);
    RF_UNROLL for (uint32_t i = 0; i < each; ++i) {
      const uint32_t column = thread_id() / per_row + i * step_rows, r = weight_row<Swiglu>(work.tile, Columns, column);
      const bool up = Swiglu && column / kTile % 2;
      row[i] = (up ? a.weight[1].plane[0] : work.weight.plane[0]) + (r < work.weight.rows ? r : work.weight.rows - 1) * stride;
    }
  }
  RF_DEVICE uint32_t first(uint32_t step) const { return step * Depth + thread_id() % per_row * kChunk; }
  RF_DEVICE uint16_t* place(uint16_t* tile, uint32_t i) const {
    return tile + Layout::at(thread_id() / per_row + i * step_rows, thread_id() % per_row);
  }
  RF_DEVICE Word4 read(uint32_t i, uint32_t at) const {
    if constexpr (raw) return raw_halves_at(row[i], at, k);
    else return plain_halves_at<Id, Half>(row[i], at, k);
  }
  RF_DEVICE void prefetch(uint32_t step) const {
    const uint32_t at = first(step);
    if (!raw && at < k) RF_UNROLL for (uint32_t i = 0; i < each; ++i) rf::prefetch(row[i] + (Id == FORMAT_F32 ? 4 : 2) * at);
  }
#if defined(__CUDACC__)
  RF_DEVICE void copy(uint16_t* tile, uint32_t step) const {  // only if raw
    const uint32_t at = first(step);
    RF_UNROLL for (uint32_t i = 0; i < each; ++i)
        copy_async(place(tile, i), at < k ? row[i] + 2 * at : row[i], at < k ? (k - at) * 2 : 0);
  }
#endif
  RF_DEVICE void fetch(uint32_t step) {
    if constexpr (ahead) RF_UNROLL for (uint32_t i = 0; i < each; ++i) chunk[i] = read(i, first(step));
  }
  RF_DEVICE void store(uint16_t* tile, uint32_t step) const {
    RF_UNROLL for (uint32_t i = 0; i < each; ++i) * reinterpret_cast<Word4*>(place(tile, i)) =
        ahead ? chunk[ahead ? i : 0] : read(i, first(step));
  }
};

}  // namespace rf
