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

struct AttentionShape {
  uint32_t n_heads, head_dim, grid_y;
  const char* flash;  // NULL: the split kernels take every row
  AttentionSplit split;
};
AttentionShape attention_shape(const AttentionOp& op, const Plan& plan) {
  const uint32_t group = op.n_heads() / op.n_kv_heads();
  AttentionShape shape{};
  shape.n_heads = op.n_heads();
  shape.head_dim = op.head_dim();
  shape.split = attention_split(op.head_dim(), group);
  shape.grid_y = op.n_kv_heads() * uint32_t(ceil_div(group, shape.split.heads));
  if (plan.desc.compute != RF_COMPUTE_F32 && !plan.desc.deterministic)
    shape.flash = attention_flash(op.head_dim(), plan.caches[op.cache()].dtype);
  return shape;
}

// The scratch of one op of a plan.
class Scratch {
 public:
  Scratch(const Plan& plan, const GpuModel& weights) : plan_(plan), weights_(weights) {}

  ScratchSizes of(const MatmulOp& op) const { return of_product(op.in()); }
  ScratchSizes of(const MatmulSwigluOp& op) const {
    ScratchSizes sizes = of_product(op.in());
    if (weights_.weight(size_t(op.gate())).format != weights_.weight(size_t(op.up())).format)
      sizes.gate = plan_.max_rows(op.out()) * op.out().width * sizeof(float);
    return sizes;
  }
  ScratchSizes of(const AttentionOp& op) const {
    ScratchSizes sizes;
    const AttentionShape a = attention_shape(op, plan_);
    const uint64_t each = uint64_t(a.n_heads) * (a.head_dim + 2) * sizeof(float);  // of a row and split
    if (plan_.desc.deterministic) {
      sizes.partial = plan_.desc.max_tokens * kMaxRowSplits * each;
      return sizes;
    }
    // More rows have fewer splits, and beyond this many rows there are none.
    const uint32_t cus = weights_.gpu()->facts().n_compute_units;
    for (uint32_t rows = 1; rows <= std::min(2 * cus, plan_.desc.max_tokens); rows++) {
      const uint64_t splits = attention_splits(rows, a.grid_y, UINT32_MAX, cus);
      if (splits > 1) sizes.partial = std::max(sizes.partial, rows * splits * each);
    }
    return sizes;
  }
  ScratchSizes of(const SampleOp& op) const {
    ScratchSizes sizes;
    sizes.sample = plan_.desc.max_outputs * sample_scratch_floats(op.vocab()) * sizeof(float);
    return sizes;
  }
  ScratchSizes of(const OpView&) const { return {}; }

 private:
  ScratchSizes of_product(const RfBuffer& in) const {
    ScratchSizes sizes;
    const bool half = plan_.desc.compute != RF_COMPUTE_F32;
    const uint64_t n = plan_.max_rows(in), n_vec = half ? std::min<uint64_t>(n, kMatvecMost) : n;
    if (half) sizes.half = n * in.width * sizeof(uint16_t);
    sizes.int8 = n_vec * int8_row_bytes(in.width);
    sizes.info = n_vec * info_row_bytes(in.width);
    return sizes;
  }

  const Plan& plan_;
  const GpuModel& weights_;
};

}  // namespace

ScratchSizes scratch_sizes(const Plan& plan, const GpuModel& weights) {
  ScratchSizes most;
  const Scratch scratch(plan, weights);
  for (const RfOp& op : plan.ops)
    visit_op(op, plan, [&](const auto& view) {
      const ScratchSizes sizes = scratch.of(view);
      for (uint64_t ScratchSizes::* size : {&ScratchSizes::half, &ScratchSizes::int8, &ScratchSizes::info, &ScratchSizes::gate,
                                            &ScratchSizes::partial, &ScratchSizes::sample})
        most.*size = std::max(most.*size, sizes.*size);
    });
  return most;
}

template <class Args>
void Launcher::launch(const char* kernel, uint64_t grid_x, uint32_t grid_y, uint32_t grid_z, uint32_t threads, Args args,
                      uint32_t shared_bytes) const {
  if (!grid_x || !grid_y || !grid_z) return;
  // AMD counts threads, not blocks, in 32 bits.
  if (grid_x > UINT32_MAX / threads || grid_y > 65535 || grid_z > 65535)
    fail(RF_UNSUPPORTED, "%s needs a grid of %llu × %u × %u blocks, which is more than a GPU can launch", kernel,
         (unsigned long long)grid_x, grid_y, grid_z);
  void* function = weights_.gpu()->kernel(kernel, shared_bytes);
  // Kernels read the results of rf_prepare before they wait for their predecessor (begin_kernel), so the first one must not overlap
  // it.
  const bool overlaps = n_launched_++ > 1;
  stream_.launch(function, kernel, uint32_t(grid_x), grid_y, grid_z, threads, &args, shared_bytes, overlaps);
}

