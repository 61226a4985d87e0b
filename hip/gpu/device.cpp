#include "device.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>

#include "../backend.h"
#include "args.h"
#include "inflate.h"

namespace rf {
namespace gpu {

namespace {

int attribute(int which, int ordinal) {
  int value = 0;
  check(driver().device_attribute(&value, which, ordinal), "asking for a property of the device");
  return value;
}

bool built(const std::string& arch) {
  for (uint32_t i = 0; i < rf_code_object_count; i++)
    if (arch == rf_code_objects[i].arch) return true;
  return false;
}

#if defined(RF_AMD)

// The name lies at another place in each version of the property struct; it is the one text in it that begins with gfx.
std::string architecture(int ordinal) {
  std::vector<char> properties(64 << 10);
  if (driver().properties && !driver().properties(properties.data(), ordinal))
    for (size_t i = 256; i + 16 < properties.size(); i++)  // the first 256 bytes are the product's name
      if (!memcmp(&properties[i], "gfx", 3) && isxdigit(properties[i + 3])) {
        size_t end = i + 3;
        while (isxdigit(properties[end])) end++;
        return {&properties[i], end - i};
      }
  return {};
}

// For a device without a name: the first architecture whose code the driver loads on it.
std::string architecture_by_trial(const DeviceFacts& device) {
  use_device(device);
  for (uint32_t i = 0; i < rf_code_object_count; i++) {
    void* module = nullptr;
    if (driver().load_module(&module, unpack(rf_code_objects[i]).get())) continue;
    driver().unload_module(module);
    return rf_code_objects[i].arch;
  }
  return {};
}

void find_architecture(DeviceFacts* device) {
  device->arch = architecture(device->ordinal);
  if (device->arch.empty()) device->arch = architecture_by_trial(*device);
  if (built(device->arch)) device->code = device->arch;
}

#else

// Machine code runs on its own and on later minor versions of the same generation; PTX on everything later.
void find_architecture(DeviceFacts* device) {
  const int major = attribute(kAttributeMajor, device->ordinal), minor = attribute(kAttributeMinor, device->ordinal);
  device->arch = "sm_" + std::to_string(major) + std::to_string(minor);
  for (int m = minor; m >= 0 && device->code.empty(); m--) {
    const std::string code = "sm_" + std::to_string(major) + std::to_string(m);
    if (built(code)) device->code = code;
  }
  if (device->code.empty() && major >= 9 && built("compute_90")) device->code = "compute_90";
  const char* wanted = getenv("ROCMFORGE_OVERLAP");  // for debugging: with 0 every kernel starts after its predecessor has ended
  device->overlaps = driver().launch_with && major >= 9 && !(wanted && !strcmp(wanted, "0"));
}

#endif

struct Found {
  std::vector<DeviceFacts> devices;
  std::string problem;
};

Found find_devices() {
  Found found;
  const Driver& d = driver();
  found.problem = d.problem;
  int count = 0;
  if (found.problem.empty()) {
    const int error = d.get_device_count(&count);
    if (error && error != kNoDevice) found.problem = "the " + std::string(kVendor) + " driver fails: " + describe_error(error);
  }
  if (!found.problem.empty()) return found;
  const char* wanted = getenv("ROCMFORGE_ALLOW_INTEGRATED");
  const bool allow_integrated = wanted && !strcmp(wanted, "1");
  std::string skipped;
  for (int ordinal = 0; ordinal < count; ordinal++) {
    DeviceFacts device{ordinal, {}, {}, {}, 0, 0, 0};
    char name[256] = {};
    check(d.device_name(name, sizeof name - 1, ordinal), "asking for the device's name");
    device.name = name;
    if (!allow_integrated && attribute(kAttributeIntegrated, ordinal)) {
      skipped = device.name;
      continue;
    }
    size_t memory = 0;
    check(d.device_memory(&memory, ordinal), "asking for the device's memory");
    device.memory = memory;
    device.n_compute_units = uint32_t(attribute(kAttributeComputeUnits, ordinal));
    device.lanes = uint32_t(attribute(kAttributeLanes, ordinal));
    find_architecture(&device);
    found.devices.push_back(device);
  }
  if (found.devices.empty())
    found.problem = skipped.empty() ? std::string("the machine has no ") + kVendor + " GPU that its driver can use"
                                    : skipped + " is an integrated GPU, which is not used unless ROCMFORGE_ALLOW_INTEGRATED=1";
  return found;
}

const Found& found() {
  static const Found result = [] {
    try {
      return find_devices();
    } catch (const Error& error) {
      Found none;
      none.problem = error.message;
      return none;
    }
  }();
  return result;
}

}  // namespace

const std::vector<DeviceFacts>& devices() { return found().devices; }
const std::string& devices_problem() { return found().problem; }

std::unique_ptr<uint8_t[]> unpack(const CodeObject& object) {
  auto code = std::make_unique<uint8_t[]>(object.size + 1);
  if (!inflate(object.data, object.n_bytes, code.get(), object.size))
    fail(RF_INTERNAL, "the code of %s for %s is damaged inside this library", object.unit, object.arch);
  return code;
}

std::string built_architectures() {
  std::string text;
  for (uint32_t i = 0; i < rf_code_object_count; i++) {
    const std::string arch = rf_code_objects[i].arch;
    if (strcmp(rf_code_objects[i].unit, rf_code_objects[0].unit)) continue;
    text += (text.empty() ? "" : ", ") + arch;
  }
  return text;
}

void use_device(const DeviceFacts& device) {
#if defined(RF_AMD)
  check(driver().set_device(device.ordinal), "choosing the device");
  static std::mutex mutex;
  static std::vector<bool> prepared;
  std::lock_guard<std::mutex> lock(mutex);
  if (prepared.size() <= size_t(device.ordinal)) prepared.resize(size_t(device.ordinal) + 1);
  if (!prepared[size_t(device.ordinal)]) driver().set_device_flags(kBlockingSync);  // refused when another library was first
  prepared[size_t(device.ordinal)] = true;
#else
  static std::mutex mutex;
  static std::unordered_map<int, void*> contexts;
  void* context = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex);
    const auto known = contexts.find(device.ordinal);
    if (known == contexts.end()) {
      driver().set_primary_flags(device.ordinal, kBlockingSync);  // refused when another library was first
      check(driver().retain_primary(&context, device.ordinal), "opening the device");
      contexts.emplace(device.ordinal, context);
    } else {
      context = known->second;
    }
  }
  check(driver().set_current(context), "choosing the device");
#endif
}

