// The GPU driver, opened at run time: libamdhip64 (ROCm 5, 6 or 7) or libcuda. Both libraries are built from this one source and
// are linked to neither; the calls below mean the same on both sides, so everything above this file exists once.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "../error.h"

namespace rf {
namespace gpu {

#if defined(RF_AMD) == defined(RF_NVIDIA)
#error "define RF_AMD or RF_NVIDIA: which driver this library opens"
#endif

using Address = uint64_t;  // of device memory; 0 is none

// X(member, AMD's symbol, NVIDIA's symbol, parameters): every function returns an int, 0 for success. A member whose symbol has a
// question mark in front is NULL where the driver is too old for it.
#define RF_DRIVER_FUNCTIONS(X)                                                                                                \
  X(init, "hipInit", "cuInit", (unsigned flags))                                                                              \
  X(get_device_count, "hipGetDeviceCount", "cuDeviceGetCount", (int* count))                                                  \
  X(device_name, "hipDeviceGetName", "cuDeviceGetName", (char* name, int capacity, int device))                               \
  X(device_attribute, "hipDeviceGetAttribute", "cuDeviceGetAttribute", (int* value, int attribute, int device))               \
  X(device_memory, "hipDeviceTotalMem", "cuDeviceTotalMem_v2", (size_t* bytes, int device))                                   \
  X(version, "hipRuntimeGetVersion", "cuDriverGetVersion", (int* version))                                                    \
  X(memory_info, "hipMemGetInfo", "cuMemGetInfo_v2", (size_t* free, size_t* total))                                           \
  X(allocate, "hipMalloc", "cuMemAlloc_v2", (Address * memory, size_t bytes))                                                 \
  X(free, "hipFree", "cuMemFree_v2", (Address memory))                                                                        \
  X(allocate_host, "hipHostMalloc", "cuMemHostAlloc", (void** memory, size_t bytes, unsigned flags))                          \
  X(free_host, "hipHostFree", "cuMemFreeHost", (void* memory))                                                                \
  X(copy_to_device, "hipMemcpyHtoDAsync", "cuMemcpyHtoDAsync_v2", (Address to, const void* from, size_t bytes, void* stream)) \
  X(copy_to_host, "hipMemcpyDtoHAsync", "cuMemcpyDtoHAsync_v2", (void* to, Address from, size_t bytes, void* stream))         \
  X(fill, "hipMemsetD8Async", "cuMemsetD8Async", (Address to, unsigned char value, size_t bytes, void* stream))               \
  X(create_stream, "hipStreamCreateWithFlags", "cuStreamCreate", (void** stream, unsigned flags))                             \
  X(destroy_stream, "hipStreamDestroy", "cuStreamDestroy_v2", (void* stream))                                                 \
  X(synchronize, "hipStreamSynchronize", "cuStreamSynchronize", (void* stream))                                               \
  X(load_module, "hipModuleLoadData", "cuModuleLoadData", (void** module, const void* image))                                 \
  X(unload_module, "hipModuleUnload", "cuModuleUnload", (void* module))                                                       \
  X(get_function, "hipModuleGetFunction", "cuModuleGetFunction", (void** function, void* module, const char* name))           \
  X(launch, "hipModuleLaunchKernel", "cuLaunchKernel",                                                                        \
    (void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z, \
     unsigned shared_bytes, void* stream, void** arguments, void** extra))                                                    \
  X(begin_capture, "hipStreamBeginCapture", "cuStreamBeginCapture_v2", (void* stream, int mode))                              \
  X(end_capture, "hipStreamEndCapture", "cuStreamEndCapture", (void* stream, void** graph))                                   \
  X(instantiate, "hipGraphInstantiateWithFlags", "cuGraphInstantiateWithFlags", (void** exec, void* graph, uint64_t flags))   \
  X(launch_graph, "hipGraphLaunch", "cuGraphLaunch", (void* exec, void* stream))                                              \
  X(destroy_graph, "hipGraphDestroy", "cuGraphDestroy", (void* graph))                                                        \
  X(destroy_graph_exec, "hipGraphExecDestroy", "cuGraphExecDestroy", (void* exec))

#if defined(RF_NVIDIA)
// CUlaunchConfig and CUlaunchAttribute.
struct LaunchAttribute {
  int id;
  char padding[4];
  int value[16];
};
struct LaunchConfig {
  unsigned grid[3], block[3], shared_bytes;
  void* stream;
  const LaunchAttribute* attributes;
  unsigned n_attributes;
};
constexpr int kProgrammaticSerialization = 6;
#endif

#if defined(RF_AMD)
#define RF_DRIVER_OWN(X)                                         \
  X(set_device, "hipSetDevice", "", (int device))                \
  X(set_device_flags, "hipSetDeviceFlags", "", (unsigned flags)) \
  X(properties, "", "", (void* properties, int device)) /* hipGetDevicePropertiesR0600, else hipGetDeviceProperties; may be NULL */
constexpr int kAttributeIntegrated = 16, kAttributeComputeUnits = 63, kAttributeLanes = 87;
constexpr const char* kVendor = "AMD";
#else
#define RF_DRIVER_OWN(X)                                                                                                \
  X(retain_primary, "", "cuDevicePrimaryCtxRetain", (void** context, int device))                                       \
  X(set_primary_flags, "", "cuDevicePrimaryCtxSetFlags_v2", (int device, unsigned flags))                               \
  X(set_current, "", "cuCtxSetCurrent", (void* context))                                                                \
  X(launch_with, "", "?cuLaunchKernelEx", (const LaunchConfig* config, void* function, void** arguments, void** extra)) \
  X(set_function_attribute, "", "cuFuncSetAttribute", (void* function, int attribute, int value))                       \
  X(error_text, "", "cuGetErrorString", (int error, const char** text))
constexpr int kAttributeIntegrated = 18, kAttributeComputeUnits = 16, kAttributeLanes = 10;
constexpr int kMaxDynamicShared = 8;
constexpr int kAttributeMajor = 75, kAttributeMinor = 76;
constexpr const char* kVendor = "NVIDIA";
#endif

constexpr int kOutOfMemory = 2, kNoDevice = 100, kInvalidDevice = 101;
constexpr unsigned kBlockingSync = 4;       // a waiting thread sleeps: no processor and no GPU spins
constexpr unsigned kStreamNonBlocking = 1;  // no order with the default stream
constexpr int kCaptureRelaxed = 2;

struct Driver {
#define X(member, amd, nvidia, parameters) int(*member) parameters = nullptr;
  RF_DRIVER_FUNCTIONS(X)
  RF_DRIVER_OWN(X)
#undef X
#if defined(RF_AMD)
  const char* (*error_text)(int error) = nullptr;
#endif
  std::string problem;  // why it cannot be used; empty when it can
  std::string file;     // the library that was opened
};

// Opened at the first call. Does not throw where there is no driver: `problem` says what is missing.
const Driver& driver();

std::string describe_error(int error);
// Throws for an error: RF_OUT_OF_MEMORY where memory ran out, RF_DEVICE otherwise. what: what failed, for example "launching
// rf_embed".
void check(int error, const char* what);

}  // namespace gpu
}  // namespace rf
