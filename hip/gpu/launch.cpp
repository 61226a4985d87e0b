#include "launch.h"

#include <algorithm>

#include "../error.h"
#include "attention.h"
#include "matvec.h"
#include "planes.h"

namespace rf {
namespace gpu {

namespace {

uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

const char* format_name(uint32_t format) { return find_format(format)->name; }

bool is_matmul(const RfOp& op) { return op.kind == RF_OP_MATMUL || op.kind == RF_OP_MATMUL_SWIGLU; }

struct AttentionShape {
  uint32_t n_heads, n_kv_heads, head_dim, grid_y;
  const char* flash;  // NULL: the split kernels take every row
  AttentionSplit split;
};
AttentionShape attention_shape(const RfOp& op, const RfCache& cache, const RfContextDesc& context) {
  const auto n_heads = uint32_t(op.dim[0]), n_kv_heads = uint32_t(op.dim[1]), head_dim = uint32_t(op.dim[2]);
  const uint32_t group = n_heads / n_kv_heads;
  const AttentionSplit split = attention_split(head_dim, group);
  const bool flash = context.compute != COMPUTE_F32 && !context.deterministic;
  return {n_heads,
          n_kv_heads,
          head_dim,
          n_kv_heads * uint32_t(ceil_div(group, split.heads)),
          flash ? attention_flash(head_dim, cache.dtype) : nullptr,
          split};
}

}  // namespace

ScratchSizes scratch_sizes(const Plan& plan, const GpuModel& weights) {
  ScratchSizes sizes;
  const bool half = plan.desc.compute != COMPUTE_F32;
  for (const RfOp& op : plan.ops) {
    if (is_matmul(op)) {
      const RfBuffer& in = plan.buffers[size_t(op.buf[0])];
      const uint64_t n = plan.max_rows(in), n_vec = half ? std::min<uint64_t>(n, kMatvecMost) : n;
      if (half) sizes.half = std::max(sizes.half, n * in.width * 2);
      sizes.planes = std::max(sizes.planes, n_vec * (in.width / 32) * 64);
      sizes.info = std::max(sizes.info, n_vec * (in.width / 32) * 16);
      if (op.kind == RF_OP_MATMUL_SWIGLU &&
          weights.weight(size_t(op.tensor[0])).format != weights.weight(size_t(op.tensor[1])).format)
        sizes.gate = std::max(sizes.gate, n * plan.buffers[size_t(op.buf[1])].width * 4);
    }
    if (op.kind == RF_OP_ATTENTION) {
      const AttentionShape a = attention_shape(op, plan.caches[size_t(op.cache)], plan.desc);
      if (plan.desc.deterministic) {
        sizes.partial =
            std::max<uint64_t>(sizes.partial, uint64_t(plan.desc.max_tokens) * a.n_heads * kMaxRowSplits * (a.head_dim + 2) * 4);
        continue;
      }
      // More rows have fewer splits, and past this many none.
      const uint32_t cus = weights.gpu()->facts().n_compute_units;
      for (uint32_t rows = 1; rows <= std::min(2 * cus, plan.desc.max_tokens); rows++) {
        const uint64_t splits = attention_splits(rows, a.grid_y, UINT32_MAX, cus);
        if (splits > 1) sizes.partial = std::max(sizes.partial, rows * a.n_heads * splits * (a.head_dim + 2) * 4);
      }
    }
    if (op.kind == RF_OP_SAMPLE)
      sizes.sample = std::max(sizes.sample, plan.desc.max_outputs * sample_scratch_floats(uint32_t(op.dim[0])) * 4);
  }
  return sizes;
}

template <class Args>
void Launcher::launch(const char* kernel, uint64_t grid_x, uint32_t grid_y, uint32_t grid_z, uint32_t threads, Args args,
                      uint32_t shared_bytes) const {
  if (!grid_x || !grid_y || !grid_z) return;
  // AMD counts threads, not blocks, in 32 bits.
  if (grid_x > UINT32_MAX / threads || grid_y > 65535 || grid_z > 65535)
    fail(RF_UNSUPPORTED, "%s would need %llu × %u × %u blocks", kernel, (unsigned long long)grid_x, grid_y, grid_z);
  void* function = weights_.gpu()->kernel(kernel, shared_bytes);
  // Kernels read what rf_prepare made before they wait for the kernel in front of them (begin_kernel), so it has to be done.
  const bool overlaps = n_launched_++ > 1;
  stream_.launch(function, kernel, uint32_t(grid_x), grid_y, grid_z, threads, &args, shared_bytes, overlaps);
}

void Launcher::run(const Shape& shape) {
  shape_ = shape;
  n_launched_ = 0;
  launch("rf_prepare", 1, 1, 1, kBlock,
         PrepareArgs{step(), pointer<uint32_t>(memory_.row_seq), pointer<uint32_t>(memory_.row_pos)});
  half_of_ = planes_of_ = RF_NONE;
  for (size_t i = 0; i < plan_.ops.size(); i++) {
    const RfOp& each = plan_.ops[i];
    next_ = i + 1 < plan_.ops.size() ? &plan_.ops[i + 1] : nullptr;
    made_planes_ = RF_NONE;
    op(each);
    if (!is_matmul(each) || overlap(each.buf[1], half_of_)) half_of_ = RF_NONE;
    if (!is_matmul(each) || overlap(each.buf[1], planes_of_)) planes_of_ = made_planes_;
  }
}

bool Launcher::overlap(int32_t a, int32_t b) const {
  if (a == RF_NONE || b == RF_NONE) return false;
  const RfBuffer &x = plan_.buffers[size_t(a)], &y = plan_.buffers[size_t(b)];
  return x.offset < y.offset + plan_.max_rows(y) * y.width * 4 && y.offset < x.offset + plan_.max_rows(x) * x.width * 4;
}

void Launcher::op(const RfOp& op) {
  switch (op.kind) {
    case RF_OP_EMBED: return embed(op);
    case RF_OP_RMS_NORM: return rms_norm(op);
    case RF_OP_MATMUL: return matmul(op);
    case RF_OP_MATMUL_SWIGLU: return swiglu(op);
    case RF_OP_ROPE_TABLE: return rope_table(op);
    case RF_OP_ROPE_STORE: return rope_store(op);
    case RF_OP_ATTENTION: return attention(op);
    case RF_OP_GATHER:
      return launch("rf_gather", count(buffer(op, 1)), 1, 1, kBlock, GatherArgs{step(), at(op, 0), at(op, 1), buffer(op, 0).width});
    case RF_OP_SAMPLE: {
      const auto n_vocab = uint32_t(op.dim[0]);
      return launch("rf_sample", count(buffer(op, 0)), 1, 1, kSampleThreads,
                    SampleArgs{step(), at(op, 0), buffer(op, 0).width, n_vocab, pointer<float>(memory_.sample),
                               sample_scratch_floats(n_vocab), pointer<RfStepResult>(memory_.results)});
    }
    case RF_OP_SCALE: return elements(op, "rf_scale", 1);
    case RF_OP_ADD: return elements(op, "rf_add", 2);
    case RF_OP_SWIGLU: return elements(op, "rf_swiglu", 2);
    case RF_OP_CAUSAL_MASK:
    case RF_OP_SOFTMAX: {
      const RfBuffer& b = buffer(op, 0);
      return launch(op.kind == RF_OP_SOFTMAX ? "rf_softmax" : "rf_causal_mask", count(b), 1, 1, kBlock,
                    MaskArgs{rows(b), at(op, 0), at(op, 1), b.width, uint32_t(op.dim[0]), uint32_t(op.dim[1])});
    }
    case RF_OP_ROPE: {
      const RfBuffer& b = buffer(op, 0);
      const auto n_heads = uint32_t(op.dim[0]);
      return launch("rf_rope", ceil_div(uint64_t(count(b)) * n_heads, 8), 1, 1, kBlock,
                    RopeArgs{rows(b), at(op, 0), at(op, 1), at(op, 2), n_heads, uint32_t(op.dim[2]), uint32_t(op.dim[3]),
                             uint32_t(op.flags & RF_FLAG_NEOX)});
    }
    case RF_OP_ATTENTION_DENSE: {
      const auto n_heads = uint32_t(op.dim[0]);
      const uint32_t n_q = buffer(op, 0).fixed_rows, n_k = buffer(op, 1).fixed_rows;
      return launch("rf_attention_dense", n_q, n_heads, 1, kBlock,
                    DenseAttentionArgs{at(op, 0), at(op, 1), at(op, 2), at(op, 3), n_q, n_k, n_heads, uint32_t(op.dim[1]),
                                       uint32_t(op.dim[2]), uint32_t(op.flags & RF_FLAG_CAUSAL), op.f[0]});
    }
    default: return;  // validate_plan lets no other kind in
  }
}

// A norm that feeds quantized products leaves the planes that they read as well.
void Launcher::rms_norm(const RfOp& op) {
  const RfBuffer& b = buffer(op, 0);
  RmsNormArgs args{rows(b), at(op, 0), vector(op, 0), at(op, 1), nullptr, nullptr, b.width, op.f[0]};
  if (next_ && b.width <= kNormWidest && wants_planes(*next_, op.buf[1])) {
    args.planes = pointer<int8_t>(memory_.planes);
    args.info = pointer<float>(memory_.info);
    made_planes_ = op.buf[1];
  }
  launch("rf_rms_norm", count(b), 1, 1, norm_threads(b.width), args);
}

// Whether `next` multiplies buffer `in` by a weight of blocks, row by row.
bool Launcher::wants_planes(const RfOp& next, int32_t in) const {
  if (!is_matmul(next) || next.buf[0] != in || !by_rows(count(buffer(next, 0)))) return false;
  for (int i = 0; i < (next.kind == RF_OP_MATMUL ? 3 : 2); i++)
    if (next.tensor[i] != RF_NONE && !plain_format(weight(next, i).format)) return true;
  return false;
}

void Launcher::elements(const RfOp& op, const char* kernel, int out) {
  const RfBuffer& b = buffer(op, 0);
  launch(kernel, ceil_div(uint64_t(count(b)) * b.width, 4 * kBlock), 1, 1, kBlock,
         ElementArgs{rows(b), at(op, 0), out == 2 ? at(op, 1) : nullptr, at(op, out), b.width, op.f[0]});
}

void Launcher::embed(const RfOp& op) {
  const DeviceWeight& table = weight(op, 0);
  const uint32_t each = plain_format(table.format) ? 1 : 32;
  launch("rf_embed", ceil_div(uint64_t(shape_.n_tokens) * table.cols / each, kBlock), 1, 1, kBlock,
         EmbedArgs{step(), table, at(op, 0), op.f[0]});
}

void Launcher::rope_table(const RfOp& op) {
  const uint32_t width = buffer(op, 0).width;
  launch("rf_rope_table", ceil_div(uint64_t(shape_.n_tokens) * width / 2, kBlock), 1, 1, kBlock,
         RopeTableArgs{step(), row_pos(), vector(op, 0), at(op, 0), width, op.f[0]});
}

void Launcher::rope_store(const RfOp& op) {
  const auto n_heads = uint32_t(op.dim[0]), n_kv_heads = uint32_t(op.dim[1]);
  launch("rf_rope_store", ceil_div(uint64_t(shape_.n_tokens) * (n_heads + n_kv_heads), 8), 1, 1, kBlock,
         RopeStoreArgs{step(), row_seq(), row_pos(), at(op, 0), at(op, 1), vector(op, 0), vector(op, 1),
                       memory_.caches[size_t(op.cache)], buffer(op, 0).width, n_heads, uint32_t(op.dim[3]),
                       uint32_t(op.flags & RF_FLAG_NEOX), op.f[0]});
}

void Launcher::attention(const RfOp& op) {
  const AttentionShape a = attention_shape(op, plan_.caches[size_t(op.cache)], plan_.desc);
  AttentionArgs args{step(),
                     row_seq(),
                     row_pos(),
                     at(op, 0),
                     at(op, 1),
                     memory_.caches[size_t(op.cache)],
                     buffer(op, 0).width,
                     a.n_heads,
                     uint32_t(op.dim[3]),
                     op.f[0],
                     op.f[1],
                     nullptr,
                     1,
                     plan_.desc.deterministic,
                     a.flash != nullptr,
                     nullptr,
                     nullptr};
  if (a.flash && shape_.long_rows)
    launch(a.flash, attention_flash_tiles(shape_.n_tokens, shape_.n_seqs), a.n_heads, 1, kFlashThreads, args);
  if (a.flash && !shape_.short_rows) return;
  args.n_splits = args.by_length
                      ? attention_row_splits(shape_.longest + kBlockTokens)  // a window may begin within a block
                      : attention_splits(shape_.n_tokens, a.grid_y, shape_.longest, weights_.gpu()->facts().n_compute_units);
  if (args.n_splits > 1) args.partial = pointer<float>(memory_.partial);
  launch(a.split.name, shape_.n_tokens, a.grid_y, args.n_splits, kBlock, args);
  if (args.n_splits == 1) return;
  // Then every row comes through the merge, which can leave planes for a product of quantized weights.
  const bool all_merged = !args.by_length && !(a.flash && shape_.long_rows);
  if (next_ && all_merged && a.head_dim % 32 == 0 && wants_planes(*next_, op.buf[1])) {
    args.planes = pointer<int8_t>(memory_.planes);
    args.info = pointer<float>(memory_.info);
    made_planes_ = op.buf[1];
  }
  launch("rf_attention_merge", shape_.n_tokens, a.n_heads, 1, kMergeThreads, args);
}

void Launcher::matmul(const RfOp& op) {
  Matmul m{};
  m.args.rows = rows(buffer(op, 0));
  m.n_rows = count(buffer(op, 0));
  m.args.in = at(op, 0);
  m.args.out = at(op, 1);
  m.args.k = buffer(op, 0).width;
  m.args.out_width = buffer(op, 1).width;
  m.args.add = uint32_t(op.flags & RF_FLAG_ADD);
  uint32_t first = 0;
  for (int i = 0; i < 3; i++) {
    if (op.tensor[i] == RF_NONE) continue;
    const DeviceWeight& w = weight(op, i);
    if (m.n_weights && w.format != m.args.weight[0].format) {  // neighbours of one format are one launch
      product(&m, op.buf[0]);
      m.n_weights = 0;
    }
    m.args.weight[m.n_weights] = w;
    m.args.weight[m.n_weights].first = first;
    m.args.bias[m.n_weights++] = vector(op, i + 3);
    first += w.rows;
  }
  product(&m, op.buf[0]);
}

void Launcher::swiglu(const RfOp& op) {
  Matmul m{};
  m.args.rows = rows(buffer(op, 0));
  m.n_rows = count(buffer(op, 0));
  m.args.in = at(op, 0);
  m.args.weight[0] = weight(op, 0);
  m.args.weight[1] = weight(op, 1);
  m.args.out = at(op, 1);
  m.args.k = buffer(op, 0).width;
  m.args.out_width = buffer(op, 1).width;
  m.n_weights = 1;
  m.swiglu = m.args.weight[0].format == m.args.weight[1].format;
  if (m.swiglu) return product(&m, op.buf[0]);
  // Two formats: one after the other, then the gate.
  Matmul gate = m;
  gate.args.out = pointer<float>(memory_.gate);
  product(&gate, op.buf[0]);
  std::swap(m.args.weight[0], m.args.weight[1]);
  product(&m, op.buf[0]);
  launch("rf_swiglu", ceil_div(uint64_t(m.n_rows) * m.args.out_width, 4 * kBlock), 1, 1, kBlock,
         ElementArgs{m.args.rows, gate.args.out, m.args.out, m.args.out, m.args.out_width, 0});
}

// Tiles of `each` rows of a weight, each weight's share rounded up on its own.
uint32_t Launcher::Matmul::tiles(uint32_t each) const {
  uint64_t n = 0;
  for (uint32_t i = 0; i < n_weights; i++) n += ceil_div(args.weight[i].rows, each);
  return uint32_t(n);
}

// With many rows and halves allowed, on the matrix units; else row by row. Deterministic contexts multiply every count of rows in one way.
void Launcher::product(Matmul* m, int32_t in) {
  for (uint32_t i = m->n_weights; !m->swiglu && i < 3; i++) m->args.weight[i].rows = 0;  // not of this launch
  if (by_rows(m->n_rows)) return matvec(m, in);
  copy_half(&m->args, in);
  const DeviceWeight& w = m->args.weight[0];
  const bool narrow = m->n_rows <= kMatmulNarrowMost || plan_.desc.deterministic;
  const std::string name = std::string(m->swiglu ? "rf_matmul_swiglu_" : "rf_matmul_") + format_name(w.format) +
                           (compute_ == COMPUTE_F16 ? "_f16" : "_bf16") + (narrow ? "_t32" : "_t128");
  const uint32_t rows_each = narrow ? kMatmulNarrowRows : kMatmulWideRows;
  const uint32_t columns_each = (narrow ? kMatmulNarrowColumns : kMatmulWideColumns) / (m->swiglu ? 2 : 1);
#if defined(RF_NVIDIA)
  const uint32_t shared_bytes = kMatmulShared;
#else
  const uint32_t shared_bytes = 0;
#endif
  launch(name.c_str(), ceil_div(m->n_rows, rows_each), m->tiles(columns_each), 1, kBlock, m->args, shared_bytes);
}

void Launcher::matvec(Matmul* m, int32_t in) {
  const DeviceWeight& w = m->args.weight[0];
  if (!plain_format(w.format)) copy_planes(&m->args, in);
  const uint32_t n = m->n_rows <= 1 ? 1 : m->n_rows <= 2 ? 2 : m->n_rows <= 4 ? 4 : 8;
  const std::string name =
      std::string(m->swiglu ? "rf_matvec_swiglu_" : "rf_matvec_") + format_name(w.format) + "_n" + std::to_string(n);
  const uint32_t rows_each = matvec_rows(w.format, w.cols, m->swiglu);
  launch(name.c_str(), m->tiles(rows_each), uint32_t(ceil_div(m->n_rows, n)), 1, kMatvecThreads, m->args);
}

void Launcher::copy_half(MatmulArgs* args, int32_t in) {
  args->half = pointer<uint16_t>(memory_.half);
  if (half_of_ == in) return;
  half_of_ = in;
  const RfBuffer& b = plan_.buffers[size_t(in)];
  launch("rf_to_half", ceil_div(uint64_t(count(b)) * b.width, 4 * kBlock), 1, 1, kBlock,
         ConvertArgs{args->rows, args->in, pointer<uint16_t>(memory_.half), nullptr, nullptr, b.width, compute_});
}

void Launcher::copy_planes(MatmulArgs* args, int32_t in) {
  args->planes = pointer<int8_t>(memory_.planes);
  args->info = pointer<float>(memory_.info);
  if (planes_of_ == in) return;
  planes_of_ = in;
  const RfBuffer& b = plan_.buffers[size_t(in)];
  launch("rf_to_planes", uint64_t(count(b)) * to_planes_blocks(b.width), 1, 1, kBlock,
         ConvertArgs{args->rows, args->in, nullptr, pointer<int8_t>(memory_.planes), pointer<float>(memory_.info), b.width, 0});
}

}  // namespace gpu
}  // namespace rf