uint64_t free_memory() {
  size_t free = 0, total = 0;
  check(driver().memory_info(&free, &total), "asking for the free memory");
  return free;
}

std::shared_ptr<Gpu> Gpu::open(uint32_t index) {
  static std::mutex mutex;
  static std::unordered_map<uint32_t, std::weak_ptr<Gpu>> open;
  std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<Gpu> gpu = open[index].lock();
  if (!gpu) open[index] = gpu = std::make_shared<Gpu>(devices().at(index));
  return gpu;
}

Gpu::Gpu(const DeviceFacts& facts) : facts_(facts) {
  if (facts.code.empty())
    fail(RF_UNSUPPORTED, "%s is a %s; this library was built for %s", facts.name.c_str(),
         facts.arch.empty() ? "GPU of an unknown architecture" : facts.arch.c_str(), built_architectures().c_str());
  for (uint32_t i = 0; i < rf_code_object_count; i++)
    if (facts.code == rf_code_objects[i].arch) units_.push_back({&rf_code_objects[i], nullptr, nullptr});
  use();
}

Gpu::~Gpu() {
  try {
    use();
  } catch (const Error&) {
    return;  // the device is gone, and all that it held
  }
  for (const Unit& unit : units_)
    if (unit.module) driver().unload_module(unit.module);
}

namespace {

// The unit (hip/gpu/kernels/UNIT.hip) of a kernel, by its prefix; all others are in rows.hip.
const char* unit_of(const std::string& kernel) {
  static const struct {
    const char *prefix, *unit;
  } kUnits[] = {
      {"rf_matvec_", "matvec"}, {"rf_attention_", "attention"}, {"rf_sample", "sample"},      {"rf_repack", "convert"},
      {"rf_embed", "convert"},  {"rf_to_", "convert"},          {"rf_copy_stream", "stream"}, {"rf_multiply_registers", "stream"}};
  if (kernel.rfind("rf_matmul_", 0) == 0) return kernel.find("_bf16") != std::string::npos ? "matmul-bf16" : "matmul-f16";
  for (const auto& entry : kUnits)
    if (kernel.rfind(entry.prefix, 0) == 0) return entry.unit;
  return "rows";
}

}  // namespace

void* Gpu::find(Unit* unit, const std::string& kernel) {
  if (!unit->module) {
    unit->code = unpack(*unit->object);
    check(driver().load_module(&unit->module, unit->code.get()), "loading kernels");
  }
  void* function = nullptr;
  return driver().get_function(&function, unit->module, kernel.c_str()) ? nullptr : function;
}

void* Gpu::kernel(const std::string& name, uint32_t shared_bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto known = kernels_.find(name);
  if (known != kernels_.end()) return known->second;
  void* function = nullptr;
  const std::string unit_name = unit_of(name);
  for (Unit& unit : units_)
    if (unit_name == unit.object->unit) function = find(&unit, name);
  if (!function) fail(RF_INTERNAL, "this library has no kernel %s for %s", name.c_str(), facts_.code.c_str());
#if defined(RF_NVIDIA)
  // More than 48 KiB needs the function's limit to be raised.
  if (shared_bytes)
    check(driver().set_function_attribute(function, kMaxDynamicShared, int(shared_bytes)), "raising a kernel's shared memory");
#else
  (void)shared_bytes;
#endif
  kernels_.emplace(name, function);
  return function;
}

