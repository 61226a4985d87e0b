// The CPU backend: every thread of the pool walks the plan, doing its share of each op, with a barrier behind each.
#include <cmath>
#include <cstring>

#include "../backend.h"
#include "../error.h"
#include "../formats.h"
#include "kernels.h"
#include "memory.h"
#include "pool.h"
#include "sample.h"

namespace rf {

void Worker::barrier() const { static_cast<Pool*>(pool)->barrier(); }

namespace {

uint64_t round64(uint64_t n) { return (n + 63) / 64 * 64; }

CacheView cache_view(const RfCache& c, uint8_t* at, uint64_t block_stride) {
  CacheView view{at, nullptr, c.n_kv_heads, c.head_dim, (c.head_dim + 15) / 16 * 16, c.dtype, block_stride};
  if (at) view.v = at + c.n_kv_heads * view.k_tile_bytes();  // without memory it is only asked for sizes
  return view;
}
uint64_t layer_bytes(const RfCache& cache) {  // of one block
  const CacheView view = cache_view(cache, nullptr, 0);
  return round64(checked_mul(cache.n_kv_heads, view.k_tile_bytes() + view.v_tile_bytes(), "a cache's size"));
}
// Blocks a power of two apart would all want the same places of the processor's caches.
uint64_t spread(uint64_t stride) { return stride % 65536 == 0 && stride ? stride + 4096 + 64 : stride; }

class CpuContext final : public BackendContext {
 public:
  CpuContext(std::shared_ptr<const Model> model, Plan plan)
      : model_(std::move(model)),
        plan_(std::move(plan)),
        kernels_(best_kernels()),
        arena_(plan_.desc.arena_bytes, "the activation arena"),
        cache_(total_cache_bytes(), "the K/V cache"),
        shared_(shared_bytes(), "shared scratch"),
        scratch_each_(round64(scratch_bytes())),
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
        replay(plan_.ops[i], worker, step, results);
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
  // All layers of a block lie together: memory is backed when it is first touched, megabytes at a time, and a block that touched some
  // of each layer's own would hold up its step for hundreds of milliseconds.
  uint64_t block_stride() const {
    uint64_t total = 0;
    for (const RfCache& c : plan_.caches) total = checked_add(total, layer_bytes(c), "the K/V cache");
    return spread(total);
  }
  uint64_t total_cache_bytes() const { return checked_mul(plan_.desc.n_blocks, block_stride(), "the K/V cache"); }
  bool is_matmul(const RfOp& op) const { return op.kind == RF_OP_MATMUL || op.kind == RF_OP_MATMUL_SWIGLU; }
  uint64_t shared_bytes() const {
    uint64_t most = 0;
    for (const RfOp& op : plan_.ops)
      if (is_matmul(op)) {
        const RfBuffer& in = plan_.buffers[size_t(op.buf[0])];
        most = std::max(most, kernels_.matmul_shared_bytes(plan_.max_rows(in), in.width));
      }
    return most;
  }
  uint64_t scratch_bytes() const {
    uint64_t most = 4096;
    for (const RfOp& op : plan_.ops) {
      if (is_matmul(op)) most = std::max(most, kernels_.matmul_scratch_bytes(plan_.buffers[size_t(op.buf[0])].width));
      if (op.kind == RF_OP_ATTENTION || op.kind == RF_OP_ATTENTION_DENSE)
        most = std::max(most, kernels_.attention_scratch_bytes(uint32_t(op.dim[2])));
      if (op.kind == RF_OP_SAMPLE) most = std::max(most, sample_scratch_bytes(uint32_t(op.dim[0])));
      if (op.kind == RF_OP_ROPE_STORE) most = std::max(most, uint64_t(op.dim[2]) * 4);
    }
    return most;
  }

  float* at(const RfOp& op, int slot) const { return reinterpret_cast<float*>(arena_.data() + buffer(op, slot).offset); }
  const RfBuffer& buffer(const RfOp& op, int slot) const { return plan_.buffers[size_t(op.buf[slot])]; }
  const Tensor& tensor(const RfOp& op, int slot) const { return model_->tensors[size_t(op.tensor[slot])]; }
  const float* vector(const RfOp& op, int slot) const {
    return op.tensor[slot] == RF_NONE ? nullptr : reinterpret_cast<const float*>(tensor(op, slot).data);
  }

