// The CPU backend: every thread of the pool walks the plan and does its share of each op, with a barrier after each.
#include <cmath>
#include <cstring>

#include "../backend.h"
#include "../error.h"
#include "../op-view.h"
#include "kernels.h"
#include "memory.h"
#include "pool.h"
#include "sample.h"

namespace rf {

void Worker::barrier() const { static_cast<Pool*>(pool)->barrier(); }

namespace {

constexpr uint64_t kCacheLine = 64, kPage = 4096;
// Addresses that differ by a multiple of this compete for the same sets of the processor's caches.
constexpr uint64_t kAliasing = 65536;

uint64_t round_to_line(uint64_t n) { return (n + kCacheLine - 1) / kCacheLine * kCacheLine; }

CacheView cache_view(const RfCache& c, uint8_t* at, uint64_t block_stride) {
  CacheView view{};
  view.k = at;
  view.n_kv_heads = c.n_kv_heads;
  view.head_dim = c.head_dim;
  view.v_stride = uint32_t(round_to_lanes(c.head_dim));
  view.dtype = c.dtype;
  view.block_stride = block_stride;
  if (at) view.v = at + c.n_kv_heads * view.k_tile_bytes();  // NULL where only sizes are needed
  return view;
}
uint64_t layer_bytes(const RfCache& cache) {  // of one block
  const CacheView view = cache_view(cache, nullptr, 0);
  return round_to_line(checked_mul(cache.n_kv_heads, view.k_tile_bytes() + view.v_tile_bytes(), "a cache's size"));
}
// Keeps the same place of neighbouring blocks out of the same cache sets: a page and a line further each time.
uint64_t spread(uint64_t stride) { return stride && stride % kAliasing == 0 ? stride + kPage + kCacheLine : stride; }

// What a thread needs to do its share of an op.
struct Share {
  const Worker& worker;
  const StepView& step;
  RfStepResult* results;
};

class CpuContext final : public BackendContext {
 public:
  CpuContext(std::shared_ptr<const Model> model, Plan plan)
      : model_(std::move(model)),
        plan_(std::move(plan)),
        kernels_(best_kernels()),
        arena_(plan_.desc.arena_bytes, "the activation arena"),
        cache_(total_cache_bytes(), "the K/V cache"),
        shared_(shared_bytes(), "shared scratch"),
        scratch_each_(round_to_line(scratch_bytes())),
        scratch_(scratch_each_ * plan_.desc.n_threads, "thread scratch"),
        counters_(plan_.ops.size()),
        pool_(plan_.desc.n_threads) {
    uint64_t at = 0;
    for (const RfCache& c : plan_.caches) {
      caches_.push_back(cache_view(c, cache_.data() + at, block_stride()));
      at += layer_bytes(c);
    }
  }

  void step(const StepView& step, RfStepResult* results) override {
    for (auto& counter : counters_) counter.store(0, std::memory_order_relaxed);
    if (!step.n_tokens) return;
    pool_.run([&](uint32_t thread) {
      Worker worker{thread, pool_.size(), nullptr, &pool_, scratch_.data() + thread * scratch_each_};
      for (size_t i = 0; i < plan_.ops.size(); i++) {
        if (i) pool_.barrier();
        worker.next = &counters_[i];
        const Share share{worker, step, results};
        visit_op(plan_.ops[i], plan_, [&](const auto& op) { run(op, share); });
      }
    });
  }

  void read_buffer(const RfBuffer& b, uint64_t offset, uint8_t* data, uint64_t n_bytes) override {
    if (n_bytes) memcpy(data, arena_.data() + b.offset + offset, n_bytes);
  }
  void write_buffer(const RfBuffer& b, uint64_t offset, const uint8_t* data, uint64_t n_bytes) override {
    if (n_bytes) memcpy(arena_.data() + b.offset + offset, data, n_bytes);
  }
  RfContextInfo info() const override { return {arena_.size(), cache_.size(), shared_.size() + scratch_.size(), pool_.size(), 0}; }

