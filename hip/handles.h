// A table from handles to objects. Handles are numbers, so one that was closed or never existed is an error and is never
// dereferenced.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "error.h"

namespace rf {

// All kinds of objects share one sequence of handles, so that a handle of one kind is never valid for another.
inline uint64_t next_handle() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

template <class T>
class Handles {
 public:
  explicit Handles(const char* what) : what_(what) {}

  uint64_t add(std::shared_ptr<T> object) {
    std::lock_guard<std::mutex> lock(mutex_);
    const uint64_t handle = next_handle();
    objects_.emplace(handle, std::move(object));
    return handle;
  }
  std::shared_ptr<T> get(uint64_t handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = objects_.find(handle);
    if (found == objects_.end()) fail(RF_INVALID_HANDLE, "%s %llu is not open", what_, (unsigned long long)handle);
    return found->second;
  }
  // Returns the object, so that it is destroyed outside the lock, after its last user has released it.
  std::shared_ptr<T> remove(uint64_t handle) {
    std::shared_ptr<T> object = get(handle);
    std::lock_guard<std::mutex> lock(mutex_);
    objects_.erase(handle);
    return object;
  }

 private:
  const char* what_;
  std::mutex mutex_;
  std::unordered_map<uint64_t, std::shared_ptr<T>> objects_;
};

}  // namespace rf
