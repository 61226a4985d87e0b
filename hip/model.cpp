#include "model.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"
#include "formats.h"

namespace rf {

MappedFile::MappedFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(RF_IO, "cannot open %s: %s", path.c_str(), strerror(errno));
  struct stat info;
  const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  size_ = regular ? uint64_t(info.st_size) : 0;
  void* map = size_ ? mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
  const int why = errno;
  close(fd);
  if (!regular) fail(RF_IO, "%s is not a regular file", path.c_str());
  if (map == MAP_FAILED) fail(RF_IO, "cannot map %s: %s", path.c_str(), size_ ? strerror(why) : "it is empty");
  data_ = static_cast<const uint8_t*>(map);
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<uint8_t*>(data_), size_);
}

namespace {

template <class F>
void decode_row(const uint8_t* blocks, uint64_t n_elems, float* out) {
  for (uint64_t i = 0; i < n_elems; i += F::elems, blocks += sizeof(typename F::Block), out += F::elems) {
    typename F::Block block;
    memcpy(&block, blocks, sizeof block);  // rows of some formats are not aligned for their fields
    F::decode(block, out);
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

std::shared_ptr<Model> open_model(const char* paths, uint64_t paths_bytes, uint32_t n_files, const RfTensor* tensors,
                                  uint64_t n_tensors, const uint8_t* constants, uint64_t constants_bytes) {
  auto model = std::make_shared<Model>();
  const char* end = paths + paths_bytes;
  for (uint32_t i = 0; i < n_files; i++) {
    const char* stop = static_cast<const char*>(memchr(paths, 0, size_t(end - paths)));
    if (!stop) fail(RF_INVALID_ARGUMENT, "%u file names were promised, %u are there", n_files, i);
    model->files.push_back(std::make_unique<MappedFile>(std::string(paths, stop)));
    paths = stop + 1;
  }
  if (constants_bytes) model->constants.assign(constants, constants + constants_bytes);
  model->tensors.reserve(n_tensors);
  for (uint64_t i = 0; i < n_tensors; i++) {
    const RfTensor& t = tensors[i];
    const unsigned long long n = i;
    const FormatInfo* format = find_format(t.format);
    if (!format) fail(RF_UNSUPPORTED, "tensor %llu has format %u, which this library does not know", n, t.format);
    const bool constant = t.file == RF_FILE_CONSTANTS;
    if (!constant && t.file >= n_files) fail(RF_INVALID_MODEL, "tensor %llu lies in file %u of %u", n, t.file, n_files);
    if (!t.rows || !t.cols || t.cols % format->elems)
      fail(RF_INVALID_MODEL, "tensor %llu is %llu × %llu; %s rows are multiples of %u", n, (unsigned long long)t.rows,
           (unsigned long long)t.cols, format->name, format->elems);
    const uint64_t row_bytes = checked_mul(t.cols / format->elems, format->bytes, "a tensor's row", RF_INVALID_MODEL);
    const uint64_t bytes = checked_mul(row_bytes, t.rows, "a tensor's size", RF_INVALID_MODEL);
    const uint64_t size = constant ? constants_bytes : model->files[t.file]->size();
    if (t.n_bytes != bytes || t.offset > size || bytes > size - t.offset)
      fail(RF_INVALID_MODEL, "tensor %llu needs %llu bytes at %llu, its file has %llu", n, (unsigned long long)bytes,
           (unsigned long long)t.offset, (unsigned long long)size);
    const uint8_t* base = constant ? model->constants.data() : model->files[t.file]->data();
    if ((uintptr_t(base) + t.offset) % 4)
      fail(RF_INVALID_MODEL, "tensor %llu starts at %llu, tensors start at multiples of 4 bytes", n, (unsigned long long)t.offset);
    model->tensors.push_back({t.format, t.rows, t.cols, row_bytes, base + t.offset});
  }
  return model;
}

}  // namespace rf
