// Row ops: each reads one row (or a range of it) and writes one. Semantics as in hip/cpu/rows.h and hip/cpu/context.cpp.
// Grids cover the rows of the bucket; every kernel ignores rows beyond the live rows.
#include "cache.h"
#include "quantize.h"
#include "sincos.h"
#include "step.h"

namespace rf {

constexpr uint32_t kSubgroups = kBlock / kSubgroup;

struct alignas(16) Float4 {
  float x, y, z, w;
};

// Calls four(i) for elements 4 i … 4 i + 3 of a row and one(i) for the elements left over, spread over the threads of the block.
template <class Four, class One>
RF_DEVICE void for_row(uint32_t width, Four four, One one) {
  const uint32_t quads = width % 4 ? 0 : width / 4;  // rows of other widths do not begin at multiples of 16 bytes
  for (uint32_t i = thread_id(); i < quads; i += kBlock) four(i);
  for (uint32_t i = quads * 4 + thread_id(); i < width; i += kBlock) one(i);
}

// The same over all live elements of a buffer, four elements a thread. Buffers begin at multiples of 64 bytes.
template <class Four, class One>
RF_DEVICE void for_elements(const ElementArgs& a, Four four, One one) {
  const uint64_t total = uint64_t(live(a.rows)) * a.width, i = uint64_t(block_x()) * kBlock + thread_id();
  if (i * 4 + 4 <= total) four(i);
  else
    for (uint64_t j = i * 4; j < total; j++) one(j);
}

RF_DEVICE const Float4* quads(const float* p) { return reinterpret_cast<const Float4*>(p); }
RF_DEVICE Float4* quads(float* p) { return reinterpret_cast<Float4*>(p); }

// The i-th pair that RoPE rotates (Su et al. 2021): elements i and i + half in NEOX order, 2 i and 2 i + 1 otherwise.
struct Pair {
  uint32_t a, b;
};
RF_DEVICE Pair rope_pair(uint32_t i, uint32_t half, uint32_t neox) { return neox ? Pair{i, i + half} : Pair{2 * i, 2 * i + 1}; }

RF_DEVICE void store_cache(uint8_t* cache, uint64_t index, float x, uint32_t dtype) {
  if (dtype == RF_F16) reinterpret_cast<uint16_t*>(cache)[index] = float_to_half_saturated(x);
  else reinterpret_cast<float*>(cache)[index] = x;
}

}  // namespace rf

using namespace rf;

// Grid: 1. A thread handles a short sequence, the whole block a long one.
RF_KERNEL(kBlock) rf_prepare(PrepareArgs a) {
  constexpr uint32_t kShort = 8;
  begin_kernel();
  const uint32_t n_seqs = header(a.step).n_seqs;
  const RfStepSeq* all = seqs(a.step);
  const auto place = [&](const RfStepSeq& q, uint32_t s, uint32_t i) {
    a.row_seq[q.row_start + i] = s;
    a.row_pos[q.row_start + i] = q.kv_len - q.n_rows + i;
  };
  for (uint32_t s = thread_id(); s < n_seqs; s += kBlock) {
    const RfStepSeq q = all[s];
    if (q.n_rows <= kShort)
      for (uint32_t i = 0; i < q.n_rows; i++) place(q, s, i);
  }
  for (uint32_t s = 0; s < n_seqs; s++) {
    const RfStepSeq q = all[s];
    if (q.n_rows > kShort)
      for (uint32_t i = thread_id(); i < q.n_rows; i += kBlock) place(q, s, i);
  }
}

