// A context on a GPU: one allocation for activations, caches and scratch; a step buffer; and graphs of decode steps.
#pragma once
#include <map>

#include "launch.h"

namespace rf {
namespace gpu {

// A bucket of decode steps (steps in which every sequence has one row) that share a captured graph: rows, and tokens in the longest
// cache, both rounded up.
struct Bucket {
  uint32_t rows, longest;
  bool operator<(const Bucket& other) const { return rows != other.rows ? rows < other.rows : longest < other.longest; }
};

class Graph {
 public:
  Graph(std::shared_ptr<Gpu> gpu, void* exec) : gpu_(std::move(gpu)), exec_(exec) {}
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void* exec() const { return exec_; }

 private:
  std::shared_ptr<Gpu> gpu_;
  void* exec_;
};

class GpuContext final : public BackendContext {
 public:
  GpuContext(std::shared_ptr<const Model> model, Plan plan);

  void step(const StepView& step, RfStepResult* results) override;
  void read_buffer(const RfBuffer& buffer, uint64_t offset, uint8_t* data, uint64_t n_bytes) override;
  void write_buffer(const RfBuffer& buffer, uint64_t offset, const uint8_t* data, uint64_t n_bytes) override;
  RfContextInfo info() const override;

 private:
  void allocate();
  void allocate_step(uint64_t n_words);
  void replay(const Bucket& bucket, const Shape& shape);
  std::unique_ptr<Graph> capture(const Shape& shape);

  // In order of construction: on destruction the graphs go first, then the stream is waited for, then the memory that both use is
  // freed.
  std::shared_ptr<const Model> model_;
  const GpuModel& weights_;
  Plan plan_;
  DeviceMemory memory_, step_memory_;
  PinnedMemory step_host_, results_host_;
  Memory at_;
  uint64_t cache_bytes_ = 0, scratch_bytes_ = 0;
  Stream stream_;
  Launcher launcher_;
  const bool graphs_wanted_;
  std::map<Bucket, std::unique_ptr<Graph>> graphs_;  // NULL: the bucket was seen once
};

}  // namespace gpu
}  // namespace rf
