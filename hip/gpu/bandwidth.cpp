// Measures how fast a device copies its own memory and multiplies matrices in registers: the limits that kernels are compared with.
#include <algorithm>
#include <chrono>

#include "../backend.h"
#include "args.h"
#include "device.h"

namespace rf {

double backend_read_bandwidth(uint32_t index, uint32_t, uint64_t n_bytes) {
  using namespace gpu;
  const std::shared_ptr<Gpu> gpu = Gpu::open(index);
  const uint64_t each = n_bytes / 2 / 4096 * 4096;
  const DeviceMemory memory(gpu, 2 * each, "the bandwidth measurement");
  const Stream stream(gpu);
  check(driver().fill(memory.address(), 1, 2 * each, stream.handle()), "filling memory");
  StreamArgs args{reinterpret_cast<const uint8_t*>(memory.address()), reinterpret_cast<uint8_t*>(memory.address() + each), each};
  void* kernel = gpu->kernel("rf_copy_stream", 0);
  const uint32_t blocks = uint32_t(std::min<uint64_t>(each / 16 / kBlock, 16 * gpu->facts().n_compute_units));
  constexpr int kCopies = 8;  // so that the cost of waiting for the stream does not matter
  double best = 0;
  for (int round = 0; round < 6; round++) {
    stream.wait();
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kCopies; i++) stream.launch(kernel, "rf_copy_stream", blocks, 1, 1, kBlock, &args);
    stream.wait();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, kCopies * 2 * double(each) / seconds);
  }
  return best;
}

double backend_matrix_rate(uint32_t index) {
  using namespace gpu;
  const std::shared_ptr<Gpu> gpu = Gpu::open(index);
  const uint32_t blocks = 8 * gpu->facts().n_compute_units;
  const DeviceMemory memory(gpu, uint64_t(blocks) * kBlock * sizeof(float), "the matrix rate");
  const Stream stream(gpu);
  void* kernel = gpu->kernel("rf_multiply_registers", 0);
  const double waves = double(blocks) * kBlock / gpu->facts().lanes;
  RateArgs args{reinterpret_cast<float*>(memory.address()), 64};
  double best = 0;
  // More rounds until a run takes some milliseconds: launch and wait must not matter, and a slow GPU must not take a second.
  for (double seconds = 0; seconds < 5e-3; args.rounds *= 2) {
    stream.wait();
    const auto start = std::chrono::steady_clock::now();
    stream.launch(kernel, "rf_multiply_registers", blocks, 1, 1, kBlock, &args);
    stream.wait();
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, waves * args.rounds * kRateProducts * 2 * 16 * 16 * 16 / seconds);
  }
  return best;
}

}  // namespace rf