DeviceMemory::DeviceMemory(std::shared_ptr<Gpu> gpu, uint64_t n_bytes, const char* what) : gpu_(std::move(gpu)), size_(n_bytes) {
  if (!n_bytes) return;
  gpu_->use();
  const int error = driver().allocate(&address_, n_bytes);
  if (!error) return;
  address_ = 0;
  if (error != kOutOfMemory) check(error, what);
  fail(RF_OUT_OF_MEMORY, "%s needs %.2f GiB, %s has %.2f GiB free", what, double(n_bytes) / 0x1p30, gpu_->facts().name.c_str(),
       double(free_memory()) / 0x1p30);
}
DeviceMemory::~DeviceMemory() {
  if (!address_) return;
  try {
    gpu_->use();
  } catch (const Error&) {
    return;
  }
  driver().free(address_);
}
DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(gpu_, other.gpu_);
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  return *this;
}

PinnedMemory::PinnedMemory(std::shared_ptr<Gpu> gpu, uint64_t n_bytes, const char* what) : gpu_(std::move(gpu)), size_(n_bytes) {
  if (!n_bytes) return;
  gpu_->use();
  const int error = driver().allocate_host(&data_, n_bytes, 0);
  if (!error) return;
  data_ = nullptr;
  if (error != kOutOfMemory) check(error, what);
  fail(RF_OUT_OF_MEMORY,
       "%s needs %.2f MiB of pinned host memory, and the system refuses it; free host memory or raise the memlock limit", what,
       double(n_bytes) / 0x1p20);
}
PinnedMemory::~PinnedMemory() {
  if (!data_) return;
  try {
    gpu_->use();
  } catch (const Error&) {
    return;
  }
  driver().free_host(data_);
}
PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  std::swap(gpu_, other.gpu_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Stream::Stream(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {
  gpu_->use();
  check(driver().create_stream(&handle_, kStreamNonBlocking), "making a stream");
}
Stream::~Stream() {
  try {
    gpu_->use();
  } catch (const Error&) {
    return;
  }
  driver().synchronize(handle_);  // the memory that running kernels use is freed next
  driver().destroy_stream(handle_);
}
void Stream::wait() const { check(driver().synchronize(handle_), "running the kernels"); }

void Stream::launch(void* kernel, const char* name, uint32_t grid_x, uint32_t grid_y, uint32_t grid_z, uint32_t threads,
                    void* arguments, size_t shared_bytes, bool overlaps) const {
  void* parameters[1] = {arguments};
#if defined(RF_NVIDIA)
  if (overlaps && gpu_->facts().overlaps) {
    const LaunchAttribute attribute{kProgrammaticSerialization, {}, {1}};
    const LaunchConfig config{{grid_x, grid_y, grid_z}, {threads, 1, 1}, unsigned(shared_bytes), handle_, &attribute, 1};
    const int error = driver().launch_with(&config, kernel, parameters, nullptr);
    if (error) check(error, (std::string("launching ") + name).c_str());
    return;
  }
#else
  (void)overlaps;
#endif
  const int error =
      driver().launch(kernel, grid_x, grid_y, grid_z, threads, 1, 1, unsigned(shared_bytes), handle_, parameters, nullptr);
  if (error) check(error, (std::string("launching ") + name).c_str());
}

}  // namespace gpu

uint32_t backend_device_count() { return uint32_t(gpu::devices().size()); }
std::string backend_device_problem() { return gpu::devices_problem(); }

RfDeviceInfo backend_device_info(uint32_t index) {
  const gpu::DeviceFacts& device = gpu::devices().at(index);
  if (device.code.empty())
    fail(RF_UNSUPPORTED, "%s is a %s; this library was built for %s", device.name.c_str(),
         device.arch.empty() ? "GPU of an unknown architecture" : device.arch.c_str(), gpu::built_architectures().c_str());
  gpu::use_device(device);
  RfDeviceInfo info{};
  strncpy(info.name, device.name.c_str(), sizeof info.name - 1);
  strncpy(info.arch, device.arch.c_str(), sizeof info.arch - 1);
  int version = 0;
  gpu::check(gpu::driver().version(&version), "asking for the driver's version");
#if defined(RF_AMD)
  // 60342134: HIP 6.3; the rest is a build number.
  const std::string text = "HIP " + std::to_string(version / 10000000) + "." + std::to_string(version / 100000 % 100);
#else
  const std::string text = "CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
#endif
  strncpy(info.driver, text.c_str(), sizeof info.driver - 1);
  info.memory_total = device.memory;
  info.memory_free = gpu::free_memory();
  info.n_compute_units = device.n_compute_units;
  info.lanes = device.lanes;
  return info;
}

}  // namespace rf