 private:
  // All layers of a block lie together. The system backs memory when it is first touched, megabytes at a time; if each layer had
  // its own region, the first use of a block would touch all of them and delay its step by hundreds of milliseconds.
  uint64_t block_stride() const {
    uint64_t total = 0;
    for (const RfCache& c : plan_.caches) total = checked_add(total, layer_bytes(c), "the K/V cache");
    return spread(total);
  }
  uint64_t total_cache_bytes() const { return checked_mul(plan_.desc.n_blocks, block_stride(), "the K/V cache"); }
  uint64_t shared_bytes() const {
    uint64_t most = 0;
    for (const RfOp& op : plan_.ops)
      if (const auto product = product_of(op, plan_))
        most = std::max(most, kernels_.matmul_shared_bytes(plan_.max_rows(*product->in), product->in->width));
    return most;
  }
  // Bytes of scratch that one thread needs for any op of the plan.
  uint64_t scratch_bytes() const {
    uint64_t most = kPage;
    for (const RfOp& op : plan_.ops) visit_op(op, plan_, [&](const auto& view) { most = std::max(most, scratch_of(view)); });
    return most;
  }
  uint64_t scratch_of(const MatmulOp& op) const { return kernels_.matmul_scratch_bytes(op.in().width); }
  uint64_t scratch_of(const MatmulSwigluOp& op) const { return kernels_.matmul_scratch_bytes(op.in().width); }
  uint64_t scratch_of(const AttentionOp& op) const { return kernels_.attention_scratch_bytes(op.head_dim()); }
  uint64_t scratch_of(const AttentionDenseOp& op) const { return kernels_.attention_scratch_bytes(op.head_dim()); }
  uint64_t scratch_of(const SampleOp& op) const { return sample_scratch_bytes(op.vocab()); }
  uint64_t scratch_of(const RopeStoreOp& op) const { return uint64_t(op.head_dim()) * 4; }
  uint64_t scratch_of(const OpView&) const { return 0; }

  float* at(const RfBuffer& b) const { return reinterpret_cast<float*>(arena_.data() + b.offset); }
  float* row(const RfBuffer& b, uint64_t r) const { return at(b) + r * b.width; }
  const Tensor& tensor(TensorId id) const { return model_->tensors[size_t(id)]; }
  // NULL for an optional tensor that is missing.
  const float* vector(TensorId id) const {
    return id == TensorId::none ? nullptr : reinterpret_cast<const float*>(tensor(id).data);
  }

  void run(const EmbedOp& op, const Share& share);
  void run(const MatmulOp& op, const Share& share) { matmul(product_of(op), share); }
  void run(const MatmulSwigluOp& op, const Share& share) { matmul(product_of(op), share); }
  void matmul(const Product& product, const Share& share);
  void run(const RmsNormOp& op, const Share& share) {
    rows(op.in(), share,
         [&](uint64_t r) { kernels_.rms_norm(row(op.in(), r), vector(op.weight()), op.eps(), op.in().width, row(op.out(), r)); });
  }
  void run(const RopeTableOp& op, const Share& share);
  void run(const RopeStoreOp& op, const Share& share);
  void run(const AttentionOp& op, const Share& share);
  void run(const GatherOp& op, const Share& share) {
    rows(op.out(), share,
         [&](uint64_t r) { memcpy(row(op.out(), r), row(op.in(), share.step.outputs[r].row), op.in().width * sizeof(float)); });
  }
  void run(const SampleOp& op, const Share& share) {
    for (uint32_t begin, end; share.worker.take(share.step.n_outputs, 1, &begin, &end);)
      sample(kernels_, row(op.logits(), begin), op.vocab(), share.step, begin, share.worker.scratch, share.results + begin);
  }
  void run(const ScaleOp& op, const Share& share) {
    elements(op.in(), share, [&](uint64_t i, uint64_t n) { kernels_.scale(at(op.in()) + i, op.factor(), n, at(op.out()) + i); });
  }
  void run(const AddOp& op, const Share& share) {
    elements(op.a(), share, [&](uint64_t i, uint64_t n) { kernels_.add(at(op.a()) + i, at(op.b()) + i, n, at(op.out()) + i); });
  }
  void run(const SwigluOp& op, const Share& share) {
    elements(op.gate(), share,
             [&](uint64_t i, uint64_t n) { kernels_.swiglu(at(op.gate()) + i, at(op.up()) + i, n, at(op.out()) + i); });
  }
  void run(const CausalMaskOp& op, const Share& share);
  void run(const SoftmaxOp& op, const Share& share) {
    rows(op.in(), share, [&](uint64_t r) { kernels_.softmax(row(op.in(), r), op.in().width, row(op.out(), r)); });
  }
  void run(const RopeOp& op, const Share& share);
  void run(const AttentionDenseOp& op, const Share& share);