void Launcher::run(const Shape& shape) {
  shape_ = shape;
  n_launched_ = 0;
  launch("rf_prepare", 1, 1, 1, kBlock,
         PrepareArgs{step(), pointer<uint32_t>(memory_.row_seq), pointer<uint32_t>(memory_.row_pos)});
  half_of_ = int8_of_ = nullptr;
  std::optional<Product> product = plan_.ops.empty() ? std::nullopt : product_of(plan_.ops[0], plan_);
  for (size_t i = 0; i < plan_.ops.size(); i++) {
    next_ = i + 1 < plan_.ops.size() ? product_of(plan_.ops[i + 1], plan_) : std::nullopt;
    made_int8_ = nullptr;
    visit_op(plan_.ops[i], plan_, [this](const auto& op) { run(op); });
    if (!product || overlap(product->out, half_of_)) half_of_ = nullptr;
    if (!product || overlap(product->out, int8_of_)) int8_of_ = made_int8_;
    product = next_;
  }
}

bool Launcher::overlap(const RfBuffer* a, const RfBuffer* b) const {
  if (!a || !b) return false;
  return a->offset < b->offset + plan_.max_rows(*b) * b->width * 4 && b->offset < a->offset + plan_.max_rows(*a) * a->width * 4;
}

// Whether the next op multiplies this op's output by a weight of a block format, row by row.
bool Launcher::next_reads_int8(const RfBuffer& out) const {
  if (!next_ || next_->in != &out || !by_rows(count(out))) return false;
  for (const TensorId id : next_->weight)
    if (id != TensorId::none && !plain_format(weight(id).format)) return true;
  return false;
}

void Launcher::run(const EmbedOp& op) {
  const DeviceWeight& table = weight(op.table());
  const uint32_t each = plain_format(table.format) ? 1 : 32;
  launch("rf_embed", ceil_div(uint64_t(shape_.n_tokens) * table.cols / each, kBlock), 1, 1, kBlock,
         EmbedArgs{step(), table, at(op.out()), op.scale()});
}

// A norm whose output feeds products of block formats also writes the int8 copy that those products read.
void Launcher::run(const RmsNormOp& op) {
  const uint32_t width = op.in().width;
  RmsNormArgs args{};
  args.rows = rows(op.in());
  args.in = at(op.in());
  args.weight = vector(op.weight());
  args.out = at(op.out());
  args.width = width;
  args.eps = op.eps();
  if (width <= kNormWidest && next_reads_int8(op.out())) {
    args.int8 = pointer<int8_t>(memory_.int8);
    args.info = pointer<float>(memory_.info);
    made_int8_ = &op.out();
  }
  launch("rf_rms_norm", count(op.in()), 1, 1, norm_threads(width), args);
}

void Launcher::run(const RopeTableOp& op) {
  const uint32_t width = op.out().width;
  launch("rf_rope_table", ceil_div(uint64_t(shape_.n_tokens) * width / 2, kBlock), 1, 1, kBlock,
         RopeTableArgs{step(), row_pos(), vector(op.inv_freq()), at(op.out()), width, op.magnitude()});
}

void Launcher::run(const RopeStoreOp& op) {
  RopeStoreArgs args{};
  args.step = step();
  args.row_seq = row_seq();
  args.row_pos = row_pos();
  args.qkv = at(op.qkv());
  args.table = at(op.rope());
  args.q_norm = vector(op.q_norm());
  args.k_norm = vector(op.k_norm());
  args.cache = memory_.caches[op.cache()];
  args.width = op.qkv().width;
  args.n_heads = op.n_heads();
  args.rope_dim = op.rope_dim();
  args.neox = op.neox();
  args.eps = op.eps();
  const uint64_t n_heads = uint64_t(shape_.n_tokens) * (op.n_heads() + op.n_kv_heads());
  launch("rf_rope_store", ceil_div(n_heads, kBlock / kSubgroup), 1, 1, kBlock, args);
}

