// What a backend provides to abi.cpp, which owns handles, errors and validation.
#pragma once
#include <memory>

#include "step.h"

namespace rf {

// An opened plan: arena, caches and whatever replays it. One step at a time; abi.cpp holds a lock around every call.
class BackendContext {
 public:
  virtual ~BackendContext() = default;
  virtual void step(const StepView& step, RfStepResult* results) = 0;
  // Offsets and sizes were checked against the buffer.
  virtual void read_buffer(const RfBuffer& buffer, uint64_t offset, uint8_t* data, uint64_t n_bytes) = 0;
  virtual void write_buffer(const RfBuffer& buffer, uint64_t offset, const uint8_t* data, uint64_t n_bytes) = 0;
  virtual RfContextInfo info() const = 0;
};

// A model's weights in the device's own memory. abi.cpp holds a lock around every call.
class BackendModel {
 public:
  virtual ~BackendModel() = default;
  // Copies about max_bytes more of the model's weights, and says how much of how much is there.
  virtual void upload(Model& model, uint64_t max_bytes, uint64_t* done, uint64_t* total) = 0;
};

uint32_t backend_device_count();
// Why there are none, as a sentence; empty when there are some.
std::string backend_device_problem();
RfDeviceInfo backend_device_info(uint32_t device);
// Whether weights go to the device, so that the host's files are read once.
bool backend_copies_weights();
// NULL for a backend that reads the weights where they are. The model has its tensors, but is not uploaded.
std::unique_ptr<BackendModel> backend_open_model(const Model& model);
// The model is uploaded.
std::unique_ptr<BackendContext> backend_open_context(std::shared_ptr<const Model> model, Plan plan);
double backend_read_bandwidth(uint32_t device, uint32_t n_threads, uint64_t n_bytes);
double backend_matrix_rate(uint32_t device);

}  // namespace rf
