#include "model.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "backend.h"
#include "decode.h"
#include "error.h"

namespace rf {

WeightFile::WeightFile(const std::string& path, Mode mode) : path_(path) {
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) fail(RF_IO, "cannot open %s: %s", path.c_str(), strerror(errno));
  struct stat info;
  const bool regular = fstat(fd_, &info) == 0 && S_ISREG(info.st_mode);
  size_ = regular ? uint64_t(info.st_size) : 0;
  void* memory = MAP_FAILED;
  if (size_ && mode == Mode::kMap) memory = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd_, 0);
  if (size_ && mode == Mode::kLoad) memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const int why = errno;
  if (memory != MAP_FAILED) data_ = static_cast<uint8_t*>(memory);
  try {
    if (!regular) fail(RF_IO, "%s is not a regular file", path.c_str());
    if (!size_) fail(RF_IO, "cannot map %s: it is empty", path.c_str());
    if (!data_ && mode == Mode::kLoad)
      fail(RF_OUT_OF_MEMORY, "reading %s needs %.2f GiB of memory, and the system does not have that much; map the file instead",
           path.c_str(), double(size_) / 0x1p30);
    if (!data_ && mode == Mode::kMap) fail(RF_IO, "cannot map %s: %s", path.c_str(), strerror(why));
    if (mode == Mode::kLoad) read_descriptor(0, size_, data_);
  } catch (...) {
    if (data_) munmap(data_, size_);
    close(fd_);
    throw;
  }
  if (mode != Mode::kOpen) {
    close(fd_);
    fd_ = -1;
  }
}

WeightFile::~WeightFile() {
  if (data_) munmap(data_, size_);
  if (fd_ >= 0) close(fd_);
}

void WeightFile::read(uint64_t offset, uint64_t n, uint8_t* out) const {
  if (data_) memcpy(out, data_ + offset, n);
  else read_descriptor(offset, n, out);
}

void WeightFile::read_descriptor(uint64_t offset, uint64_t n, uint8_t* out) const {
  while (n) {
    const ssize_t got = pread(fd_, out, size_t(std::min<uint64_t>(n, 1u << 30)), off_t(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail(RF_IO, "cannot read %s: %s", path_.c_str(), got < 0 ? strerror(errno) : "it became shorter");
    out += got, offset += uint64_t(got), n -= uint64_t(got);
  }
}

Model::Model() = default;
Model::~Model() = default;

void Model::read(const Tensor& tensor, uint64_t offset, uint64_t n, uint8_t* out) const {
  if (tensor.file == RF_FILE_CONSTANTS) memcpy(out, constants.data() + tensor.offset + offset, n);
  else files[tensor.file]->read(tensor.offset + offset, n, out);
}

void Model::release_files() {
  files.clear();
  for (Tensor& tensor : tensors) tensor.data = nullptr;
}

namespace {

template <class F>
void decode_row(const uint8_t* blocks, uint64_t n_elems, float* out) {
  for (uint64_t i = 0; i < n_elems; i += F::elems, blocks += sizeof(typename F::Block), out += F::elems) {
    typename F::Block block;
    memcpy(&block, blocks, sizeof block);  // blocks of some formats are not aligned for their fields
    decode(block, out);
  }
}

const FormatInfo kFormats[] = {
#define X(id, name, elems, bytes) {id, #name, elems, bytes, decode_row<Format<id>>},
    RF_FORMATS(X)
#undef X
};

}  // namespace

const FormatInfo* all_formats(uint32_t* count) {
  *count = sizeof kFormats / sizeof kFormats[0];
  return kFormats;
}

const FormatInfo* find_format(uint32_t id) {
  for (const FormatInfo& format : kFormats)
    if (format.id == id) return &format;
  return nullptr;
}

std::shared_ptr<Model> open_model(uint32_t device, uint32_t flags, const char* paths, uint64_t paths_bytes, uint32_t n_files,
                                  const RfTensor* tensors, uint64_t n_tensors, const uint8_t* constants, uint64_t constants_bytes) {
  if (flags & ~uint32_t(RF_MODEL_NO_MMAP))
    fail(RF_INVALID_ARGUMENT, "flags is %u, which has a bit that is not a model flag", flags);
  const auto mode = !(flags & RF_MODEL_NO_MMAP) ? WeightFile::Mode::kMap
                    : backend_copies_weights()  ? WeightFile::Mode::kOpen
                                                : WeightFile::Mode::kLoad;
  auto model = std::make_shared<Model>();
  model->device = device;
  const char* end = paths + paths_bytes;
  for (uint32_t i = 0; i < n_files; i++) {
    const char* stop = static_cast<const char*>(memchr(paths, 0, size_t(end - paths)));
    if (!stop) fail(RF_INVALID_ARGUMENT, "n_files is %u, and paths holds only %u names", n_files, i);
    model->files.push_back(std::make_unique<WeightFile>(std::string(paths, stop), mode));
    paths = stop + 1;
  }
  if (constants_bytes) model->constants.assign(constants, constants + constants_bytes);
  model->tensors.reserve(n_tensors);
  for (uint64_t i = 0; i < n_tensors; i++) {
    const RfTensor& t = tensors[i];
    const unsigned long long n = i;
    const FormatInfo* format = find_format(t.format);
    if (!format) fail(RF_UNSUPPORTED, "tensor %llu has format %u, which this library does not support", n, t.format);
    const bool constant = t.file == RF_FILE_CONSTANTS;
    if (!constant && t.file >= n_files)
      fail(RF_INVALID_MODEL, "tensor %llu is in file %u, and only %u files were given", n, t.file, n_files);
    if (!t.rows || !t.cols || t.cols % format->elems)
      fail(RF_INVALID_MODEL, "tensor %llu is %llu × %llu; its columns must be a multiple of %u (%s), and neither may be 0", n,
           (unsigned long long)t.rows, (unsigned long long)t.cols, format->elems, format->name);
    const uint64_t row_bytes = checked_mul(t.cols / format->elems, format->bytes, "a tensor's row", RF_INVALID_MODEL);
    const uint64_t bytes = checked_mul(row_bytes, t.rows, "a tensor's size", RF_INVALID_MODEL);
    const uint64_t size = constant ? constants_bytes : model->files[t.file]->size();
    if (t.n_bytes != bytes || t.offset > size || bytes > size - t.offset)
      fail(RF_INVALID_MODEL, "tensor %llu has %llu bytes at %llu, which must be n_bytes and lie inside its file of %llu", n,
           (unsigned long long)bytes, (unsigned long long)t.offset, (unsigned long long)size);
    const uint8_t* base = constant ? model->constants.data() : model->files[t.file]->data();
    if (t.offset % 4)
      fail(RF_INVALID_MODEL, "tensor %llu starts at byte %llu of its file, which must be a multiple of 4", n,
           (unsigned long long)t.offset);
    model->tensors.push_back({t.format, t.rows, t.cols, row_bytes, base ? base + t.offset : nullptr, t.file, t.offset});
  }
  model->backend = backend_open_model(*model);
  return model;
}

}  // namespace rf