void Launcher::run(const AttentionOp& op) {
  const AttentionShape a = attention_shape(op, plan_);
  AttentionArgs args{};
  args.step = step();
  args.row_seq = row_seq();
  args.row_pos = row_pos();
  args.q = at(op.qkv());
  args.out = at(op.out());
  args.cache = memory_.caches[op.cache()];
  args.q_stride = op.qkv().width;
  args.n_heads = op.n_heads();
  args.window = op.window();
  args.scale = op.scale();
  args.softcap = op.softcap();
  args.n_splits = 1;
  args.by_length = plan_.desc.deterministic;
  args.flash = a.flash != nullptr;
  if (a.flash && shape_.long_rows)
    launch(a.flash, attention_flash_tiles(shape_.n_tokens, shape_.n_seqs), a.n_heads, 1, kFlashThreads, args);
  if (a.flash && !shape_.short_rows) return;
  args.n_splits = args.by_length
                      ? attention_row_splits(shape_.longest + RF_BLOCK_SIZE)  // a window may begin within a block
                      : attention_splits(shape_.n_tokens, a.grid_y, shape_.longest, weights_.gpu()->facts().n_compute_units);
  if (args.n_splits > 1) args.partial = pointer<float>(memory_.partial);
  launch(a.split.name, shape_.n_tokens, a.grid_y, args.n_splits, kBlock, args);
  if (args.n_splits == 1) return;
  // If the merge computes every row, it can also write the int8 copy for a product of block formats.
  const bool all_merged = !args.by_length && !(a.flash && shape_.long_rows);
  if (all_merged && a.head_dim % kInt8Group == 0 && next_reads_int8(op.out())) {
    args.int8 = pointer<int8_t>(memory_.int8);
    args.info = pointer<float>(memory_.info);
    made_int8_ = &op.out();
  }
  launch("rf_attention_merge", shape_.n_tokens, a.n_heads, 1, kMergeThreads, args);
}

void Launcher::run(const GatherOp& op) {
  launch("rf_gather", count(op.out()), 1, 1, kBlock, GatherArgs{step(), at(op.in()), at(op.out()), op.in().width});
}

void Launcher::run(const SampleOp& op) {
  launch("rf_sample", count(op.logits()), 1, 1, kSampleThreads,
         SampleArgs{step(), at(op.logits()), op.logits().width, op.vocab(), pointer<float>(memory_.sample),
                    sample_scratch_floats(op.vocab()), pointer<RfStepResult>(memory_.results)});
}

void Launcher::run(const CausalMaskOp& op) {
  launch("rf_causal_mask", count(op.in()), 1, 1, kBlock,
         MaskArgs{rows(op.in()), at(op.in()), at(op.out()), op.in().width, op.n_queries(), op.n_keys()});
}

void Launcher::run(const SoftmaxOp& op) {
  launch("rf_softmax", count(op.in()), 1, 1, kBlock, MaskArgs{rows(op.in()), at(op.in()), at(op.out()), op.in().width, 0, 0});
}

void Launcher::run(const RopeOp& op) {
  RopeArgs args{};
  args.rows = rows(op.in());
  args.in = at(op.in());
  args.table = at(op.rope());
  args.out = at(op.out());
  args.n_heads = op.n_heads();
  args.head_dim = op.head_dim();
  args.rope_dim = op.rope_dim();
  args.neox = op.neox();
  launch("rf_rope", ceil_div(uint64_t(count(op.in())) * op.n_heads(), kBlock / kSubgroup), 1, 1, kBlock, args);
}

void Launcher::run(const AttentionDenseOp& op) {
  DenseAttentionArgs args{};
  args.q = at(op.q());
  args.k = at(op.k());
  args.v = at(op.v());
  args.out = at(op.out());
  args.n_q = op.q().fixed_rows;
  args.n_k = op.k().fixed_rows;
  args.n_heads = op.n_heads();
  args.n_kv_heads = op.n_kv_heads();
  args.head_dim = op.head_dim();
  args.window = op.window();
  args.causal = op.causal();
  args.scale = op.scale();
  launch("rf_attention_dense", args.n_q, args.n_heads, 1, kBlock, args);
}

void Launcher::elements(const char* kernel, const RfBuffer& a, const RfBuffer* b, const RfBuffer& out, float factor) {
  launch(kernel, ceil_div(uint64_t(count(a)) * a.width, 4 * kBlock), 1, 1, kBlock,
         ElementArgs{rows(a), at(a), b ? at(*b) : nullptr, at(out), a.width, factor});
}

// The product without its weights.
Launcher::Matmul Launcher::matmul_of(const Product& product) const {
  Matmul m{};
  m.in = product.in;
  m.n_rows = count(*product.in);
  m.args.rows = rows(*product.in);
  m.args.in = at(*product.in);
  m.args.out = at(*product.out);
  m.args.k = product.in->width;
  m.args.out_width = product.out->width;
  m.args.add = product.add;
  return m;
}

void Launcher::run(const MatmulOp& op) {
  const Product each = product_of(op);
  Matmul m = matmul_of(each);
  uint32_t first = 0;
  for (uint32_t i = 0; i < kProductWeights; i++) {
    if (each.weight[i] == TensorId::none) continue;
    const DeviceWeight& w = weight(each.weight[i]);
    if (m.n_weights && w.format != m.args.weight[0].format) {  // consecutive weights of one format share a launch
      product(&m);
      m.n_weights = 0;
    }
    m.args.weight[m.n_weights] = w;
    m.args.weight[m.n_weights].first = first;
    m.args.bias[m.n_weights++] = vector(each.bias[i]);
    first += w.rows;
  }
  product(&m);
}