// Grid: rows, norm_threads(width) threads. Zhang and Sennrich 2019: in / sqrt(mean(in²) + eps) · weight. A row stays in registers,
// so that it is read once. The first row is read without reading the live count.
RF_KERNEL(kNormThreads) rf_rms_norm(RmsNormArgs a) {
  RF_SHARED float shared[kNormThreads / kSubgroup];
  const uint32_t row = block_x(), threads = block_threads(), whole = a.width / 4;
  if (row && row >= live(a.rows)) return;
  // Otherwise a row is unaligned, or does not fit in registers and is read twice.
  const bool fits = a.width % 4 == 0 && a.width <= kNormWidest;
  Float4 v[kNormQuads], w[kNormQuads];
  RF_UNROLL for (uint32_t j = 0; j < kNormQuads; j++) {
    const uint32_t i = j * threads + thread_id();
    v[j] = w[j] = {0, 0, 0, 0};
    if (fits && i < whole) w[j] = quads(a.weight)[i];
  }
  begin_kernel();
  const uint64_t at = uint64_t(row) * a.width;
  const float* in = a.in + at;
  float* out = a.out + at;
  if (!fits) {
    float squares = 0;
    for (uint32_t i = thread_id(); i < a.width; i += threads) squares += in[i] * in[i];
    const float inverse = divide(1.0f, sqrt_exact(divide(block_sum(squares, shared), float(a.width)) + a.eps));
    for (uint32_t i = thread_id(); i < a.width; i += threads) out[i] = in[i] * inverse * a.weight[i];
    return;
  }
  float squares = 0;
  RF_UNROLL for (uint32_t j = 0; j < kNormQuads; j++) {
    const uint32_t i = j * threads + thread_id();
    if (i < whole) v[j] = quads(in)[i];
  }
  RF_UNROLL for (uint32_t j = 0; j < kNormQuads; j++) squares +=
      v[j].x * v[j].x + v[j].y * v[j].y + (v[j].z * v[j].z + v[j].w * v[j].w);
  const float inverse = divide(1.0f, sqrt_exact(divide(block_sum(squares, shared), float(a.width)) + a.eps));
  RF_UNROLL for (uint32_t j = 0; j < kNormQuads; j++) {
    if (j * threads >= whole) return;
    const uint32_t i = j * threads + thread_id();
    const Float4 y = {v[j].x * inverse * w[j].x, v[j].y * inverse * w[j].y, v[j].z * inverse * w[j].z, v[j].w * inverse * w[j].w};
    if (i < whole) quads(out)[i] = y;
    if (a.int8)
      quantize_block({float_bits(y.x), float_bits(y.y), float_bits(y.z), float_bits(y.w)}, a.int8 + 2 * at, a.info + at / 8,
                     a.width, i / 8, i < whole);
  }
}

// Grid: rows · width/2 / kBlock, rounded up. Angles are double: at position 131071 a float angle would be off by 0.004.
RF_KERNEL(kBlock) rf_rope_table(RopeTableArgs a) {
  begin_kernel();
  const uint32_t half = a.width / 2;
  const uint64_t item = uint64_t(block_x()) * kBlock + thread_id(), row = item / half, i = item % half;
  if (row >= header(a.step).n_tokens) return;
  const CosSin v = cos_sin(double(a.row_pos[row]) * double(a.inv_freq[i]));
  float* out = a.out + row * a.width;
  out[i] = float(v.cos) * a.magnitude;
  out[half + i] = float(v.sin) * a.magnitude;
}

