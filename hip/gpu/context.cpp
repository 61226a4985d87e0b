#include "context.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "../error.h"
#include "attention.h"

namespace rf {
namespace gpu {

namespace {

constexpr uint32_t kMostGraphRows = 256;
constexpr uint32_t kLeastLongest = 256, kMostLongest = 64 * kMaxSplits;  // beyond this, longer sequences change no launch

// Ranges of one allocation, each at a multiple of 256 bytes.
class Ranges {
 public:
  uint64_t add(uint64_t n_bytes) {
    const uint64_t at = total_;
    total_ = checked_add(total_, (checked_add(n_bytes, 255, "a context's size")) / 256 * 256, "a context's size");
    return at;
  }
  uint64_t total() const { return total_; }

 private:
  uint64_t total_ = 0;
};

uint32_t round_up_to_power(uint32_t n, uint32_t least, uint32_t most) {
  uint32_t power = least;
  while (power < n && power < most) power *= 2;
  return power;
}

// For debugging: with ROCMFORGE_GRAPHS=0 every step launches its kernels one by one.
bool graphs_wanted() {
  const char* value = getenv("ROCMFORGE_GRAPHS");
  return !value || strcmp(value, "0") != 0;
}

}  // namespace

Graph::~Graph() {
  try {
    gpu_->use();
  } catch (const Error&) {
    return;
  }
  driver().destroy_graph_exec(exec_);
}

GpuContext::GpuContext(std::shared_ptr<const Model> model, Plan plan)
    : model_(std::move(model)),
      weights_(static_cast<const GpuModel&>(*model_->backend)),
      plan_(std::move(plan)),
      stream_(weights_.gpu()),
      launcher_(plan_, weights_, stream_, at_),
      graphs_wanted_(graphs_wanted()) {
  allocate();
}

void GpuContext::allocate() {
  const RfContextDesc& d = plan_.desc;
  const ScratchSizes sizes = scratch_sizes(plan_, weights_);
  Ranges ranges;
  const uint64_t arena = ranges.add(d.arena_bytes);
  std::vector<uint64_t> k, v;
  for (const RfCache& c : plan_.caches) {
    const uint64_t each = c.n_kv_heads * cache_bytes(uint64_t(RF_BLOCK_SIZE) * c.head_dim, c.dtype);
    const uint64_t bytes = checked_mul(each, d.n_blocks, "a cache's size");
    k.push_back(ranges.add(bytes));
    v.push_back(ranges.add(bytes));
  }
  const uint64_t cached = ranges.total();
  cache_bytes_ = cached - arena - (d.arena_bytes + 255) / 256 * 256;
  const uint64_t row_seq = ranges.add(uint64_t(d.max_tokens) * 4), row_pos = ranges.add(uint64_t(d.max_tokens) * 4);
  const uint64_t half = ranges.add(sizes.half), int8 = ranges.add(sizes.int8), info = ranges.add(sizes.info),
                 gate = ranges.add(sizes.gate), partial = ranges.add(sizes.partial), sample = ranges.add(sizes.sample),
                 results = ranges.add(d.max_outputs * sizeof(RfStepResult));
  scratch_bytes_ = ranges.total() - cached;
  memory_ = DeviceMemory(weights_.gpu(), ranges.total(), "the context (activations, K/V cache and scratch)");
  // Memory that is read before it is written is zero, as on the CPU.
  if (memory_.size()) check(driver().fill(memory_.address(), 0, memory_.size(), stream_.handle()), "clearing the context's memory");
  const Address base = memory_.address();
  at_.arena = base + arena;
  for (size_t i = 0; i < plan_.caches.size(); i++) {
    const RfCache& c = plan_.caches[i];
    at_.caches.push_back(
        {reinterpret_cast<uint8_t*>(base + k[i]), reinterpret_cast<uint8_t*>(base + v[i]), c.n_kv_heads, c.head_dim, c.dtype});
  }
  at_.row_seq = base + row_seq;
  at_.row_pos = base + row_pos;
  at_.half = base + half;
  at_.int8 = base + int8;
  at_.info = base + info;
  at_.gate = base + gate;
  at_.partial = base + partial;
  at_.sample = base + sample;
  at_.results = base + results;
  results_host_ = PinnedMemory(weights_.gpu(), d.max_outputs * sizeof(RfStepResult), "the results");
  allocate_step(16384 + d.max_tokens + 4 * uint64_t(d.max_seqs) + 18 * uint64_t(d.max_outputs));
  stream_.wait();
}

// Grows the step buffer where a step needs it: masks, penalties and block tables make some steps larger than others.
void GpuContext::allocate_step(uint64_t n_words) {
  if (n_words * 4 <= step_host_.size()) return;
  graphs_.clear();  // they hold its address
  const uint64_t bytes = (std::max(n_words * 4, 2 * step_host_.size()) + 255) / 256 * 256;
  step_memory_ = DeviceMemory();
  step_host_ = PinnedMemory();
  step_memory_ = DeviceMemory(weights_.gpu(), bytes, "the step buffer");
  step_host_ = PinnedMemory(weights_.gpu(), bytes, "the step buffer");
  at_.step = step_memory_.address();
}

void GpuContext::step(const StepView& step, RfStepResult* results) {
  if (!step.n_tokens) return;
  weights_.gpu()->use();
  allocate_step(step.n_words);
  memcpy(step_host_.data(), step.header, step.n_words * 4);
  check(driver().copy_to_device(at_.step, step_host_.data(), step.n_words * 4, stream_.handle()), "sending the step");

  Shape shape{step.n_tokens, step.n_outputs, step.n_seqs, 1, false, false};
  for (uint32_t i = 0; i < step.n_seqs; i++) {
    shape.longest = std::max(shape.longest, step.seqs[i].kv_len);
    (step.seqs[i].n_rows > kAttentionFlashRows ? shape.long_rows : shape.short_rows) = true;
  }
  if (step.n_seqs == step.n_tokens && step.n_tokens <= kMostGraphRows) {
    const Bucket bucket{round_up_to_power(step.n_tokens, 1, kMostGraphRows),
                        round_up_to_power(shape.longest, kLeastLongest, kMostLongest)};
    shape.n_tokens = shape.n_seqs = std::min(bucket.rows, plan_.desc.max_tokens);
    shape.n_outputs = std::min(bucket.rows, plan_.desc.max_outputs);
    shape.longest = bucket.longest;
    replay(bucket, shape);
  } else {
    launcher_.run(shape);
  }
  const uint64_t result_bytes = plan_.sample_width ? step.n_outputs * sizeof(RfStepResult) : 0;
  if (result_bytes)
    check(driver().copy_to_host(results_host_.data(), at_.results, result_bytes, stream_.handle()), "fetching the results");
  stream_.wait();
  if (result_bytes) memcpy(results, results_host_.data(), result_bytes);
}

// The first step of a bucket is launched directly; a second one shows that the bucket recurs, and is captured.
void GpuContext::replay(const Bucket& bucket, const Shape& shape) {
  const auto known = graphs_.find(bucket);
  if (!graphs_wanted_ || known == graphs_.end()) {
    launcher_.run(shape);
    graphs_.emplace(bucket, nullptr);
    return;
  }
  if (!known->second) known->second = capture(shape);
  check(driver().launch_graph(known->second->exec(), stream_.handle()), "launching a graph");
}

std::unique_ptr<Graph> GpuContext::capture(const Shape& shape) {
  void *graph = nullptr, *exec = nullptr;
  check(driver().begin_capture(stream_.handle(), kCaptureRelaxed), "capturing a step");
  try {
    launcher_.run(shape);
  } catch (...) {
    driver().end_capture(stream_.handle(), &graph);
    if (graph) driver().destroy_graph(graph);
    throw;
  }
  check(driver().end_capture(stream_.handle(), &graph), "capturing a step");
  const int error = driver().instantiate(&exec, graph, 0);
  driver().destroy_graph(graph);
  check(error, "making a graph");
  return std::make_unique<Graph>(weights_.gpu(), exec);
}

void GpuContext::read_buffer(const RfBuffer& buffer, uint64_t offset, uint8_t* data, uint64_t n_bytes) {
  if (!n_bytes) return;
  weights_.gpu()->use();
  check(driver().copy_to_host(data, at_.arena + buffer.offset + offset, n_bytes, stream_.handle()), "reading a buffer");
  stream_.wait();
}

void GpuContext::write_buffer(const RfBuffer& buffer, uint64_t offset, const uint8_t* data, uint64_t n_bytes) {
  if (!n_bytes) return;
  weights_.gpu()->use();
  check(driver().copy_to_device(at_.arena + buffer.offset + offset, data, n_bytes, stream_.handle()), "writing a buffer");
  stream_.wait();
}

RfContextInfo GpuContext::info() const {
  return {plan_.desc.arena_bytes, cache_bytes_, scratch_bytes_ + step_memory_.size(), 1, 0};
}

}  // namespace gpu

std::unique_ptr<BackendContext> backend_open_context(std::shared_ptr<const Model> model, Plan plan) {
  return std::make_unique<gpu::GpuContext>(std::move(model), std::move(plan));
}

}  // namespace rf
