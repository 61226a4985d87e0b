#include "weights.h"

#include <algorithm>
#include <cstring>

#include "../error.h"
#include "planes.h"

namespace rf {
namespace gpu {

namespace {

constexpr uint64_t kSlotBytes = 16 << 20;

// Rows of plain numbers must fit a slot, which those of language models do by far.
uint64_t row_stride(const Tensor& tensor) {
  const uint64_t stride = plain_stride(tensor.format, tensor.cols);
  if (stride > kSlotBytes)
    fail(RF_UNSUPPORTED, "a weight row of %llu numbers is longer than the GPU backend supports; use --device cpu",
         (unsigned long long)tensor.cols);
  return stride;
}

}  // namespace

GpuModel::Slot::Slot(const std::shared_ptr<Gpu>& gpu)
    : host(gpu, kSlotBytes, "the upload"), blocks(gpu, kSlotBytes, "the upload"), stream(gpu) {}

GpuModel::GpuModel(const Model& model) : gpu_(Gpu::open(model.device)) {
  uint64_t bytes = 0;
  for (const Tensor& tensor : model.tensors) {
    if (tensor.rows > UINT32_MAX || tensor.cols > UINT32_MAX)
      fail(RF_UNSUPPORTED, "a weight of %llu × %llu has more rows or columns than the GPU backend supports; use --device cpu",
           (unsigned long long)tensor.rows, (unsigned long long)tensor.cols);
    if (plain_format(tensor.format)) row_stride(tensor);
    const uint32_t n_planes = plane_table(tensor.format).n_planes;
    bytes = checked_add(bytes, plane_offset(tensor.format, n_planes, tensor.rows, tensor.cols), "the weights");
    total_ += tensor.rows * tensor.row_bytes;
  }
  memory_ = DeviceMemory(gpu_, bytes, "the model's weights");
  Address at = memory_.address();
  for (const Tensor& tensor : model.tensors) {
    DeviceWeight weight{};
    weight.format = tensor.format;
    weight.rows = uint32_t(tensor.rows);
    weight.cols = uint32_t(tensor.cols);
    const uint32_t n_planes = plane_table(tensor.format).n_planes;
    for (uint32_t i = 0; i < n_planes; i++)
      weight.plane[i] = reinterpret_cast<const uint8_t*>(at + plane_offset(tensor.format, i, tensor.rows, tensor.cols));
    at += plane_offset(tensor.format, n_planes, tensor.rows, tensor.cols);
    weights_.push_back(weight);
  }
}

void GpuModel::upload(Model& model, uint64_t max_bytes, uint64_t* done, uint64_t* total) {
  gpu_->use();
  if (tensor_ < model.tensors.size()) {
    for (auto& slot : slots_)
      if (!slot) slot = std::make_unique<Slot>(gpu_);
    const uint64_t until = max_bytes < total_ - done_ ? done_ + max_bytes : total_;
    while (tensor_ < model.tensors.size() && done_ < until) {
      Slot& slot = *slots_[next_slot_];
      next_slot_ ^= 1;
      slot.stream.wait();
      done_ += upload_piece(model, slot);
    }
    if (tensor_ == model.tensors.size()) {
      for (auto& slot : slots_) {
        slot->stream.wait();
        slot.reset();
      }
      model.release_files();
    }
  }
  *done = done_;
  *total = total_;
}

// Queues the next piece of the current tensor, and returns how many bytes of the file it has.
uint64_t GpuModel::upload_piece(const Model& model, Slot& slot) {
  const Tensor& tensor = model.tensors[tensor_];
  const DeviceWeight& weight = weights_[tensor_];
  uint8_t* host = slot.host.data();
  bool finished;
  uint64_t n_bytes;
  if (plain_format(tensor.format)) {
    const uint64_t stride = row_stride(tensor), n_rows = std::min(kSlotBytes / stride, tensor.rows - row_);
    n_bytes = n_rows * tensor.row_bytes;
    if (stride == tensor.row_bytes) {
      model.read(tensor, row_ * tensor.row_bytes, n_bytes, host);
    } else {
      for (uint64_t r = 0; r < n_rows; r++) {
        model.read(tensor, (row_ + r) * tensor.row_bytes, tensor.row_bytes, host + r * stride);
        memset(host + r * stride + tensor.row_bytes, 0, stride - tensor.row_bytes);
      }
    }
    const Address to = Address(weight.plane[0]) + row_ * stride;
    check(driver().copy_to_device(to, host, n_rows * stride, slot.stream.handle()), "uploading weights");
    row_ += n_rows;
    finished = row_ == tensor.rows;
  } else {
    const uint64_t block_bytes = plane_table(tensor.format).bytes, n_blocks = tensor.rows * tensor.row_bytes / block_bytes;
    const uint64_t n = std::min(kSlotBytes / block_bytes, n_blocks - block_);
    n_bytes = n * block_bytes;
    model.read(tensor, block_ * block_bytes, n_bytes, host);
    check(driver().copy_to_device(slot.blocks.address(), host, n_bytes, slot.stream.handle()), "uploading weights");
    RepackArgs args{};
    args.blocks = reinterpret_cast<const uint8_t*>(slot.blocks.address());
    for (uint32_t i = 0; i < kMaxPlanes; i++) args.plane[i] = const_cast<uint8_t*>(weight.plane[i]);
    args.n_blocks = n;
    args.first_block = block_;
    args.format = tensor.format;
    const uint64_t items = (n_bytes + 3) / 4;
    slot.stream.launch(gpu_->kernel("rf_repack", 0), "rf_repack", uint32_t((items + kBlock - 1) / kBlock), 1, 1, kBlock, &args);
    block_ += n;
    finished = block_ == n_blocks;
  }
  if (finished) tensor_++, row_ = block_ = 0;
  return n_bytes;
}

}  // namespace gpu

bool backend_copies_weights() { return true; }
std::unique_ptr<BackendModel> backend_open_model(const Model& model) { return std::make_unique<gpu::GpuModel>(model); }

}  // namespace rf
