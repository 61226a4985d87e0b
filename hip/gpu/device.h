// The GPUs of this machine, and an opened one: its kernels, memory and streams as objects that free what they hold.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "driver.h"

namespace rf {
namespace gpu {

// Kernels of one family for one architecture, inside this library (made by scripts/build/code-objects.ts).
struct CodeObject {
  const char* unit;     // the kernels' source file: "rows"
  const char* arch;     // gfx1100; sm_90; compute_90 for PTX that the driver compiles
  const uint8_t* data;  // raw DEFLATE
  uint64_t n_bytes;     // of it
  uint64_t size;        // of the code
};
extern "C" const CodeObject rf_code_objects[];
extern "C" const uint32_t rf_code_object_count;

// The properties of a device, which need not be opened.
struct DeviceFacts {
  int ordinal;  // the driver's number
  std::string name;
  std::string arch;  // gfx1100 or sm_90
  std::string code;  // the architecture of the code objects that run on it; empty when this library has none
  uint32_t n_compute_units, lanes;
  uint64_t memory;
  bool overlaps = false;  // can start a kernel before its predecessor has ended
};
const std::vector<DeviceFacts>& devices();
// Why devices() is empty, as a message.
const std::string& devices_problem();
// The decompressed code, followed by a zero (PTX is text).
std::unique_ptr<uint8_t[]> unpack(const CodeObject& object);
// "gfx90a, gfx942, …": for the message about a device without code.
std::string built_architectures();

// Makes a device current for the calling thread; its driver context lives until the process ends.
void use_device(const DeviceFacts& device);
// Bytes, of the current device.
uint64_t free_memory();

// A device with its kernels; shared by the models and contexts on it, and unloaded with the last of them.
class Gpu {
 public:
  // Thread-safe. Throws when this library has no code for the device.
  static std::shared_ptr<Gpu> open(uint32_t index);
  explicit Gpu(const DeviceFacts& facts);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  const DeviceFacts& facts() const { return facts_; }
  void use() const { use_device(facts_); }
  // By the name in hip/gpu/kernels; thread-safe. shared_bytes: the dynamic shared memory that it is launched with.
  void* kernel(const std::string& name, uint32_t shared_bytes);

 private:
  const DeviceFacts& facts_;
  struct Unit {  // kernels of one source file; loaded when the first of them is asked for
    const CodeObject* object;
    std::unique_ptr<uint8_t[]> code;  // kept, because not every driver documents that it copies it
    void* module = nullptr;
  };
  void* find(Unit* unit, const std::string& kernel);

  std::vector<Unit> units_;
  std::mutex mutex_;
  std::unordered_map<std::string, void*> kernels_;
};

// The destructors below make their device current first: objects may be dropped by any thread.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  // what: its name in the error when the device does not have that much.
  DeviceMemory(std::shared_ptr<Gpu> gpu, uint64_t n_bytes, const char* what);
  ~DeviceMemory();
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  Address address() const { return address_; }
  uint64_t size() const { return size_; }

 private:
  std::shared_ptr<Gpu> gpu_;
  Address address_ = 0;
  uint64_t size_ = 0;
};

// Pinned host memory, which the device reads and writes by DMA.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(std::shared_ptr<Gpu> gpu, uint64_t n_bytes, const char* what);
  ~PinnedMemory();
  PinnedMemory(PinnedMemory&& other) noexcept { *this = std::move(other); }
  PinnedMemory& operator=(PinnedMemory&& other) noexcept;
  uint8_t* data() const { return static_cast<uint8_t*>(data_); }
  uint64_t size() const { return size_; }

 private:
  std::shared_ptr<Gpu> gpu_;
  void* data_ = nullptr;
  uint64_t size_ = 0;
};

class Stream {
 public:
  explicit Stream(std::shared_ptr<Gpu> gpu);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  void* handle() const { return handle_; }
  // Sleeps until all queued work is done, and throws if any of it failed.
  void wait() const;
  // overlaps: the kernel may begin before its predecessor has ended (begin_kernel in kernels/platform.h), where the device can do
  // that.
  void launch(void* kernel, const char* name, uint32_t grid_x, uint32_t grid_y, uint32_t grid_z, uint32_t threads, void* arguments,
              size_t shared_bytes = 0, bool overlaps = false) const;

 private:
  std::shared_ptr<Gpu> gpu_;
  void* handle_ = nullptr;
};

}  // namespace gpu
}  // namespace rf
