#include "pool.h"

#include <chrono>

namespace rf {

namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Steps of a running generation are some ten to a hundred microseconds apart, which is less than a sleeping thread takes to wake.
constexpr auto kSpinBetweenJobs = std::chrono::microseconds(200);
constexpr int kSpinAtBarrier = 4000;  // then yield: there may be more threads than processors

}  // namespace

Pool::Pool(uint32_t n_threads) {
  threads_.reserve(n_threads - 1);
  try {
    for (uint32_t i = 1; i < n_threads; i++) threads_.emplace_back([this, i] { work(i); });
  } catch (...) {
    // The system refuses more threads: the pool works with those that it has.
  }
}

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    epoch_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Pool::run(const std::function<void(uint32_t)>& job) {
  if (!threads_.empty()) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      epoch_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
  }
  job(0);
  barrier();
}

void Pool::barrier() {
  if (threads_.empty()) return;
  const uint32_t generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_.size()) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.store(generation + 1, std::memory_order_release);
    return;
  }
  for (int spins = 0; generation_.load(std::memory_order_acquire) == generation; spins++) {
    if (spins < kSpinAtBarrier) pause();
    else std::this_thread::yield();
  }
}

void Pool::work(uint32_t index) {
  for (uint64_t seen = 0;;) {
    const auto until = std::chrono::steady_clock::now() + kSpinBetweenJobs;
    for (int i = 0; epoch_.load(std::memory_order_acquire) == seen; i++) {
      pause();
      if (i % 64 == 63 && std::chrono::steady_clock::now() > until) break;
    }
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return epoch_.load(std::memory_order_relaxed) != seen; });
      if (stop_) return;
      seen = epoch_.load(std::memory_order_relaxed);
    }
    (*job_)(index);
    barrier();
  }
}

}  // namespace rf
