#pragma once
#include <cstdint>

namespace rf {

// Bytes that the system can provide, including what it would free from its caches.
uint64_t available_memory();

// Zeroed memory at a page boundary. The system backs it when it is first touched, with large pages where it can.
class Memory {
 public:
  Memory(uint64_t n_bytes, const char* what);  // what: its name in the error when there is not enough
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
