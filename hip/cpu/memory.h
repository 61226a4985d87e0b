#pragma once
#include <cstdint>

namespace rf {

// Bytes that could be had, counting caches that the system would give up.
uint64_t available_memory();

// Zeroed memory that the system backs only when it is touched, on 64-byte bounds and in large pages where it can.
class Memory {
 public:
  Memory(uint64_t n_bytes, const char* what);  // what: for the error when there is not enough
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  uint64_t size_;
};

}  // namespace rf