// Grid: rows · (n_heads + n_kv_heads) / 8, rounded up: a subgroup for each head of Q (rotated in place) and of K and V (stored to
// the cache). The address in the cache (row, sequence, block) is computed before begin_kernel.
RF_KERNEL(kBlock) rf_rope_store(RopeStoreArgs a) {
  constexpr uint32_t Pairs = 2, Values = 4;  // of a lane, loaded together
  const uint32_t n_work = a.n_heads + a.cache.n_kv_heads, head_dim = a.cache.head_dim, half = a.rope_dim / 2, lane = lane_id();
  const uint32_t total = header(a.step).n_tokens * n_work, wanted = block_x() * kSubgroups + subgroup_id();  // both below 2^31
  // Subgroups beyond the last head repeat it, so that all lanes take part in the sums, and write nothing.
  const bool on = wanted < total;
  const uint32_t item = on ? wanted : total - 1, row = item / n_work, head = item - row * n_work;
  const bool is_q = head < a.n_heads;
  const uint32_t row_seq = a.row_seq[row], position = a.row_pos[row];
  const bool quantized = a.cache.dtype == RF_Q8_0;
  uint64_t slot = 0;
  if (on && !is_q) {
    const uint32_t block = block_of(a.step, seqs(a.step)[row_seq], position);
    slot = cache_row(uint64_t(block) * a.cache.n_kv_heads + head - a.n_heads, position % RF_BLOCK_SIZE, head_dim, quantized);
  }
  begin_kernel();
  float* x = a.qkv + uint64_t(row) * a.width + uint64_t(head) * head_dim;
  const float* value = x + uint64_t(a.cache.n_kv_heads) * head_dim;  // of a K head
  const float* table = a.table + uint64_t(row) * a.rope_dim;
  const float* weight = is_q ? a.q_norm : a.k_norm;

  float u[Pairs], v[Pairs], c[Pairs], s[Pairs], values[Values];
  const auto read_pairs = [&](uint32_t first) {
    RF_UNROLL for (uint32_t k = 0; k < Pairs; k++) {
      const uint32_t i = first + k * kSubgroup + lane;
      if (i >= half) continue;
      const Pair pair = rope_pair(i, half, a.neox);
      u[k] = x[pair.a];
      v[k] = x[pair.b];
      c[k] = table[i];
      s[k] = table[half + i];
    }
  };
  const auto read_values = [&](uint32_t first) {
    RF_UNROLL for (uint32_t k = 0; k < Values; k++) {
      const uint32_t d = first + k * kSubgroup + lane;
      if (!is_q && d < head_dim) values[k] = value[d];
    }
  };
  float inverse = 1;
  const auto norm = [&] {
    if (!a.q_norm && !a.k_norm) return;
    float squares = 0;
    for (uint32_t d = lane; d < head_dim; d += kSubgroup) squares += x[d] * x[d];
    squares = subgroup_sum(squares);
    if (weight) inverse = divide(1.0f, sqrt_exact(divide(squares, float(head_dim)) + a.eps));
  };
  const auto normed = [&](uint32_t d, float element) { return weight ? element * inverse * weight[d] : element; };
  if (quantized) {  // neighbouring elements in a subgroup's lanes; heads of Q only take part in the shuffles
    norm();
    const uint32_t scales = cache_scales(position % RF_BLOCK_SIZE, head_dim);
    for (uint32_t first = 0; first < head_dim; first += kSubgroup) {
      const uint32_t d = first + lane, i = a.neox ? d < half ? d : d - half : d / 2;
      float key = normed(d, x[d]);
      if (d < a.rope_dim) {
        const Pair pair = rope_pair(i, half, a.neox);
        const float from = normed(pair.a, x[pair.a]), to = normed(pair.b, x[pair.b]), cos = table[i], sin = table[half + i];
        key = d == pair.a ? from * cos - to * sin : from * sin + to * cos;
      }
      store_quantized(a.cache.k + slot, scales, d, key, on && !is_q);
      store_quantized(a.cache.v + slot, scales, d, value[d], on && !is_q);
    }
  }
  read_pairs(0);
  read_values(0);
  norm();
  if (!on || (quantized && !is_q)) return;
  // Stores element d. In place, because the lane that writes an element (or its pair) is the only lane that reads it.
  const auto put = [&](uint32_t d, float element) {
    if (is_q) x[d] = element;
    else store_cache(a.cache.k, slot + d, element, a.cache.dtype);
  };
  for (uint32_t first = 0; first < half; first += Pairs * kSubgroup) {
    if (first) read_pairs(first);
    RF_UNROLL for (uint32_t k = 0; k < Pairs; k++) {
      const uint32_t i = first + k * kSubgroup + lane;
      if (i >= half) continue;
      const Pair pair = rope_pair(i, half, a.neox);
      const float from = normed(pair.a, u[k]), to = normed(pair.b, v[k]);
      put(pair.a, from * c[k] - to * s[k]);
      put(pair.b, from * s[k] + to * c[k]);
    }
  }
  for (uint32_t d = a.rope_dim + lane; d < head_dim; d += kSubgroup) put(d, normed(d, x[d]));
  if (is_q) return;
  for (uint32_t first = 0; first < head_dim; first += Values * kSubgroup) {
    if (first) read_values(first);
    RF_UNROLL for (uint32_t k = 0; k < Values; k++) {
      const uint32_t d = first + k * kSubgroup + lane;
      if (d < head_dim) store_cache(a.cache.v, slot + d, values[k], a.cache.dtype);
    }
  }
}

