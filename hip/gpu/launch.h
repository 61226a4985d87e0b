// Turns the ops of a plan into kernel launches. The same code runs a step directly and records it in a graph: what it launches
// depends only on the shape, and the kernels read everything else from the step buffer on the device.
#pragma once
#include "../op-view.h"
#include "args.h"
#include "device.h"
#include "weights.h"

namespace rf {
namespace gpu {

// Up to this many rows, weights are read as planes and multiplied without matrix units, whatever the context's compute mode.
constexpr uint32_t kMatvecMost = 8;

// How large the launches are: the counts of the step, or those of the bucket that it belongs to.
struct Shape {
  uint32_t n_tokens, n_outputs;
  uint32_t n_seqs;
  uint32_t longest;  // tokens in the cache of the longest sequence, at least
  bool short_rows;   // some sequence has kAttentionFlashRows rows or fewer
  bool long_rows;    // some sequence has more
};

// The memory that a context's kernels read and write; device addresses.
struct Memory {
  Address arena;
  std::vector<CacheArgs> caches;
  Address step;  // changes when a larger step comes
  Address row_seq, row_pos;
  Address half, int8, info;  // copies of a matrix product's input, see ConvertArgs
  Address gate;                // results of the gate of a SwiGLU whose weights have different formats
  Address partial;             // results of the splits of attention
  Address sample;
  Address results;
};

// Bytes of the scratch in `Memory` for a plan.
struct ScratchSizes {
  uint64_t half = 0, int8 = 0, info = 0, gate = 0, partial = 0, sample = 0;
};
ScratchSizes scratch_sizes(const Plan& plan, const GpuModel& weights);

class Launcher {
 public:
  Launcher(const Plan& plan, const GpuModel& weights, const Stream& stream, const Memory& memory)
      : plan_(plan), weights_(weights), stream_(stream), memory_(memory), compute_(plan.desc.compute) {}

  // Queues the whole plan.
  void run(const Shape& shape);

 private:
  struct Matmul {  // one matrix product of an op
    const RfBuffer* in;
    MatmulArgs args;
    uint32_t n_rows;
    bool swiglu;
    uint32_t n_weights;  // in one launch, of one format and width; of a SwiGLU only the gate counts

    uint32_t tiles(uint32_t each) const;
  };

  void run(const EmbedOp& op);
  void run(const RmsNormOp& op);
  void run(const MatmulOp& op);
  void run(const MatmulSwigluOp& op);
  void run(const RopeTableOp& op);
  void run(const RopeStoreOp& op);
  void run(const AttentionOp& op);
  void run(const GatherOp& op);
  void run(const SampleOp& op);
  void run(const ScaleOp& op) { elements("rf_scale", op.in(), nullptr, op.out(), op.factor()); }
  void run(const AddOp& op) { elements("rf_add", op.a(), &op.b(), op.out(), 0); }
  void run(const SwigluOp& op) { elements("rf_swiglu", op.gate(), &op.up(), op.out(), 0); }
  void run(const CausalMaskOp& op);
  void run(const SoftmaxOp& op);
  void run(const RopeOp& op);
  void run(const AttentionDenseOp& op);

  Matmul matmul_of(const Product& product) const;
  void product(Matmul* m);
  bool by_rows(uint32_t n_rows) const { return compute_ == RF_COMPUTE_F32 || (n_rows <= kMatvecMost && !plan_.desc.deterministic); }
  void elements(const char* kernel, const RfBuffer& a, const RfBuffer* b, const RfBuffer& out, float factor);
  bool overlap(const RfBuffer* a, const RfBuffer* b) const;
  void matvec(Matmul* m);
  void copy_half(Matmul* m);
  void copy_int8(Matmul* m);
  bool next_reads_int8(const RfBuffer& out) const;

  template <class T>
  static T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
  }
  float* at(const RfBuffer& b) const { return pointer<float>(memory_.arena + b.offset); }
  const DeviceWeight& weight(TensorId id) const { return weights_.weight(size_t(id)); }
  // NULL for an optional tensor that is missing.
  const float* vector(TensorId id) const {
    return id == TensorId::none ? nullptr : reinterpret_cast<const float*>(weight(id).plane[0]);
  }
  Rows rows(const RfBuffer& b) const { return {step(), b.rows_kind, b.fixed_rows}; }
  uint32_t count(const RfBuffer& b) const {
    return b.rows_kind == RF_ROWS_TOKENS ? shape_.n_tokens : b.rows_kind == RF_ROWS_OUTPUTS ? shape_.n_outputs : b.fixed_rows;
  }
  const uint32_t* step() const { return pointer<uint32_t>(memory_.step); }
  const uint32_t* row_seq() const { return pointer<uint32_t>(memory_.row_seq); }
  const uint32_t* row_pos() const { return pointer<uint32_t>(memory_.row_pos); }

  // An empty grid is not launched.
  template <class Args>
  void launch(const char* kernel, uint64_t grid_x, uint32_t grid_y, uint32_t grid_z, uint32_t threads, Args args,
              uint32_t shared_bytes = 0) const;

  const Plan& plan_;
  const GpuModel& weights_;
  const Stream& stream_;
  const Memory& memory_;
  const uint32_t compute_;
  Shape shape_{};
  // The buffers that `half` and `int8` are copies of, so that consecutive products of one input share a copy; NULL: no copy.
  const RfBuffer *half_of_ = nullptr, *int8_of_ = nullptr;
  const RfBuffer* made_int8_ = nullptr;  // the output of the op being launched, if that op also writes an int8 copy of it
  mutable uint32_t n_launched_ = 0;        // kernels of this run
  std::optional<Product> next_;            // of the op after the one being launched
};

}  // namespace gpu
}  // namespace rf
