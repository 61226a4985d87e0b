// A fixed team of threads that run one function together. The caller is thread 0; the others sleep between jobs.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace rf {

class Pool {
 public:
  explicit Pool(uint32_t n_threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  uint32_t size() const { return uint32_t(threads_.size()) + 1; }
  // Runs job(thread) on every thread and returns when all are done. The job must not throw.
  void run(const std::function<void(uint32_t)>& job);
  // Inside a job: waits for all threads of the team.
  void barrier();

 private:
  void work(uint32_t index);

  std::vector<std::thread> threads_;
  const std::function<void(uint32_t)>* job_ = nullptr;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::atomic<uint64_t> epoch_{0};  // jobs started
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};
};

}  // namespace rf
