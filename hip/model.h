// The weights of a model: files, which are only read, and a checked table of the tensors in them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "abi.h"

namespace rf {

// A file of weights: mapped, read whole into memory, or only opened (for a backend that copies the weights elsewhere).
class WeightFile {
 public:
  enum class Mode { kMap, kLoad, kOpen };
  WeightFile(const std::string& path, Mode mode);
  ~WeightFile();
  WeightFile(const WeightFile&) = delete;
  WeightFile& operator=(const WeightFile&) = delete;
  const uint8_t* data() const { return data_; }  // NULL when only opened
  uint64_t size() const { return size_; }
  // Copies n bytes at `offset`, which lie inside the file.
  void read(uint64_t offset, uint64_t n, uint8_t* out) const;

 private:
  void read_descriptor(uint64_t offset, uint64_t n, uint8_t* out) const;

  std::string path_;
  int fd_ = -1;
  uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
};

struct Tensor {
  uint32_t format;
  uint64_t rows, cols;
  uint64_t row_bytes;
  const uint8_t* data;  // [rows, row_bytes], host memory; NULL when its file is only opened, or was released
  uint32_t file;        // RF_FILE_CONSTANTS: the constants
  uint64_t offset;      // in its file or the constants
};

class BackendModel;

struct Model {
  Model();
  ~Model();
  uint32_t device = 0;
  std::vector<std::unique_ptr<WeightFile>> files;
  std::vector<uint8_t> constants;
  std::vector<Tensor> tensors;
  std::unique_ptr<BackendModel> backend;  // weights on the device; NULL where the backend reads host memory

  // Copies n bytes of a tensor's data from `offset` on.
  void read(const Tensor& tensor, uint64_t offset, uint64_t n, uint8_t* out) const;
  // Closes the files and clears `data` of every tensor. Called when the device has its copy of the weights.
  void release_files();
};

// A row of the list in formats.h, with its decoder.
struct FormatInfo {
  uint32_t id;
  const char* name;
  uint32_t elems, bytes;
  void (*decode_row)(const uint8_t* blocks, uint64_t n_elems, float* out);
};
// NULL for a number that is not in the list.
const FormatInfo* find_format(uint32_t id);
const FormatInfo* all_formats(uint32_t* count);

// flags: RfModelFlag.
std::shared_ptr<Model> open_model(uint32_t device, uint32_t flags, const char* paths, uint64_t paths_bytes, uint32_t n_files,
                                  const RfTensor* tensors, uint64_t n_tensors, const uint8_t* constants, uint64_t constants_bytes);

}  // namespace rf
