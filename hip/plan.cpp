#include "plan.h"

#include <cstdio>

#include "cache.h"
#include "error.h"
#include "formats.h"
#include "op-view.h"

namespace rf {

uint64_t Plan::max_rows(const RfBuffer& buffer) const {
  switch (buffer.rows_kind) {
    case RF_ROWS_TOKENS: return desc.max_tokens;
    case RF_ROWS_OUTPUTS: return desc.max_outputs;
    default: return buffer.fixed_rows;
  }
}

namespace {

constexpr uint32_t kMaxRows = 1u << 20, kMaxWidth = 1u << 24, kMaxBlocks = 1u << 27, kMaxThreads = 1024;
constexpr uint32_t kMaxHeads = 1024, kMaxHeadDim = 512;

const OpInfo* find_op(uint32_t kind) {
  for (const OpInfo& info : kOps)
    if (info.kind == kind) return &info;
  return nullptr;
}

uint32_t flag_value(std::string_view name) {
#define X(flag, value) \
  if (name == #flag) return value;
  RF_OP_FLAGS(X)
#undef X
  return 0;
}

// The slots of a record that an op of its kind uses, counted while its list is walked.
template <class T, size_t N>
class Cursor {
 public:
  explicit Cursor(const T (&values)[N]) : values_(values) {}
  T next() { return values_[at_++]; }
  size_t at() const { return at_; }
  // The first slot from here on that does not hold `empty`; N when all do.
  size_t first_used(T empty) const {
    size_t i = at_;
    while (i < N && values_[i] == empty) i++;
    return i;
  }

 private:
  const T (&values_)[N];
  size_t at_ = 0;
};

// Checks one op; every refusal names the op's index and kind.
class OpChecker {
 public:
  OpChecker(const Model& model, const Plan& plan, uint64_t index)
      : model_(model), plan_(plan), op_(plan.ops[index]), index_(index) {}

  void check() const {
    const OpInfo* info = find_op(op_.kind);
    if (!info) fail(RF_INVALID_PLAN, "op %llu is of kind %u, which does not exist", (unsigned long long)index_, op_.kind);
    name_ = info->name;
    check_slots(*info);
    visit_op(op_, plan_, [this](const auto& op) { check(op); });
  }

 private:
  // What holds for every op: its slots are filled with ids inside their tables, and all others are empty.
  void check_slots(const OpInfo& info) const;
  // What the shapes of its operands have to satisfy.
  void check(const EmbedOp& op) const {
    require(op.out().rows_kind == RF_ROWS_TOKENS, "out must have a row for each token");
    require(tensor(op.table()).cols == op.out().width, "the columns of table differ from the width of out");
  }
  void check(const RmsNormOp& op) const {
    same_shape(op.in(), op.out());
    vector(op.weight(), op.in().width, "weight");
  }
  void check(const MatmulOp& op) const;
  void check(const MatmulSwigluOp& op) const {
    same_rows(op.in(), op.out());
    disjoint(op.in(), op.out());
    const Tensor &gate = tensor(op.gate()), &up = tensor(op.up());
    require(gate.cols == op.in().width && up.cols == gate.cols, "the columns of gate and up differ from the width of in");
    require(gate.rows == op.out().width && up.rows == gate.rows, "the rows of gate and up differ from the width of out");
  }
  void check(const RopeTableOp& op) const {
    require(op.out().rows_kind == RF_ROWS_TOKENS && op.out().width % 2 == 0, "out must be [n_tokens, an even rope_dim]");
    vector(op.inv_freq(), op.out().width / 2, "inv_freq");
  }
  void check(const RopeStoreOp& op) const;
  void check(const AttentionOp& op) const;
  void check(const GatherOp& op) const {
    require(op.in().rows_kind == RF_ROWS_TOKENS && op.out().rows_kind == RF_ROWS_OUTPUTS,
            "in must have a row for each token, and out a row for each output");
    same_width(op.in(), op.out());
    disjoint(op.in(), op.out());
  }
  void check(const SampleOp& op) const {
    require(op.logits().rows_kind == RF_ROWS_OUTPUTS, "logits must have a row for each output");
    require(op.vocab() && op.vocab() <= op.logits().width, "vocab must be 1 … the width of logits");
  }
  void check(const ScaleOp& op) const { same_shape(op.in(), op.out()); }
  void check(const SoftmaxOp& op) const { same_shape(op.in(), op.out()); }
  void check(const AddOp& op) const {
    same_shape(op.a(), op.b());
    same_shape(op.a(), op.out());
  }
  void check(const SwigluOp& op) const {
    same_shape(op.gate(), op.up());
    same_shape(op.gate(), op.out());
  }
  void check(const CausalMaskOp& op) const {
    same_shape(op.in(), op.out());
    require(op.n_queries() && op.n_keys() >= op.n_queries() && op.in().width == op.n_keys(),
            "n_keys must be the width of in, and n_queries 1 … n_keys");
    require(plan_.max_rows(op.in()) % op.n_queries() == 0, "the rows of in are not a multiple of n_queries");
  }
  void check(const RopeOp& op) const {
    if (!op.n_heads() || op.n_heads() > kMaxHeads || !op.head_dim() || op.head_dim() > kMaxHeadDim)
      refuse("n_heads %u, head_dim %u: 1 … %u heads of 1 … %u are possible", op.n_heads(), op.head_dim(), kMaxHeads, kMaxHeadDim);
    rope_width(op.rope(), op.rope_dim(), op.head_dim());
    same_shape(op.in(), op.out());
    same_rows(op.in(), op.rope());
    require(op.in().width == op.n_heads() * op.head_dim(), "the width of in is not n_heads·head_dim");
  }
  void check(const AttentionDenseOp& op) const;

  [[noreturn]] __attribute__((format(printf, 2, 3))) void refuse(const char* format, ...) const {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fail(RF_INVALID_PLAN, "op %llu (%s): %s", (unsigned long long)index_, name_, text);
  }
  void require(bool ok, const char* problem) const {
    if (!ok) refuse("%s", problem);
  }
  const Tensor& tensor(TensorId id) const { return model_.tensors[size_t(id)]; }
  void same_rows(const RfBuffer& a, const RfBuffer& b) const {
    require(a.rows_kind == b.rows_kind && (a.rows_kind != RF_ROWS_FIXED || a.fixed_rows == b.fixed_rows),
            "its buffers have different numbers of rows");
  }
  void same_width(const RfBuffer& a, const RfBuffer& b) const {
    if (a.width != b.width) refuse("its buffers are %u and %u wide, and must be equally wide", a.width, b.width);
  }
  void same_shape(const RfBuffer& a, const RfBuffer& b) const {
    same_rows(a, b);
    same_width(a, b);
  }
  void vector(TensorId id, uint64_t cols, const char* name) const {
    const Tensor& t = tensor(id);
    if (t.format != FORMAT_F32 || t.rows != 1 || t.cols != cols) refuse("%s must be F32 [%llu]", name, (unsigned long long)cols);
  }
  void optional_vector(TensorId id, uint64_t cols, const char* name) const {
    if (id != TensorId::none) vector(id, cols, name);
  }
  void heads(uint32_t n_heads, uint32_t n_kv_heads, uint32_t head_dim) const {
    if (!n_heads || !n_kv_heads || !head_dim || n_heads % n_kv_heads || n_heads > kMaxHeads || head_dim > kMaxHeadDim)
      refuse("n_heads %u, n_kv_heads %u, head_dim %u: n_heads must be a multiple of n_kv_heads up to %u, and head_dim 1 … %u",
             n_heads, n_kv_heads, head_dim, kMaxHeads, kMaxHeadDim);
  }
  void rope_width(const RfBuffer& rope, uint32_t rope_dim, uint32_t head_dim) const {
    require(rope_dim && rope_dim % 2 == 0 && rope_dim <= head_dim && rope.width == rope_dim,
            "rope_dim must be even, no greater than head_dim, and the width of rope");
  }
  void token_rows(const RfBuffer& a, const RfBuffer& b) const {
    require(a.rows_kind == RF_ROWS_TOKENS && b.rows_kind == RF_ROWS_TOKENS, "its buffers must have a row for each token");
  }
  void cache_shape(size_t cache, uint32_t n_kv_heads, uint32_t head_dim) const {
    const RfCache& c = plan_.caches[cache];
    if (c.n_kv_heads != n_kv_heads || c.head_dim != head_dim)
      refuse("it has %u K/V heads of %u, and its cache %u of %u", n_kv_heads, head_dim, c.n_kv_heads, c.head_dim);
  }
  // Reading a buffer while another that overlaps it is written would give an answer that depends on timing.
  void disjoint(const RfBuffer& in, const RfBuffer& out) const {
    const uint64_t in_end = in.offset + plan_.max_rows(in) * in.width * 4,
                   out_end = out.offset + plan_.max_rows(out) * out.width * 4;
    require(in_end <= out.offset || out_end <= in.offset, "its output overlaps an input in the arena");
  }

  const Model& model_;
  const Plan& plan_;
  const RfOp& op_;
  uint64_t index_;
  mutable const char* name_ = "";
};

void OpChecker::check_slots(const OpInfo& info) const {
  Cursor buf(op_.buf), tensor(op_.tensor);
  Cursor dim(op_.dim);
  Cursor f(op_.f);
  Cursor reserved(op_.reserved);
  uint32_t flags = 0;
  bool has_cache = false;
  const auto id = [&](int32_t value, size_t count, const char* table, std::string_view slot) {
    if (value < 0 || uint64_t(value) >= count)
      refuse("%s %.*s is %d, and there are %zu", table, int(slot.size()), slot.data(), value, count);
  };
  for (size_t i = 0; i < info.n_slots; i++) {
    const Slot& slot = info.slots[i];
    switch (slot.kind) {
      case SlotKind::IN:
      case SlotKind::OUT:
      case SlotKind::UPDATE: id(buf.next(), plan_.buffers.size(), "buffer", slot.name); break;
      case SlotKind::TENSOR: id(tensor.next(), model_.tensors.size(), "tensor", slot.name); break;
      case SlotKind::OPTIONAL: {
        const int32_t value = tensor.next();
        if (value != RF_NONE) id(value, model_.tensors.size(), "tensor", slot.name);
        break;
      }
      case SlotKind::DIM: {
        const int32_t value = dim.next();
        if (value < 0) refuse("%.*s is negative: %d", int(slot.name.size()), slot.name.data(), value);
        break;
      }
      case SlotKind::FLOAT: f.next(); break;
      case SlotKind::FLAG: flags |= flag_value(slot.name); break;
      case SlotKind::CACHE:
        id(op_.cache, plan_.caches.size(), "the", "cache");
        has_cache = true;
        break;
    }
  }
  const auto unused = [&](const char* what, size_t used, size_t size) {
    if (used < size) refuse("%s slot %zu is used, which this kind of op does not have", what, used);
  };
  unused("buffer", buf.first_used(RF_NONE), std::size(op_.buf));
  unused("tensor", tensor.first_used(RF_NONE), std::size(op_.tensor));
  unused("dim", dim.first_used(0), std::size(op_.dim));
  unused("float", f.first_used(0), std::size(op_.f));
  unused("reserved", reserved.first_used(0), std::size(op_.reserved));
  require(has_cache || op_.cache == RF_NONE, "it names a cache, which this kind of op does not have");
  if (op_.flags & ~flags) refuse("flags %u: this kind of op takes %u", op_.flags, flags);
}

void OpChecker::check(const MatmulOp& op) const {
  same_rows(op.in(), op.out());
  disjoint(op.in(), op.out());
  const Product product = product_of(op);
  uint64_t width = 0;
  for (uint32_t i = 0; i < kProductWeights; i++) {
    if (product.weight[i] == TensorId::none) {
      require(product.bias[i] == TensorId::none, "it has a bias without its weight");
      continue;
    }
    const Tensor& weight = tensor(product.weight[i]);
    require(weight.cols == op.in().width, "the columns of a weight differ from the width of in");
    require(weight.rows <= op.out().width, "a weight has more rows than out is wide");
    width += weight.rows;
    optional_vector(product.bias[i], weight.rows, "a bias");
  }
  require(width == op.out().width, "the rows of the weights do not add up to the width of out");
}

void OpChecker::check(const RopeStoreOp& op) const {
  heads(op.n_heads(), op.n_kv_heads(), op.head_dim());
  rope_width(op.rope(), op.rope_dim(), op.head_dim());
  token_rows(op.qkv(), op.rope());
  require(op.qkv().width == (op.n_heads() + 2 * op.n_kv_heads()) * op.head_dim(),
          "the width of qkv is not (n_heads + 2·n_kv_heads)·head_dim");
  cache_shape(op.cache(), op.n_kv_heads(), op.head_dim());
  optional_vector(op.q_norm(), op.head_dim(), "q_norm");
  optional_vector(op.k_norm(), op.head_dim(), "k_norm");
}

void OpChecker::check(const AttentionOp& op) const {
  heads(op.n_heads(), op.n_kv_heads(), op.head_dim());
  token_rows(op.qkv(), op.out());
  const uint32_t width = op.n_heads() * op.head_dim();
  require(op.qkv().width >= width && op.out().width == width, "the width of out is not n_heads·head_dim, or qkv is narrower");
  cache_shape(op.cache(), op.n_kv_heads(), op.head_dim());
  disjoint(op.qkv(), op.out());
}

void OpChecker::check(const AttentionDenseOp& op) const {
  heads(op.n_heads(), op.n_kv_heads(), op.head_dim());
  same_shape(op.q(), op.out());
  same_shape(op.k(), op.v());
  require(op.q().width == op.n_heads() * op.head_dim() && op.k().width == op.n_kv_heads() * op.head_dim(),
          "the width of q is not n_heads·head_dim, or that of k not n_kv_heads·head_dim");
  require(op.q().rows_kind == RF_ROWS_FIXED && op.k().rows_kind == RF_ROWS_FIXED, "its buffers must have fixed rows");
  require((!op.causal() && !op.window()) || op.k().fixed_rows >= op.q().fixed_rows,
          "causal or windowed attention needs at least as many keys as queries");
  for (const RfBuffer* in : {&op.q(), &op.k(), &op.v()}) disjoint(*in, op.out());
}

void check_desc(const RfContextDesc& desc) {
  if (!desc.n_threads || desc.n_threads > kMaxThreads)
    fail(RF_INVALID_ARGUMENT, "n_threads is %u; it must be 1 … %u", desc.n_threads, kMaxThreads);
  if (!desc.max_tokens || desc.max_tokens > kMaxRows || !desc.max_seqs || desc.max_seqs > kMaxRows || desc.max_outputs > kMaxRows)
    fail(RF_INVALID_ARGUMENT, "max_tokens %u, max_seqs %u, max_outputs %u: each must be at most %u, and the first two at least 1",
         desc.max_tokens, desc.max_seqs, desc.max_outputs, kMaxRows);
  if (desc.block_size != RF_BLOCK_SIZE)
    fail(RF_UNSUPPORTED, "block_size is %u; this library is built for %u", desc.block_size, RF_BLOCK_SIZE);
  if (desc.deterministic > 1) fail(RF_INVALID_ARGUMENT, "deterministic is %u; it must be 0 or 1", desc.deterministic);
  if (desc.compute > RF_COMPUTE_BF16)
    fail(RF_INVALID_ARGUMENT, "compute is %u; it must be 0 … %u", desc.compute, uint32_t(RF_COMPUTE_BF16));
  if (desc.n_blocks > kMaxBlocks) fail(RF_INVALID_ARGUMENT, "n_blocks is %u; it must be at most %u", desc.n_blocks, kMaxBlocks);
}

void check_buffer(const Plan& plan, uint64_t index) {
  const RfBuffer& b = plan.buffers[index];
  const unsigned long long n = index;
  if (b.rows_kind > RF_ROWS_OUTPUTS) fail(RF_INVALID_PLAN, "buffer %llu has rows of kind %u, which does not exist", n, b.rows_kind);
  if (b.dtype != RF_F32) fail(RF_UNSUPPORTED, "buffer %llu has dtype %u; buffers are f32 (%u)", n, b.dtype, uint32_t(RF_F32));
  if (!b.width || b.width > kMaxWidth || b.fixed_rows > kMaxRows)
    fail(RF_INVALID_PLAN, "buffer %llu has %u rows of %u; at most %u rows of 1 … %u are possible", n, b.fixed_rows, b.width,
         kMaxRows, kMaxWidth);
  const uint64_t bytes = checked_mul(plan.max_rows(b), uint64_t(b.width) * 4, "a buffer's size");
  if (b.offset % 64 || b.offset > plan.desc.arena_bytes || bytes > plan.desc.arena_bytes - b.offset)
    fail(RF_INVALID_PLAN, "buffer %llu has %llu bytes at %llu; it must start at a multiple of 64 and end within the arena of %llu",
         n, (unsigned long long)bytes, (unsigned long long)b.offset, (unsigned long long)plan.desc.arena_bytes);
}

void check_cache(const RfCache& cache, uint64_t index) {
  if (!cache.n_kv_heads || cache.n_kv_heads > kMaxHeads || !cache.head_dim || cache.head_dim > kMaxHeadDim || cache.dtype > RF_Q8_0)
    fail(RF_INVALID_PLAN, "cache %llu has %u heads of %u, dtype %u; 1 … %u heads of 1 … %u, dtype 0 … %u are possible",
         (unsigned long long)index, cache.n_kv_heads, cache.head_dim, cache.dtype, kMaxHeads, kMaxHeadDim, uint32_t(RF_Q8_0));
  if (!cache_fits(cache.head_dim, cache.dtype))
    fail(RF_UNSUPPORTED, "a q8_0 K/V cache needs a head_dim that is a multiple of %u, and this model has %u; use an f16 cache",
         kCacheGroup, cache.head_dim);
}

}  // namespace

Plan validate_plan(const Model& model, const RfContextDesc& desc, const RfOp* ops, uint64_t n_ops, const RfBuffer* buffers,
                   uint64_t n_buffers, const RfCache* caches, uint64_t n_caches) {
  check_desc(desc);
  Plan plan;
  plan.desc = desc;
  plan.ops.assign(ops, ops + n_ops);
  plan.buffers.assign(buffers, buffers + n_buffers);
  plan.caches.assign(caches, caches + n_caches);
  for (uint64_t i = 0; i < n_buffers; i++) check_buffer(plan, i);
  for (uint64_t i = 0; i < n_caches; i++) check_cache(plan.caches[i], i);
  for (uint64_t i = 0; i < n_ops; i++) {
    OpChecker(model, plan, i).check();
    if (const auto embed = op_as<EmbedOp>(plan.ops[i], plan)) {
      const uint64_t rows = model.tensors[size_t(embed->table())].rows;
      if (rows > INT32_MAX)
        fail(RF_INVALID_PLAN, "op %llu (EMBED): a table of %llu rows has more than a token id can name", (unsigned long long)i,
             (unsigned long long)rows);
      if (!plan.n_vocab || rows < plan.n_vocab) plan.n_vocab = uint32_t(rows);
    }
    if (const auto sample = op_as<SampleOp>(plan.ops[i], plan)) plan.sample_width = sample->vocab();
  }
  return plan;
}

}  // namespace rf
