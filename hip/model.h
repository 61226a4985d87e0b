// The weights: files mapped read-only, and a checked table of tensors that point into them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "abi.h"

namespace rf {

// A file mapped read-only for as long as the object lives.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }

 private:
  const uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
};

struct Tensor {
  uint32_t format;
  uint64_t rows, cols;
  uint64_t row_bytes;
  const uint8_t* data;  // [rows, row_bytes], host memory
};

struct Model {
  std::vector<std::unique_ptr<MappedFile>> files;
  std::vector<uint8_t> constants;
  std::vector<Tensor> tensors;
};

// Facts of a block format, from formats.h; nullptr for a number that is not in the list.
struct FormatInfo {
  uint32_t id;
  const char* name;
  uint32_t elems, bytes;
  void (*decode_row)(const uint8_t* blocks, uint64_t n_elems, float* out);
};
const FormatInfo* find_format(uint32_t id);
const FormatInfo* all_formats(uint32_t* count);

std::shared_ptr<Model> open_model(const char* paths, uint64_t paths_bytes, uint32_t n_files, const RfTensor* tensors,
                                  uint64_t n_tensors, const uint8_t* constants, uint64_t constants_bytes);

}  // namespace rf