void Launcher::run(const MatmulSwigluOp& op) {
  Matmul m = matmul_of(product_of(op));
  m.args.weight[0] = weight(op.gate());
  m.args.weight[1] = weight(op.up());
  m.n_weights = 1;
  m.swiglu = m.args.weight[0].format == m.args.weight[1].format;
  if (m.swiglu) return product(&m);
  // Two formats: gate and up are multiplied one after the other, and then combined.
  Matmul gate = m;
  gate.args.out = pointer<float>(memory_.gate);
  product(&gate);
  std::swap(m.args.weight[0], m.args.weight[1]);
  product(&m);
  launch("rf_swiglu", ceil_div(uint64_t(m.n_rows) * m.args.out_width, 4 * kBlock), 1, 1, kBlock,
         ElementArgs{m.args.rows, gate.args.out, m.args.out, m.args.out, m.args.out_width, 0});
}

// How many tiles of `each` weight rows cover the weights; a tile never holds rows of two weights.
uint32_t Launcher::Matmul::tiles(uint32_t each) const {
  uint64_t n = 0;
  for (uint32_t i = 0; i < n_weights; i++) n += ceil_div(args.weight[i].rows, each);
  return uint32_t(n);
}

// Multiplies on the matrix units where there are many rows and the compute mode has halves, else row by row. Deterministic contexts
// use one way for every number of rows.
void Launcher::product(Matmul* m) {
  for (uint32_t i = m->n_weights; !m->swiglu && i < kProductWeights; i++) m->args.weight[i].rows = 0;  // not in this launch
  if (by_rows(m->n_rows)) return matvec(m);
  copy_half(m);
  const DeviceWeight& w = m->args.weight[0];
  const bool narrow = m->n_rows <= kMatmulNarrowMost || plan_.desc.deterministic;
  const std::string name = std::string(m->swiglu ? "rf_matmul_swiglu_" : "rf_matmul_") + format_name(w.format) +
                           (compute_ == RF_COMPUTE_F16 ? "_f16" : "_bf16") + (narrow ? "_t32" : "_t128");
  const uint32_t rows_each = narrow ? kMatmulNarrowRows : kMatmulWideRows;
  const uint32_t columns_each = (narrow ? kMatmulNarrowColumns : kMatmulWideColumns) / (m->swiglu ? 2 : 1);
#if defined(RF_NVIDIA)
  const uint32_t shared_bytes = kMatmulShared;
#else
  const uint32_t shared_bytes = 0;
#endif
  launch(name.c_str(), ceil_div(m->n_rows, rows_each), m->tiles(columns_each), 1, kBlock, m->args, shared_bytes);
}

void Launcher::matvec(Matmul* m) {
  const DeviceWeight& w = m->args.weight[0];
  if (!plain_format(w.format)) copy_int8(m);
  const uint32_t n = m->n_rows <= 1 ? 1 : m->n_rows <= 2 ? 2 : m->n_rows <= 4 ? 4 : 8;
  const std::string name =
      std::string(m->swiglu ? "rf_matvec_swiglu_" : "rf_matvec_") + format_name(w.format) + "_n" + std::to_string(n);
  const uint32_t rows_each = matvec_rows(w.format, w.cols, m->swiglu);
  launch(name.c_str(), m->tiles(rows_each), uint32_t(ceil_div(m->n_rows, n)), 1, kMatvecThreads, m->args);
}

void Launcher::copy_half(Matmul* m) {
  m->args.half = pointer<uint16_t>(memory_.half);
  if (half_of_ == m->in) return;
  half_of_ = m->in;
  ConvertArgs args{};
  args.rows = m->args.rows;
  args.in = m->args.in;
  args.half = pointer<uint16_t>(memory_.half);
  args.width = m->in->width;
  args.compute = compute_;
  launch("rf_to_half", ceil_div(uint64_t(m->n_rows) * args.width, 4 * kBlock), 1, 1, kBlock, args);
}

void Launcher::copy_int8(Matmul* m) {
  m->args.int8 = pointer<int8_t>(memory_.int8);
  m->args.info = pointer<float>(memory_.info);
  if (int8_of_ == m->in) return;
  int8_of_ = m->in;
  ConvertArgs args{};
  args.rows = m->args.rows;
  args.in = m->args.in;
  args.int8 = pointer<int8_t>(memory_.int8);
  args.info = pointer<float>(memory_.info);
  args.width = m->in->width;
  launch("rf_to_int8", uint64_t(m->n_rows) * to_int8_blocks(args.width), 1, 1, kBlock, args);
}

}  // namespace gpu
}  // namespace rf