  void replay(const RfOp& op, const Worker& worker, const StepView& step, RfStepResult* results);
  void embed(const RfOp& op, const Worker& worker, const StepView& step);
  void matmul(const RfOp& op, const Worker& worker, const StepView& step);
  void rope_table(const RfOp& op, const Worker& worker, const StepView& step);
  void rope_store(const RfOp& op, const Worker& worker, const StepView& step);
  // Calls body(offset, n) on this thread's stretch of a buffer's live elements.
  template <class Body>
  void elements(const RfBuffer& b, const Worker& worker, const StepView& step, Body body) {
    uint64_t begin, end;
    worker.range((step.rows(b) * b.width + 15) / 16, &begin, &end);
    const uint64_t total = step.rows(b) * b.width, last = std::min(end * 16, total);
    if (begin * 16 < last) body(begin * 16, last - begin * 16);
  }
  template <class Body>
  void rows(const RfBuffer& b, const Worker& worker, const StepView& step, Body body) {
    uint64_t begin, end;
    worker.range(step.rows(b), &begin, &end);
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

void CpuContext::embed(const RfOp& op, const Worker& worker, const StepView& step) {
  const Tensor& table = tensor(op, 0);
  const FormatInfo* format = find_format(table.format);
  const uint64_t width = table.cols;
  rows(buffer(op, 0), worker, step, [&](uint64_t r) {
    float* out = at(op, 0) + r * width;
    format->decode_row(table.data + uint64_t(step.tokens[r]) * table.row_bytes, width, out);
    if (op.f[0] != 1.0f) kernels_.scale(out, op.f[0], width, out);
  });
}

void CpuContext::matmul(const RfOp& op, const Worker& worker, const StepView& step) {
  MatmulArgs args{};
  args.in = at(op, 0);
  args.out = at(op, 1);
  args.rows = step.rows(buffer(op, 0));
  args.k = buffer(op, 0).width;
  args.out_width = buffer(op, 1).width;
  args.swiglu = op.kind == RF_OP_MATMUL_SWIGLU;
  args.add = op.flags & RF_FLAG_ADD;
  args.shared = shared_.data();
  for (int i = 0; i < (args.swiglu ? 2 : 3); i++) {
    if (op.tensor[i] == RF_NONE) continue;
    args.weight[args.n_weights] = &tensor(op, i);
    args.bias[args.n_weights++] = args.swiglu ? nullptr : vector(op, i + 3);
  }
  if (args.rows) kernels_.matmul(worker, args);
}

void CpuContext::rope_table(const RfOp& op, const Worker& worker, const StepView& step) {
  const uint64_t width = buffer(op, 0).width, half = width / 2;
  const float* inv_freq = vector(op, 0);
  uint64_t begin, end;
  worker.range(step.n_tokens, &begin, &end);
  positions(step, begin, end, [&](const RfStepSeq&, uint64_t row, uint64_t position) {
    float* out = at(op, 0) + row * width;
    for (uint64_t i = 0; i < half; i++) {
      const double angle = double(position) * double(inv_freq[i]);
      out[i] = float(std::cos(angle)) * op.f[0];
      out[half + i] = float(std::sin(angle)) * op.f[0];
    }
  });
}

void CpuContext::rope_store(const RfOp& op, const Worker& worker, const StepView& step) {
  const uint32_t n_heads = uint32_t(op.dim[0]), n_kv_heads = uint32_t(op.dim[1]), head_dim = uint32_t(op.dim[2]),
                 rope_dim = uint32_t(op.dim[3]);
  const uint64_t width = buffer(op, 0).width, n_work = n_heads + n_kv_heads;
  const bool neox = op.flags & RF_FLAG_NEOX;
  const float *q_norm = vector(op, 0), *k_norm = vector(op, 1);
  const CacheView& cache = caches_[size_t(op.cache)];
  auto* key = reinterpret_cast<float*>(worker.scratch);
  uint64_t begin, end;
  worker.range(step.n_tokens * n_work, &begin, &end);
  positions(step, begin / n_work, (end + n_work - 1) / n_work, [&](const RfStepSeq& seq, uint64_t row, uint64_t position) {
    float* qkv = at(op, 0) + row * width;
    const float* table = at(op, 1) + row * rope_dim;
    const uint64_t first = row * n_work >= begin ? 0 : begin - row * n_work, last = std::min(n_work, end - row * n_work);
    for (uint64_t h = first; h < last; h++) {
      float* head = qkv + h * head_dim;
      if (h < n_heads) {
        if (q_norm) kernels_.rms_norm(head, q_norm, op.f[0], head_dim, head);
        rotate(head, table, head_dim, rope_dim, neox, head);
        continue;
      }
      const uint32_t kv_head = uint32_t(h - n_heads);
      const float* from = head;
      if (k_norm) {
        kernels_.rms_norm(head, k_norm, op.f[0], head_dim, key);
        from = key;
      }
      rotate(from, table, head_dim, rope_dim, neox, key);
      const float* value = qkv + (uint64_t(n_heads) + n_kv_heads + kv_head) * head_dim;
      kernels_.store_kv(key, value, cache, kv_head, step.blocks[seq.block_start + position / 16], uint32_t(position % 16));
    }
  });
}

void CpuContext::replay(const RfOp& op, const Worker& worker, const StepView& step, RfStepResult* results) {
  switch (op.kind) {
    case RF_OP_EMBED: return embed(op, worker, step);
    case RF_OP_MATMUL:
    case RF_OP_MATMUL_SWIGLU: return matmul(op, worker, step);
    case RF_OP_ROPE_TABLE: return rope_table(op, worker, step);
    case RF_OP_ROPE_STORE: return rope_store(op, worker, step);
    case RF_OP_RMS_NORM: {
      const uint64_t width = buffer(op, 0).width;
      return rows(buffer(op, 0), worker, step, [&](uint64_t r) {
        kernels_.rms_norm(at(op, 0) + r * width, vector(op, 0), op.f[0], width, at(op, 1) + r * width);
      });
    }
    case RF_OP_ATTENTION: {
      const AttentionArgs args{at(op, 0),
                               at(op, 1),
                               buffer(op, 0).width,
                               uint32_t(op.dim[0]),
                               uint32_t(op.dim[1]),
                               uint32_t(op.dim[2]),
                               uint32_t(op.dim[3]),
                               op.f[0],
                               op.f[1],
                               caches_[size_t(op.cache)]};
      return kernels_.attention(worker, args, step);
    }
    case RF_OP_GATHER: {
      const uint64_t width = buffer(op, 0).width;
      return rows(buffer(op, 1), worker, step,
                  [&](uint64_t r) { memcpy(at(op, 1) + r * width, at(op, 0) + step.outputs[r].row * width, width * 4); });
    }
    case RF_OP_SAMPLE: {
      for (uint32_t begin, end; worker.take(step.n_outputs, 1, &begin, &end);)
        sample(kernels_, at(op, 0) + uint64_t(begin) * buffer(op, 0).width, uint32_t(op.dim[0]), step, begin, worker.scratch,
               results + begin);
      return;
    }
    case RF_OP_SCALE:
      return elements(buffer(op, 0), worker, step,
                      [&](uint64_t i, uint64_t n) { kernels_.scale(at(op, 0) + i, op.f[0], n, at(op, 1) + i); });
    case RF_OP_ADD:
      return elements(buffer(op, 0), worker, step,
                      [&](uint64_t i, uint64_t n) { kernels_.add(at(op, 0) + i, at(op, 1) + i, n, at(op, 2) + i); });
    case RF_OP_SWIGLU:
      return elements(buffer(op, 0), worker, step,
                      [&](uint64_t i, uint64_t n) { kernels_.swiglu(at(op, 0) + i, at(op, 1) + i, n, at(op, 2) + i); });
    case RF_OP_CAUSAL_MASK: {
      const uint64_t n_queries = uint64_t(op.dim[0]), n_keys = uint64_t(op.dim[1]);
      return rows(buffer(op, 0), worker, step, [&](uint64_t r) {
        const uint64_t seen = n_keys - n_queries + r % n_queries + 1;
        for (uint64_t i = 0; i < n_keys; i++) at(op, 1)[r * n_keys + i] = i < seen ? at(op, 0)[r * n_keys + i] : -INFINITY;
      });
    }
    case RF_OP_SOFTMAX: {
      const uint64_t width = buffer(op, 0).width;
      return rows(buffer(op, 0), worker, step,
                  [&](uint64_t r) { kernels_.softmax(at(op, 0) + r * width, width, at(op, 1) + r * width); });
    }
    case RF_OP_ROPE: {
      const uint64_t n_heads = uint64_t(op.dim[0]), head_dim = uint64_t(op.dim[2]), rope_dim = uint64_t(op.dim[3]),
                     width = buffer(op, 0).width;
      return rows(buffer(op, 0), worker, step, [&](uint64_t r) {
        for (uint64_t h = 0; h < n_heads; h++)
          rotate(at(op, 0) + r * width + h * head_dim, at(op, 1) + r * rope_dim, uint32_t(head_dim), uint32_t(rope_dim),
                 op.flags & RF_FLAG_NEOX, at(op, 2) + r * width + h * head_dim);
      });
    }
    case RF_OP_ATTENTION_DENSE: {
      const DenseAttentionArgs args{at(op, 0),
                                    at(op, 1),
                                    at(op, 2),
                                    at(op, 3),
                                    buffer(op, 0).fixed_rows,
                                    buffer(op, 1).fixed_rows,
                                    uint32_t(op.dim[0]),
                                    uint32_t(op.dim[1]),
                                    uint32_t(op.dim[2]),
                                    op.f[0],
                                    bool(op.flags & RF_FLAG_CAUSAL)};
      return kernels_.attention_dense(worker, args);
    }
    default: return;  // validate_plan lets no other kind in
  }
}

}  // namespace

std::unique_ptr<BackendContext> backend_open_context(std::shared_ptr<const Model> model, Plan plan) {
  if (plan.desc.compute != RF_COMPUTE_F32)
    fail(RF_UNSUPPORTED, "the CPU backend computes in f32, not in mode %u", plan.desc.compute);
  return std::make_unique<CpuContext>(std::move(model), std::move(plan));
}

}  // namespace rf
