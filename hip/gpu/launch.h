// A plan's ops as kernel launches. The same code runs a step directly and records it in a graph: what it launches depends on the shape
// alone, and the kernels read everything else from the step buffer on the device.
#pragma once
#include "../plan.h"
#include "args.h"
#include "device.h"
#include "weights.h"

namespace rf {
namespace gpu {

// Rows up to which weights are read as planes and multiplied without matrix units, whatever the context's compute mode.
constexpr uint32_t kMatvecMost = 8;

// How large the launches are: a step's own counts, or those of the bucket that it falls into.
struct Shape {
  uint32_t n_tokens, n_outputs;
  uint32_t n_seqs;
  uint32_t longest;  // tokens in the cache of the longest sequence, at least
  bool short_rows;   // some sequence has no more rows than kAttentionFlashRows
  bool long_rows;    // some has more
};

// Where a context keeps what its kernels read and write; device addresses.
struct Memory {
  Address arena;
  std::vector<CacheArgs> caches;
  Address step;  // changes when a larger step comes
  Address row_seq, row_pos;
  Address half, planes, info;  // copies of a matrix product's input
  Address gate;                // a SwiGLU whose two weights have different formats
  Address partial;             // attention, in splits
  Address sample;
  Address results;
};

// Bytes that the scratch of `Memory` takes for a plan.
struct ScratchSizes {
  uint64_t half = 0, planes = 0, info = 0, gate = 0, partial = 0, sample = 0;
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
    MatmulArgs args;
    uint32_t n_rows;
    bool swiglu;
    uint32_t n_weights;  // in one launch, of one format and width; the gate counts alone

    uint32_t tiles(uint32_t each) const;
  };

  void op(const RfOp& op);
  void embed(const RfOp& op);
  void matmul(const RfOp& op);
  void swiglu(const RfOp& op);
  void product(Matmul* m, int32_t in);
  bool by_rows(uint32_t n_rows) const { return compute_ == COMPUTE_F32 || (n_rows <= kMatvecMost && !plan_.desc.deterministic); }
  void rope_table(const RfOp& op);
  void rope_store(const RfOp& op);
  void attention(const RfOp& op);
  void elements(const RfOp& op, const char* kernel, int out);
  bool overlap(int32_t a, int32_t b) const;
  void matvec(Matmul* m, int32_t in);
  void copy_half(MatmulArgs* args, int32_t in);
  void copy_planes(MatmulArgs* args, int32_t in);
  void rms_norm(const RfOp& op);
  bool wants_planes(const RfOp& next, int32_t in) const;

  const RfBuffer& buffer(const RfOp& op, int slot) const { return plan_.buffers[size_t(op.buf[slot])]; }
  template <class T>
  static T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
  }
  float* at(const RfOp& op, int slot) const { return pointer<float>(memory_.arena + buffer(op, slot).offset); }
  const float* vector(const RfOp& op, int slot) const {
    return op.tensor[slot] == RF_NONE ? nullptr : reinterpret_cast<const float*>(weight(op, slot).plane[0]);
  }
  const DeviceWeight& weight(const RfOp& op, int slot) const { return weights_.weight(size_t(op.tensor[slot])); }
  Rows rows(const RfBuffer& b) const { return {pointer<uint32_t>(memory_.step), b.rows_kind, b.fixed_rows}; }
  uint32_t count(const RfBuffer& b) const {
    return b.rows_kind == RF_ROWS_TOKENS ? shape_.n_tokens : b.rows_kind == RF_ROWS_OUTPUTS ? shape_.n_outputs : b.fixed_rows;
  }
  const uint32_t* step() const { return pointer<uint32_t>(memory_.step); }
  const uint32_t* row_seq() const { return pointer<uint32_t>(memory_.row_seq); }
  const uint32_t* row_pos() const { return pointer<uint32_t>(memory_.row_pos); }

  // A grid of nothing is not launched.
  template <class Args>
  void launch(const char* kernel, uint64_t grid_x, uint32_t grid_y, uint32_t grid_z, uint32_t threads, Args args,
              uint32_t shared_bytes = 0) const;

  const Plan& plan_;
  const GpuModel& weights_;
  const Stream& stream_;
  const Memory& memory_;
  const uint32_t compute_;
  Shape shape_{};
  // The input that `half` and `planes` hold a copy of: consecutive products of one input share it.
  int32_t half_of_ = RF_NONE, planes_of_ = RF_NONE;
  int32_t made_planes_ = RF_NONE;    // the output of this op, where it leaves planes of it
  mutable uint32_t n_launched_ = 0;  // kernels of this run
  const RfOp* next_ = nullptr;       // the op after the one being launched
};

}  // namespace gpu
}  // namespace rf