// Grid: rows · n_heads / 8, rounded up.
RF_KERNEL(kBlock) rf_rope(RopeArgs a) {
  begin_kernel();
  const uint64_t item = uint64_t(block_x()) * kSubgroups + subgroup_id(), row = item / a.n_heads;
  if (row >= live(a.rows)) return;
  const uint32_t half = a.rope_dim / 2;
  const float *in = a.in + item * a.head_dim, *table = a.table + row * a.rope_dim;
  float* out = a.out + item * a.head_dim;
  for (uint32_t i = lane_id(); i < half; i += kSubgroup) {
    const Pair pair = rope_pair(i, half, a.neox);
    const float u = in[pair.a], v = in[pair.b], c = table[i], s = table[half + i];
    out[pair.a] = u * c - v * s;
    out[pair.b] = u * s + v * c;
  }
  for (uint32_t d = a.rope_dim + lane_id(); d < a.head_dim; d += kSubgroup) out[d] = in[d];
}

// Grid: outputs.
RF_KERNEL(kBlock) rf_gather(GatherArgs a) {
  begin_kernel();
  if (block_x() >= header(a.step).n_outputs) return;
  const float* in = a.in + uint64_t(outputs(a.step)[block_x()].row) * a.width;
  float* out = a.out + uint64_t(block_x()) * a.width;
  for_row(a.width, [&](uint32_t i) { quads(out)[i] = quads(in)[i]; }, [&](uint32_t i) { out[i] = in[i]; });
}

// Grid of rf_scale, rf_add and rf_swiglu: rows · width / (4 · kBlock), rounded up.
RF_KERNEL(kBlock) rf_scale(ElementArgs a) {
  begin_kernel();
  for_elements(
      a,
      [&](uint64_t i) {
        const Float4 v = quads(a.a)[i];
        quads(a.out)[i] = {v.x * a.factor, v.y * a.factor, v.z * a.factor, v.w * a.factor};
      },
      [&](uint64_t i) { a.out[i] = a.a[i] * a.factor; });
}
RF_KERNEL(kBlock) rf_add(ElementArgs a) {
  begin_kernel();
  for_elements(
      a,
      [&](uint64_t i) {
        const Float4 v = quads(a.a)[i], w = quads(a.b)[i];
        quads(a.out)[i] = {v.x + w.x, v.y + w.y, v.z + w.z, v.w + w.w};
      },
      [&](uint64_t i) { a.out[i] = a.a[i] + a.b[i]; });
}
RF_KERNEL(kBlock) rf_swiglu(ElementArgs a) {
  begin_kernel();
  for_elements(
      a,
      [&](uint64_t i) {
        const Float4 v = quads(a.a)[i], w = quads(a.b)[i];
        quads(a.out)[i] = {silu(v.x) * w.x, silu(v.y) * w.y, silu(v.z) * w.z, silu(v.w) * w.w};
      },
      [&](uint64_t i) { a.out[i] = silu(a.a[i]) * a.b[i]; });
}

// Grid: rows.
RF_KERNEL(kBlock) rf_causal_mask(MaskArgs a) {
  begin_kernel();
  const uint32_t row = block_x();
  if (row >= live(a.rows)) return;
  const int64_t seen = int64_t(a.n_keys) - a.n_queries + row % a.n_queries + 1;
  const uint64_t at = uint64_t(row) * a.width;
  for (uint32_t i = thread_id(); i < a.width; i += kBlock) a.out[at + i] = int64_t(i) < seen ? a.in[at + i] : -__builtin_inff();
}

// Grid: rows. A row of -inf gives zeros; a NaN makes its whole row NaN.
RF_KERNEL(kBlock) rf_softmax(MaskArgs a) {
  RF_SHARED float shared[kSubgroups];
  begin_kernel();
  if (block_x() >= live(a.rows)) return;
  const float* in = a.in + uint64_t(block_x()) * a.width;
  float* out = a.out + uint64_t(block_x()) * a.width;
  float peak = -__builtin_inff();
  for (uint32_t i = thread_id(); i < a.width; i += kBlock) peak = peak < in[i] ? in[i] : peak;
  peak = block_max(peak, shared);
  if (peak == -__builtin_inff()) peak = 0;
  float total = 0;
  for (uint32_t i = thread_id(); i < a.width; i += kBlock) {
    const float e = exp_float(in[i] - peak);
    out[i] = e;
    total += e;
  }
  total = block_sum(total, shared);
  const float inverse = total == 0 ? 0.0f : divide(1.0f, total);
  for (uint32_t i = thread_id(); i < a.width; i += kBlock) out[i] *= inverse;
}
