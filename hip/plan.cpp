#include "plan.h"

#include <cstring>

#include "cache.h"
#include "error.h"
#include "formats.h"

namespace rf {

uint64_t Plan::max_rows(const RfBuffer& buffer) const {
  switch (buffer.rows_kind) {
    case RF_ROWS_TOKENS: return desc.max_tokens;
    case RF_ROWS_OUTPUTS: return desc.max_outputs;
    default: return buffer.fixed_rows;
  }
}

namespace {

const char* op_name(uint32_t kind) {
  switch (kind) {
#define X(name, value) \
  case value: return #name;
    RF_OPS(X)
#undef X
    default: return "unknown";
  }
}

// Checks one op; every refusal names the op's index and kind.
class OpChecker {
 public:
  OpChecker(const Model& model, const Plan& plan, uint64_t index)
      : model_(model), plan_(plan), op_(plan.ops[index]), index_(index) {}

  void check() const;

 private:
  [[noreturn]] void refuse(const char* what) const {
    fail(RF_INVALID_PLAN, "op %llu (%s): %s", (unsigned long long)index_, op_name(op_.kind), what);
  }
  void require(bool ok, const char* what) const {
    if (!ok) refuse(what);
  }
  const RfBuffer& buffer(int slot) const {
    const int32_t id = op_.buf[slot];
    require(id >= 0 && uint64_t(id) < plan_.buffers.size(), "a buffer id is out of range");
    return plan_.buffers[size_t(id)];
  }
  const Tensor& tensor(int slot) const {
    const int32_t id = op_.tensor[slot];
    require(id >= 0 && uint64_t(id) < model_.tensors.size(), "a tensor id is out of range");
    return model_.tensors[size_t(id)];
  }
  bool has_tensor(int slot) const { return op_.tensor[slot] != RF_NONE; }
  const RfCache& cache() const {
    require(op_.cache >= 0 && uint64_t(op_.cache) < plan_.caches.size(), "the cache id is out of range");
    return plan_.caches[size_t(op_.cache)];
  }
  void same_rows(const RfBuffer& a, const RfBuffer& b) const {
    require(a.rows_kind == b.rows_kind && (a.rows_kind != RF_ROWS_FIXED || a.fixed_rows == b.fixed_rows),
            "its buffers have different numbers of rows");
  }
  void same_shape(const RfBuffer& a, const RfBuffer& b) const {
    same_rows(a, b);
    require(a.width == b.width, "its buffers have different widths");
  }
  void vector(const Tensor& t, uint64_t cols) const {
    require(t.format == FORMAT_F32 && t.rows == 1 && t.cols == cols, "a vector operand is not F32 of the expected length");
  }
  void flags(uint32_t allowed) const { require((op_.flags & ~allowed) == 0, "it has a flag that this kind does not take"); }
  void heads(uint32_t n_heads, uint32_t n_kv_heads, uint32_t head_dim) const {
    require(n_heads && n_kv_heads && head_dim && n_heads % n_kv_heads == 0 && n_heads <= 1024 && head_dim <= 512,
            "head counts must divide, up to 1024 heads of up to 512 dimensions");
  }
  void rope_width(const RfBuffer& table, uint32_t rope_dim, uint32_t head_dim) const {
    require(rope_dim && rope_dim % 2 == 0 && rope_dim <= head_dim && table.width == rope_dim,
            "the rope table's width must be an even rope_dim up to head_dim");
  }
  // Reading a buffer while another that overlaps it is written would give an answer that depends on timing.
  void disjoint(const RfBuffer& a, const RfBuffer& b) const {
    const uint64_t a_end = a.offset + plan_.max_rows(a) * a.width * 4, b_end = b.offset + plan_.max_rows(b) * b.width * 4;
    require(a_end <= b.offset || b_end <= a.offset, "its output overlaps an input");
  }
  void check_matmul() const;