  // Calls body(offset, n) on this thread's stretch of a buffer's live elements.
  template <class Body>
  void elements(const RfBuffer& b, const Share& share, Body body) {
    const uint64_t total = share.step.rows(b) * b.width;
    uint64_t begin, end;
    share.worker.range((total + kLanes - 1) / kLanes, &begin, &end);
    const uint64_t first = begin * kLanes, last = std::min(end * kLanes, total);
    if (first < last) body(first, last - first);
  }
  // Calls body(row) on this thread's live rows of a buffer.
  template <class Body>
  void rows(const RfBuffer& b, const Share& share, Body body) {
    uint64_t begin, end;
    share.worker.range(share.step.rows(b), &begin, &end);
    for (uint64_t r = begin; r < end; r++) body(r);
  }

  std::shared_ptr<const Model> model_;
  Plan plan_;
  const Kernels& kernels_;
  Memory arena_, cache_, shared_;
  uint64_t scratch_each_;
  Memory scratch_;
  std::vector<std::atomic<uint32_t>> counters_;
  std::vector<CacheView> caches_;
  Pool pool_;
};

// Rotates the first rope_dim elements of a head: pairs (i, i + half) in NEOX order, (2i, 2i + 1) otherwise (Su et al. 2021).
void rotate(const float* in, const float* table, uint32_t head_dim, uint32_t rope_dim, bool neox, float* out) {
  const uint32_t half = rope_dim / 2;
  for (uint32_t i = 0; i < half; i++) {
    const uint32_t a = neox ? i : 2 * i, b = neox ? i + half : 2 * i + 1;
    const float x = in[a], y = in[b], c = table[i], s = table[half + i];
    out[a] = x * c - y * s;
    out[b] = x * s + y * c;
  }
  if (out != in)
    for (uint32_t i = rope_dim; i < head_dim; i++) out[i] = in[i];
}

// Calls body(sequence, row of the step, position) for rows begin … end.
template <class Body>
void positions(const StepView& step, uint64_t begin, uint64_t end, Body body) {
  for (uint32_t s = 0; s < step.n_seqs; s++) {
    const RfStepSeq& q = step.seqs[s];
    const uint64_t first = std::max<uint64_t>(begin, q.row_start), last = std::min<uint64_t>(end, uint64_t(q.row_start) + q.n_rows);
    for (uint64_t row = first; row < last; row++) body(q, row, uint64_t(q.kv_len) - q.n_rows + (row - q.row_start));
  }
}

void CpuContext::run(const EmbedOp& op, const Share& share) {
  const Tensor& table = tensor(op.table());
  const FormatInfo* format = find_format(table.format);
  const uint64_t width = table.cols;
  rows(op.out(), share, [&](uint64_t r) {
    float* out = row(op.out(), r);
    format->decode_row(table.data + uint64_t(share.step.tokens[r]) * table.row_bytes, width, out);
    if (op.scale() != 1.0f) kernels_.scale(out, op.scale(), width, out);
  });
}

void CpuContext::matmul(const Product& product, const Share& share) {
  MatmulArgs args{};
  args.in = at(*product.in);
  args.out = at(*product.out);
  args.rows = share.step.rows(*product.in);
  args.k = product.in->width;
  args.out_width = product.out->width;
  args.swiglu = product.swiglu;
  args.add = product.add;
  args.shared = shared_.data();
  for (uint32_t i = 0; i < kProductWeights; i++) {
    if (product.weight[i] == TensorId::none) continue;
    args.weight[args.n_weights] = &tensor(product.weight[i]);
    args.bias[args.n_weights++] = vector(product.bias[i]);
  }
  if (args.rows) kernels_.matmul(share.worker, args);
}

void CpuContext::run(const RopeTableOp& op, const Share& share) {
  const uint64_t half = op.out().width / 2;
  const float* inv_freq = vector(op.inv_freq());
  uint64_t begin, end;
  share.worker.range(share.step.n_tokens, &begin, &end);
  positions(share.step, begin, end, [&](const RfStepSeq&, uint64_t r, uint64_t position) {
    float* out = row(op.out(), r);
    for (uint64_t i = 0; i < half; i++) {
      const double angle = double(position) * double(inv_freq[i]);
      out[i] = float(std::cos(angle)) * op.magnitude();
      out[half + i] = float(std::sin(angle)) * op.magnitude();
    }
  });
}

void CpuContext::run(const RopeStoreOp& op, const Share& share) {
  const uint32_t n_heads = op.n_heads(), n_kv_heads = op.n_kv_heads(), head_dim = op.head_dim(), rope_dim = op.rope_dim();
  const uint64_t n_work = n_heads + n_kv_heads;
  const bool neox = op.neox();
  const float *q_norm = vector(op.q_norm()), *k_norm = vector(op.k_norm()), eps = op.eps();
  const CacheView& cache = caches_[op.cache()];
  auto* key = reinterpret_cast<float*>(share.worker.scratch);
  uint64_t begin, end;
  share.worker.range(share.step.n_tokens * n_work, &begin, &end);
  positions(share.step, begin / n_work, (end + n_work - 1) / n_work, [&](const RfStepSeq& seq, uint64_t r, uint64_t position) {
    float* qkv = row(op.qkv(), r);
    const float* table = row(op.rope(), r);
    const uint64_t first = r * n_work >= begin ? 0 : begin - r * n_work, last = std::min(n_work, end - r * n_work);
    for (uint64_t h = first; h < last; h++) {
      float* head = qkv + h * head_dim;
      if (h < n_heads) {
        if (q_norm) kernels_.rms_norm(head, q_norm, eps, head_dim, head);
        rotate(head, table, head_dim, rope_dim, neox, head);
        continue;
      }
      const uint32_t kv_head = uint32_t(h - n_heads);
      const float* from = head;
      if (k_norm) {
        kernels_.rms_norm(head, k_norm, eps, head_dim, key);
        from = key;
      }
      rotate(from, table, head_dim, rope_dim, neox, key);
      const float* value = qkv + (uint64_t(n_heads) + n_kv_heads + kv_head) * head_dim;
      const int32_t block = share.step.blocks[seq.block_start + position / RF_BLOCK_SIZE];
      kernels_.store_kv(key, value, cache, kv_head, block, uint32_t(position % RF_BLOCK_SIZE));
    }
  });
}

void CpuContext::run(const AttentionOp& op, const Share& share) {
  AttentionArgs args{};
  args.q = at(op.qkv());
  args.out = at(op.out());
  args.q_stride = op.qkv().width;
  args.n_heads = op.n_heads();
  args.n_kv_heads = op.n_kv_heads();
  args.head_dim = op.head_dim();
  args.window = op.window();
  args.scale = op.scale();
  args.softcap = op.softcap();
  args.cache = caches_[op.cache()];
  kernels_.attention(share.worker, args, share.step);
}

void CpuContext::run(const CausalMaskOp& op, const Share& share) {
  const uint64_t n_queries = op.n_queries(), n_keys = op.n_keys();
  rows(op.in(), share, [&](uint64_t r) {
    const uint64_t n_seen = n_keys - n_queries + r % n_queries + 1;
    const float* in = row(op.in(), r);
    float* out = row(op.out(), r);
    for (uint64_t i = 0; i < n_keys; i++) out[i] = i < n_seen ? in[i] : -INFINITY;
  });
}

void CpuContext::run(const RopeOp& op, const Share& share) {
  rows(op.in(), share, [&](uint64_t r) {
    for (uint64_t h = 0; h < op.n_heads(); h++)
      rotate(row(op.in(), r) + h * op.head_dim(), row(op.rope(), r), op.head_dim(), op.rope_dim(), op.neox(),
             row(op.out(), r) + h * op.head_dim());
  });
}

void CpuContext::run(const AttentionDenseOp& op, const Share& share) {
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
  args.scale = op.scale();
  args.causal = op.causal();
  kernels_.attention_dense(share.worker, args);
}

}  // namespace

std::unique_ptr<BackendContext> backend_open_context(std::shared_ptr<const Model> model, Plan plan) {
  if (plan.desc.compute != RF_COMPUTE_F32)
    fail(RF_UNSUPPORTED, "the CPU backend computes in f32 (%u) only, and compute is %u", uint32_t(RF_COMPUTE_F32),
         plan.desc.compute);
  return std::make_unique<CpuContext>(std::move(model), std::move(plan));
}

}  // namespace rf
