// The interface between a backend and abi.cpp, which owns handles, errors and validation.
#pragma once
#include <memory>

#include "step.h"

namespace rf {

// An opened plan with its arena and caches. abi.cpp calls it under a lock, so one step runs at a time.
class BackendContext {
 public:
  virtual ~BackendContext() = default;
  virtual void step(const StepView& step, RfStepResult* results) = 0;
  // The caller has checked offset and size against the buffer.
  virtual void read_buffer(const RfBuffer& buffer, uint64_t offset, uint8_t* data, uint64_t n_bytes) = 0;
  virtual void write_buffer(const RfBuffer& buffer, uint64_t offset, const uint8_t* data, uint64_t n_bytes) = 0;
  virtual RfContextInfo info() const = 0;
};

// A model's weights in device memory. abi.cpp calls it under a lock.
class BackendModel {
 public:
  virtual ~BackendModel() = default;
  // Copies about max_bytes more of the model's weights, and returns how many bytes are there (done) of how many (total).
  virtual void upload(Model& model, uint64_t max_bytes, uint64_t* done, uint64_t* total) = 0;
};

uint32_t backend_device_count();
// Why backend_device_count() is 0, as a message; empty when it is not.
std::string backend_device_problem();
RfDeviceInfo backend_device_info(uint32_t device);
// Whether the backend copies weights to the device, so that each file is read only once.
bool backend_copies_weights();
// Allocates device memory for a model whose tensors are known. NULL for a backend that reads the weights in host memory.
std::unique_ptr<BackendModel> backend_open_model(const Model& model);
// The model has been uploaded.
std::unique_ptr<BackendContext> backend_open_context(std::shared_ptr<const Model> model, Plan plan);
double backend_read_bandwidth(uint32_t device, uint32_t n_threads, uint64_t n_bytes);
double backend_matrix_rate(uint32_t device);

}  // namespace rf