  const Model& model_;
  const Plan& plan_;
  const RfOp& op_;
  uint64_t index_;
};

void OpChecker::check_matmul() const {
  flags(RF_FLAG_ADD);
  const RfBuffer &in = buffer(0), &out = buffer(1);
  same_rows(in, out);
  disjoint(in, out);
  uint64_t width = 0;
  for (int i = 0; i < 3; i++) {
    if (!has_tensor(i)) {
      require(!has_tensor(i + 3), "it has a bias without its weight");
      continue;
    }
    const Tensor& weight = tensor(i);
    require(weight.cols == in.width, "a weight's columns differ from the input's width");
    require(weight.rows <= out.width, "a weight has more rows than the output is wide");
    width += weight.rows;
    if (has_tensor(i + 3)) vector(tensor(i + 3), weight.rows);
  }
  require(has_tensor(0) && width == out.width, "the weights' rows do not add up to the output's width");
}

void OpChecker::check() const {
  const int32_t* dim = op_.dim;
  for (int i = 0; i < 7; i++) require(dim[i] >= 0, "a dimension is negative");
  const uint32_t n_heads = uint32_t(dim[0]), n_kv_heads = uint32_t(dim[1]), head_dim = uint32_t(dim[2]);
  switch (op_.kind) {
    case RF_OP_EMBED: {
      flags(0);
      require(buffer(0).rows_kind == RF_ROWS_TOKENS, "its output must have a row for each token");
      require(tensor(0).cols == buffer(0).width, "the table's columns differ from the output's width");
      break;
    }
    case RF_OP_RMS_NORM:
      flags(0);
      same_shape(buffer(0), buffer(1));
      vector(tensor(0), buffer(0).width);
      break;
    case RF_OP_MATMUL: check_matmul(); break;
    case RF_OP_MATMUL_SWIGLU: {
      flags(0);
      same_rows(buffer(0), buffer(1));
      disjoint(buffer(0), buffer(1));
      const Tensor &gate = tensor(0), &up = tensor(1);
      require(gate.cols == buffer(0).width && up.cols == gate.cols, "a weight's columns differ from the input's width");
      require(gate.rows == buffer(1).width && up.rows == gate.rows, "a weight's rows differ from the output's width");
      break;
    }
    case RF_OP_ROPE_TABLE:
      flags(0);
      require(buffer(0).rows_kind == RF_ROWS_TOKENS && buffer(0).width % 2 == 0, "its output must be [n_tokens, rope_dim]");
      vector(tensor(0), buffer(0).width / 2);
      break;
    case RF_OP_ROPE_STORE: {
      flags(RF_FLAG_NEOX);
      heads(n_heads, n_kv_heads, head_dim);
      rope_width(buffer(1), uint32_t(dim[3]), head_dim);
      require(buffer(0).rows_kind == RF_ROWS_TOKENS && buffer(1).rows_kind == RF_ROWS_TOKENS,
              "its buffers must have a row for each token");
      require(buffer(0).width == (n_heads + 2 * n_kv_heads) * head_dim, "the width is not (n_heads + 2·n_kv_heads)·head_dim");
      require(cache().n_kv_heads == n_kv_heads && cache().head_dim == head_dim, "the cache has another shape");
      for (int i = 0; i < 2; i++)
        if (has_tensor(i)) vector(tensor(i), head_dim);
      break;
    }
    case RF_OP_ATTENTION: {
      flags(0);
      heads(n_heads, n_kv_heads, head_dim);
      const RfBuffer &q = buffer(0), &out = buffer(1);
      require(q.rows_kind == RF_ROWS_TOKENS && out.rows_kind == RF_ROWS_TOKENS, "its buffers must have a row for each token");
      require(q.width >= n_heads * head_dim && out.width == n_heads * head_dim, "a width differs from n_heads·head_dim");
      require(cache().n_kv_heads == n_kv_heads && cache().head_dim == head_dim, "the cache has another shape");
      disjoint(q, out);
      break;
    }
    case RF_OP_GATHER:
      flags(0);
      require(buffer(0).rows_kind == RF_ROWS_TOKENS && buffer(1).rows_kind == RF_ROWS_OUTPUTS,
              "it goes from token rows to output rows");
      require(buffer(0).width == buffer(1).width, "its buffers have different widths");
      disjoint(buffer(0), buffer(1));
      break;
    case RF_OP_SAMPLE:
      flags(0);
      require(buffer(0).rows_kind == RF_ROWS_OUTPUTS, "its logits must have a row for each output");
      require(dim[0] > 0 && uint32_t(dim[0]) <= buffer(0).width, "the vocabulary is wider than the logits");
      break;
    case RF_OP_SCALE:
    case RF_OP_SOFTMAX:
      flags(0);
      same_shape(buffer(0), buffer(1));
      break;
    case RF_OP_ADD:
    case RF_OP_SWIGLU:
      flags(0);
      same_shape(buffer(0), buffer(1));
      same_shape(buffer(0), buffer(2));
      break;
    case RF_OP_CAUSAL_MASK:
      flags(0);
      same_shape(buffer(0), buffer(1));
      require(dim[0] > 0 && dim[1] >= dim[0] && buffer(0).width == uint32_t(dim[1]),
              "it needs n_keys ≥ n_queries ≥ 1 and rows of n_keys");
      require(plan_.max_rows(buffer(0)) % uint32_t(dim[0]) == 0, "its rows are not a multiple of n_queries");
      break;
    case RF_OP_ROPE:
      flags(RF_FLAG_NEOX);
      require(n_heads && head_dim && n_heads <= 1024 && head_dim <= 512, "it needs up to 1024 heads of up to 512 dimensions");
      rope_width(buffer(1), uint32_t(dim[3]), head_dim);
      same_shape(buffer(0), buffer(2));
      same_rows(buffer(0), buffer(1));
      require(buffer(0).width == n_heads * head_dim, "the width is not n_heads·head_dim");
      break;
    case RF_OP_ATTENTION_DENSE: {
      flags(RF_FLAG_CAUSAL);
      heads(n_heads, n_kv_heads, head_dim);
      const RfBuffer &q = buffer(0), &k = buffer(1), &out = buffer(3);
      same_shape(q, out);
      same_shape(k, buffer(2));
      require(q.width == n_heads * head_dim && k.width == n_kv_heads * head_dim, "a width differs from heads·head_dim");
      require(q.rows_kind == RF_ROWS_FIXED && k.rows_kind == RF_ROWS_FIXED, "its buffers must have fixed rows");
      require(!(op_.flags & RF_FLAG_CAUSAL) || k.fixed_rows >= q.fixed_rows,
              "causal attention needs at least as many keys as queries");
      disjoint(q, out);
      disjoint(k, out);
      disjoint(buffer(2), out);
      break;
    }
    default: refuse("this kind does not exist");
  }
}

}  // namespace

Plan validate_plan(const Model& model, const RfContextDesc& desc, const RfOp* ops, uint64_t n_ops, const RfBuffer* buffers,
                   uint64_t n_buffers, const RfCache* caches, uint64_t n_caches) {
  constexpr uint32_t kMaxRows = 1u << 20;
  if (!desc.n_threads || desc.n_threads > 1024) fail(RF_INVALID_ARGUMENT, "%u threads; 1 … 1024 are possible", desc.n_threads);
  if (!desc.max_tokens || desc.max_tokens > kMaxRows || !desc.max_seqs || desc.max_seqs > kMaxRows || desc.max_outputs > kMaxRows)
    fail(RF_INVALID_ARGUMENT, "max_tokens %u, max_seqs %u, max_outputs %u: each needs 1 … %u", desc.max_tokens, desc.max_seqs,
         desc.max_outputs, kMaxRows);
  if (desc.block_size != 16) fail(RF_UNSUPPORTED, "block_size %u; this library is built for 16", desc.block_size);
  if (desc.deterministic > 1) fail(RF_INVALID_ARGUMENT, "deterministic is %u; 0 and 1 are possible", desc.deterministic);
  if (desc.compute > RF_COMPUTE_BF16) fail(RF_INVALID_ARGUMENT, "compute mode %u; 0 … 2 are possible", desc.compute);
  if (desc.n_blocks > 1u << 27) fail(RF_INVALID_ARGUMENT, "%u cache blocks are more than a block id can name", desc.n_blocks);

  Plan plan;
  plan.desc = desc;
  plan.ops.assign(ops, ops + n_ops);
  plan.buffers.assign(buffers, buffers + n_buffers);
  plan.caches.assign(caches, caches + n_caches);
  for (uint64_t i = 0; i < n_buffers; i++) {
    const RfBuffer& b = buffers[i];
    const unsigned long long n = i;
    if (b.rows_kind > RF_ROWS_OUTPUTS) fail(RF_INVALID_PLAN, "buffer %llu has rows of kind %u", n, b.rows_kind);
    if (b.dtype != RF_F32) fail(RF_UNSUPPORTED, "buffer %llu has dtype %u; this backend computes in f32", n, b.dtype);
    if (!b.width || b.width > 1u << 24 || b.fixed_rows > kMaxRows)
      fail(RF_INVALID_PLAN, "buffer %llu is %u × %u", n, b.fixed_rows, b.width);
    const uint64_t bytes = checked_mul(plan.max_rows(b), uint64_t(b.width) * 4, "a buffer's size");
    if (b.offset % 64 || b.offset > desc.arena_bytes || bytes > desc.arena_bytes - b.offset)
      fail(RF_INVALID_PLAN, "buffer %llu needs %llu bytes at %llu, the arena has %llu", n, (unsigned long long)bytes,
           (unsigned long long)b.offset, (unsigned long long)desc.arena_bytes);
  }
  for (uint64_t i = 0; i < n_caches; i++) {
    if (!caches[i].n_kv_heads || caches[i].n_kv_heads > 1024 || !caches[i].head_dim || caches[i].head_dim > 512 ||
        caches[i].dtype > RF_Q8_0)
      fail(RF_INVALID_PLAN, "cache %llu has %u heads of %u, dtype %u", (unsigned long long)i, caches[i].n_kv_heads,
           caches[i].head_dim, caches[i].dtype);
    if (!cache_fits(caches[i].head_dim, caches[i].dtype))
      fail(RF_UNSUPPORTED, "a q8_0 K/V cache rounds %u elements together, which do not divide heads of %u; use an f16 cache",
           kCacheGroup, caches[i].head_dim);
  }
  for (uint64_t i = 0; i < n_ops; i++) {
    OpChecker(model, plan, i).check();
    const RfOp& op = plan.ops[i];
    if (op.kind == RF_OP_EMBED) {
      const uint64_t rows = model.tensors[size_t(op.tensor[0])].rows;
      if (rows > INT32_MAX) fail(RF_INVALID_PLAN, "a vocabulary of %llu is too large", (unsigned long long)rows);
      if (!plan.n_vocab || rows < plan.n_vocab) plan.n_vocab = uint32_t(rows);
    }
    if (op.kind == RF_OP_SAMPLE) plan.sample_width = uint32_t(op.dim[0]);
  }
  return plan;
}

namespace {

// A section of the step buffer: count records of words_each words at word offset `at`.
const uint32_t* section(const uint32_t* words, uint64_t n_words, uint32_t at, uint64_t count, uint64_t words_each,
                        const char* name) {
  const uint64_t needed = count * words_each;  // both are below 2^32 here
  if (needed && (at < sizeof(RfStepHeader) / 4 || at > n_words || needed > n_words - at))
    fail(RF_INVALID_STEP, "the section %s (%llu words at %u) is outside the step buffer of %llu words", name,
         (unsigned long long)needed, at, (unsigned long long)n_words);
  return words + (needed ? at : 0);
}

}  // namespace

namespace {

// Everything that the sampler will use of one output.
void check_output(const Plan& plan, const StepView& s, uint32_t i) {
  const RfStepOutput& o = s.outputs[i];
  if (o.row >= s.n_tokens) fail(RF_INVALID_STEP, "output %u names row %u of %u", i, o.row, s.n_tokens);
  if (!plan.sample_width) return;
  const auto range = [&](const char* name, float value, float low, float high) {
    if (!(value >= low && value <= high))
      fail(RF_INVALID_STEP, "output %u has %s %g; it must lie in %g … %g", i, name, double(value), double(low), double(high));
  };
  range("temperature", o.temperature, 0, 1e6f);
  range("top_p", o.top_p, 0, 1);
  range("min_p", o.min_p, 0, 1);
  range("repeat_penalty", o.repeat_penalty, 1e-6f, 1e6f);
  range("frequency_penalty", o.frequency_penalty, -1e6f, 1e6f);
  range("presence_penalty", o.presence_penalty, -1e6f, 1e6f);
  if (o.top_k < 0) fail(RF_INVALID_STEP, "output %u has top_k %d; it must be 0 or more", i, o.top_k);
  if (o.n_top < -1 || o.n_top > RF_MAX_TOP_LOGPROBS)
    fail(RF_INVALID_STEP, "output %u wants %d log-probabilities; -1 … %d are possible", i, o.n_top, RF_MAX_TOP_LOGPROBS);
  const uint32_t n_pairs = s.header->n_pairs, mask_words = (plan.sample_width + 31) / 32;
  if (uint64_t(o.penalty_start) + o.n_penalties > n_pairs || uint64_t(o.bias_start) + o.n_biases > n_pairs)
    fail(RF_INVALID_STEP, "output %u has pairs beyond the %u given", i, n_pairs);
  if (o.mask_words && (o.mask_words < mask_words || uint64_t(o.mask_start) + o.mask_words > s.header->n_mask_words))
    fail(RF_INVALID_STEP, "output %u has a mask of %u words at %u; %u are needed", i, o.mask_words, o.mask_start, mask_words);
  const auto known = [&](const RfPair& pair) {
    if (uint32_t(pair.token) >= plan.sample_width)
      fail(RF_INVALID_STEP, "output %u has a pair for token %d of %u", i, pair.token, plan.sample_width);
  };
  for (uint32_t p = 0; p < o.n_penalties; p++) {
    known(s.pairs[o.penalty_start + p]);
    if (s.pairs[o.penalty_start + p].value.count < 0)
      fail(RF_INVALID_STEP, "output %u has a penalty pair with a negative count", i);
  }
  for (uint32_t p = 0; p < o.n_biases; p++) {
    known(s.pairs[o.bias_start + p]);
    const float bias = s.pairs[o.bias_start + p].value.bias;
    if (bias != bias) fail(RF_INVALID_STEP, "output %u has a bias that is NaN", i);
  }
}

}  // namespace

StepView validate_step(const Plan& plan, const uint32_t* words, uint64_t n_words, uint64_t max_results) {
  if (n_words < sizeof(RfStepHeader) / 4)
    fail(RF_INVALID_STEP, "a step buffer of %llu words has no header", (unsigned long long)n_words);
  const auto* h = reinterpret_cast<const RfStepHeader*>(words);
  if (h->version != RF_ABI_VERSION)
    fail(RF_INVALID_STEP, "the step buffer is of version %u, this library reads %d", h->version, RF_ABI_VERSION);
  const RfContextDesc& d = plan.desc;
  if (h->n_tokens > d.max_tokens || h->n_seqs > d.max_seqs || h->n_outputs > d.max_outputs || h->n_outputs > max_results)
    fail(RF_INVALID_STEP, "%u tokens, %u sequences, %u outputs; the context was opened for %u, %u, %u", h->n_tokens, h->n_seqs,
         h->n_outputs, d.max_tokens, d.max_seqs, d.max_outputs);
  StepView s{};
  s.header = h;
  s.n_words = n_words;
  s.n_tokens = h->n_tokens;
  s.n_seqs = h->n_seqs;
  s.n_outputs = h->n_outputs;
  s.tokens = reinterpret_cast<const int32_t*>(section(words, n_words, h->off_tokens, h->n_tokens, 1, "tokens"));
  s.seqs = reinterpret_cast<const RfStepSeq*>(section(words, n_words, h->off_seqs, h->n_seqs, sizeof(RfStepSeq) / 4, "seqs"));
  s.outputs = reinterpret_cast<const RfStepOutput*>(
      section(words, n_words, h->off_outputs, h->n_outputs, sizeof(RfStepOutput) / 4, "outputs"));
  s.blocks = reinterpret_cast<const int32_t*>(section(words, n_words, h->off_blocks, h->n_block_ids, 1, "blocks"));
  s.pairs = reinterpret_cast<const RfPair*>(section(words, n_words, h->off_pairs, h->n_pairs, sizeof(RfPair) / 4, "pairs"));
  s.masks = section(words, n_words, h->off_masks, h->n_mask_words, 1, "masks");

  if (plan.n_vocab)
    for (uint32_t i = 0; i < s.n_tokens; i++)
      if (uint32_t(s.tokens[i]) >= plan.n_vocab)
        fail(RF_INVALID_STEP, "token %d of row %u is not in the vocabulary of %u", s.tokens[i], i, plan.n_vocab);
  for (uint32_t i = 0; i < h->n_block_ids; i++)
    if (uint32_t(s.blocks[i]) >= d.n_blocks) fail(RF_INVALID_STEP, "block id %d; the cache has %u blocks", s.blocks[i], d.n_blocks);
  uint32_t next_row = 0;
  for (uint32_t i = 0; i < s.n_seqs; i++) {
    const RfStepSeq& q = s.seqs[i];
    if (q.row_start != next_row || !q.n_rows || q.n_rows > s.n_tokens - next_row)
      fail(RF_INVALID_STEP, "sequence %u has rows %u + %u; sequences cover the %u rows one after another", i, q.row_start, q.n_rows,
           s.n_tokens);
    next_row += q.n_rows;
    if (q.kv_len < q.n_rows) fail(RF_INVALID_STEP, "sequence %u appends %u tokens and then has %u", i, q.n_rows, q.kv_len);
    if (!plan.caches.empty()) {
      const uint64_t n = (uint64_t(q.kv_len) + d.block_size - 1) / d.block_size;
      if (q.block_start > h->n_block_ids || n > h->n_block_ids - q.block_start)
        fail(RF_INVALID_STEP, "sequence %u needs %llu blocks, its table ends before", i, (unsigned long long)n);
    }
  }
  if (next_row != s.n_tokens) fail(RF_INVALID_STEP, "the sequences cover %u of %u rows", next_row, s.n_tokens);
  for (uint32_t i = 0; i < s.n_outputs; i++) check_output(plan, s, i);
  return s;
}

}  // namespace rf
