// The processor as a device: its kernels, its memory, and the bandwidth of that.
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "../backend.h"
#include "../error.h"
#include "kernels.h"
#include "memory.h"
#include "pool.h"

namespace rf {

const Kernels& best_kernels() {
  static const Kernels* best = [] {
    // For tests and measurements: selects an instruction set by name.
    const char* wanted = getenv("ROCMFORGE_CPU_ISA");
    for (const Kernels* k : {kernels_avx512(), kernels_avx2(), kernels_portable()})
      if (k && (!wanted || !*wanted || !strcmp(wanted, k->name))) return k;
    return static_cast<const Kernels*>(nullptr);
  }();
  if (!best)
    fail(RF_UNSUPPORTED,
         "ROCMFORGE_CPU_ISA=%s: this processor or build has no such kernels; use avx512-vnni, avx2 or portable, or unset it",
         getenv("ROCMFORGE_CPU_ISA"));
  return *best;
}

uint64_t available_memory() {
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("MemAvailable:", 0) == 0) return strtoull(line.c_str() + 13, nullptr, 10) * 1024;
  return uint64_t(sysconf(_SC_AVPHYS_PAGES)) * uint64_t(sysconf(_SC_PAGESIZE));
}

Memory::Memory(uint64_t n_bytes, const char* what) : size_(n_bytes) {
  if (!n_bytes) return;
  void* p = mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    fail(RF_OUT_OF_MEMORY, "%s needs %.2f GiB, this machine has %.2f GiB free", what, double(n_bytes) / 0x1p30,
         double(available_memory()) / 0x1p30);
  madvise(p, n_bytes, MADV_HUGEPAGE);
  data_ = static_cast<uint8_t*>(p);
}

Memory::~Memory() {
  if (data_) munmap(data_, size_);
}

namespace {

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  return "CPU";
}

}  // namespace

uint32_t backend_device_count() { return 1; }
std::string backend_device_problem() { return {}; }
bool backend_copies_weights() { return false; }
std::unique_ptr<BackendModel> backend_open_model(const Model&) { return nullptr; }

RfDeviceInfo backend_device_info(uint32_t) {
  RfDeviceInfo info{};
  strncpy(info.name, cpu_name().c_str(), sizeof info.name - 1);
  strncpy(info.arch, best_kernels().name, sizeof info.arch - 1);
  const auto page = uint64_t(sysconf(_SC_PAGESIZE));
  info.memory_total = uint64_t(sysconf(_SC_PHYS_PAGES)) * page;
  info.memory_free = available_memory();
  info.n_compute_units = std::max(1u, std::thread::hardware_concurrency());
  info.lanes = best_kernels().lanes;
  return info;
}

double backend_read_bandwidth(uint32_t, uint32_t n_threads, uint64_t n_bytes) {
  const Kernels& kernels = best_kernels();
  const Memory memory(n_bytes, "the bandwidth measurement");
  memset(memory.data(), 1, n_bytes);
  Pool pool(n_threads);
  std::atomic<uint64_t> keep{0};
  double best = 0;
  for (int round = 0; round < 5; round++) {
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](uint32_t thread) {
      const uint64_t begin = n_bytes * thread / pool.size() / 64 * 64, end = n_bytes * (thread + 1) / pool.size() / 64 * 64;
      keep.fetch_xor(kernels.read_stream(memory.data() + begin, end - begin), std::memory_order_relaxed);
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, double(n_bytes) / seconds);
  }
  return best;
}

double backend_matrix_rate(uint32_t) { fail(RF_UNSUPPORTED, "the CPU backend has no matrix units to measure"); }

}  // namespace rf
