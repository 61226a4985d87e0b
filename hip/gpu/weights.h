// A model's weights on a device: one allocation, filled piece by piece from the files through pinned memory.
#pragma once
#include <optional>

#include "../backend.h"
#include "args.h"
#include "device.h"

namespace rf {
namespace gpu {

class GpuModel final : public BackendModel {
 public:
  explicit GpuModel(const Model& model);

  void upload(Model& model, uint64_t max_bytes, uint64_t* done, uint64_t* total) override;
  const std::shared_ptr<Gpu>& gpu() const { return gpu_; }
  // With `first` 0. The floats of a vector are plane 0.
  const DeviceWeight& weight(size_t tensor) const { return weights_[tensor]; }

 private:
  struct Slot {  // one of two, so that the host fills one while the device copies from the other
    explicit Slot(const std::shared_ptr<Gpu>& gpu);
    PinnedMemory host;
    DeviceMemory blocks;  // as in the file, before they are cut into planes
    Stream stream;
  };

  uint64_t upload_piece(const Model& model, Slot& slot);

  std::shared_ptr<Gpu> gpu_;
  DeviceMemory memory_;
  std::vector<DeviceWeight> weights_;
  std::unique_ptr<Slot> slots_[2];
  int next_slot_ = 0;
  size_t tensor_ = 0;   // the tensor being uploaded
  uint64_t row_ = 0;    // plain formats: its rows that are done
  uint64_t block_ = 0;  // block formats: its blocks that are done
  uint64_t done_ = 0, total_ = 0;
};

}  // namespace gpu
}  // namespace rf
