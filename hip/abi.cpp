// The C ABI of abi.h: handles, locks and the last error. Code below it throws rf::Error; `guard` turns every exception into a
// status.
#include <cstdio>
#include <cstring>
#include <new>

#include "backend.h"
#include "error.h"
#include "handles.h"
#include "layout.h"
#include "step.h"

namespace {

using namespace rf;

thread_local std::string last_error;

struct Context {
  std::unique_ptr<BackendContext> backend;
  Plan plan;
  std::mutex mutex;  // one step, read or write at a time
};

struct OpenModel {
  std::shared_ptr<Model> model;
  std::mutex mutex;  // one upload at a time
};

Handles<OpenModel> models("model");
Handles<Context> contexts("context");

template <class Body>
int32_t guard(Body body) noexcept {
  try {
    body();
    return RF_OK;
  } catch (const Error& error) {
    last_error = error.message;
    return error.status;
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";
    return RF_OUT_OF_MEMORY;
  } catch (const std::exception& error) {
    last_error = error.what();
    return RF_INTERNAL;
  } catch (...) {
    last_error = "an exception of an unknown type";
    return RF_INTERNAL;
  }
}

void require_pointer(const void* pointer, const char* name) {
  if (!pointer) fail(RF_INVALID_ARGUMENT, "%s is NULL", name);
}

void require_device(uint32_t device) {
  const uint32_t count = backend_device_count();
  if (!count) fail(RF_DEVICE, "%s", backend_device_problem().c_str());
  if (device >= count) fail(RF_INVALID_ARGUMENT, "there is no device %u; this machine has %u", device, count);
}

void copy_text(const std::string& text, char* out, uint64_t capacity) {
  if (!capacity) return;
  const size_t n = text.size() < capacity - 1 ? text.size() : size_t(capacity - 1);
  memcpy(out, text.data(), n);
  out[n] = 0;
}

void upload(OpenModel& open, uint64_t max_bytes, uint64_t* done, uint64_t* total) {
  std::lock_guard<std::mutex> lock(open.mutex);
  *done = *total = 0;
  if (open.model->backend) open.model->backend->upload(*open.model, max_bytes, done, total);
}

const RfBuffer& checked_range(const Context& context, uint32_t buffer, uint64_t offset, uint64_t n_bytes) {
  const Plan& plan = context.plan;
  if (buffer >= plan.buffers.size())
    fail(RF_INVALID_ARGUMENT, "there is no buffer %u; the plan has %zu", buffer, plan.buffers.size());
  const RfBuffer& b = plan.buffers[buffer];
  const uint64_t size = plan.max_rows(b) * b.width * 4;
  if (offset > size || n_bytes > size - offset)
    fail(RF_INVALID_ARGUMENT, "%llu bytes at %llu are outside buffer %u, which has %llu bytes", (unsigned long long)n_bytes,
         (unsigned long long)offset, buffer, (unsigned long long)size);
  return b;
}

}  // namespace

extern "C" {

int32_t rf_layout(char* text, uint64_t capacity) {
  return guard([&] {
    require_pointer(text, "text");
    const std::string layout = layout_text();
    if (layout.size() >= capacity)
      fail(RF_INVALID_ARGUMENT, "capacity is too small: the layout needs %zu bytes", layout.size() + 1);
    copy_text(layout, text, capacity);
  });
}

int32_t rf_last_error(char* text, uint64_t capacity) {
  if (!text) return RF_INVALID_ARGUMENT;
  copy_text(last_error, text, capacity);
  return RF_OK;
}

int32_t rf_device_count(uint32_t* count) {
  return guard([&] {
    require_pointer(count, "count");
    *count = backend_device_count();
  });
}

int32_t rf_device_info(uint32_t device, RfDeviceInfo* info) {
  return guard([&] {
    require_pointer(info, "info");
    require_device(device);
    *info = backend_device_info(device);
  });
}

int32_t rf_model_open(uint32_t device, uint32_t flags, const char* paths, uint64_t paths_bytes, uint32_t n_files,
                      const RfTensor* tensors, uint64_t n_tensors, const uint8_t* constants, uint64_t constants_bytes,
                      RfModel* model) {
  return guard([&] {
    require_device(device);
    if (n_files) require_pointer(paths, "paths");
    if (n_tensors) require_pointer(tensors, "tensors");
    if (constants_bytes) require_pointer(constants, "constants");
    require_pointer(model, "model");
    auto opened = std::make_shared<OpenModel>();
    opened->model = open_model(device, flags, paths, paths_bytes, n_files, tensors, n_tensors, constants, constants_bytes);
    *model = models.add(opened);
  });
}

int32_t rf_model_upload(RfModel model, uint64_t max_bytes, uint64_t* done, uint64_t* total) {
  return guard([&] {
    require_pointer(done, "done");
    require_pointer(total, "total");
    if (!max_bytes) fail(RF_INVALID_ARGUMENT, "max_bytes is 0; it must be at least 1");
    upload(*models.get(model), max_bytes, done, total);
  });
}

int32_t rf_model_close(RfModel model) {
  return guard([&] { models.remove(model); });
}

int32_t rf_context_open(RfModel model, const RfContextDesc* desc, const RfOp* ops, uint64_t n_ops, const RfBuffer* buffers,
                        uint64_t n_buffers, const RfCache* caches, uint64_t n_caches, RfContext* context) {
  return guard([&] {
    require_pointer(desc, "desc");
    if (n_ops) require_pointer(ops, "ops");
    if (n_buffers) require_pointer(buffers, "buffers");
    if (n_caches) require_pointer(caches, "caches");
    require_pointer(context, "context");
    const std::shared_ptr<OpenModel> open = models.get(model);
    const std::shared_ptr<Model>& m = open->model;
    auto opened = std::make_shared<Context>();
    opened->plan = validate_plan(*m, *desc, ops, n_ops, buffers, n_buffers, caches, n_caches);
    uint64_t done, total;
    upload(*open, UINT64_MAX, &done, &total);
    opened->backend = backend_open_context(m, opened->plan);
    *context = contexts.add(opened);
  });
}

int32_t rf_context_info(RfContext context, RfContextInfo* info) {
  return guard([&] {
    require_pointer(info, "info");
    *info = contexts.get(context)->backend->info();
  });
}

int32_t rf_context_close(RfContext context) {
  return guard([&] {
    const std::shared_ptr<Context> closing = contexts.remove(context);
    std::lock_guard<std::mutex> lock(closing->mutex);  // waits for a step in another thread
  });
}

int32_t rf_step(RfContext context, const uint32_t* step, uint64_t step_words, RfStepResult* results, uint64_t max_results) {
  return guard([&] {
    require_pointer(step, "step");
    if (max_results) require_pointer(results, "results");
    const std::shared_ptr<Context> c = contexts.get(context);
    std::lock_guard<std::mutex> lock(c->mutex);
    c->backend->step(validate_step(c->plan, step, step_words, max_results), results);
  });
}

int32_t rf_buffer_read(RfContext context, uint32_t buffer, uint64_t offset, uint8_t* data, uint64_t n_bytes) {
  return guard([&] {
    if (n_bytes) require_pointer(data, "data");
    const std::shared_ptr<Context> c = contexts.get(context);
    std::lock_guard<std::mutex> lock(c->mutex);
    c->backend->read_buffer(checked_range(*c, buffer, offset, n_bytes), offset, data, n_bytes);
  });
}

int32_t rf_buffer_write(RfContext context, uint32_t buffer, uint64_t offset, const uint8_t* data, uint64_t n_bytes) {
  return guard([&] {
    if (n_bytes) require_pointer(data, "data");
    const std::shared_ptr<Context> c = contexts.get(context);
    std::lock_guard<std::mutex> lock(c->mutex);
    c->backend->write_buffer(checked_range(*c, buffer, offset, n_bytes), offset, data, n_bytes);
  });
}

int32_t rf_dequantize(uint32_t format, const uint8_t* blocks, uint64_t n_bytes, float* out, uint64_t n_elems) {
  return guard([&] {
    const FormatInfo* f = find_format(format);
    if (!f) fail(RF_UNSUPPORTED, "format %u is not supported by this library", format);
    if (n_elems % f->elems || n_bytes / f->bytes != n_elems / f->elems || n_bytes % f->bytes)
      fail(RF_INVALID_ARGUMENT, "n_bytes does not match: %llu elements of %s are not %llu bytes", (unsigned long long)n_elems,
           f->name, (unsigned long long)n_bytes);
    if (!n_elems) return;
    require_pointer(blocks, "blocks");
    require_pointer(out, "out");
    f->decode_row(blocks, n_elems, out);
  });
}

int32_t rf_read_bandwidth(uint32_t device, uint32_t n_threads, uint64_t n_bytes, double* bytes_per_second) {
  return guard([&] {
    require_pointer(bytes_per_second, "bytes_per_second");
    require_device(device);
    if (!n_threads || n_threads > 1024 || n_bytes < 1 << 20)
      fail(RF_INVALID_ARGUMENT, "n_threads must be 1 … 1024, and n_bytes at least 1 MiB");
    *bytes_per_second = backend_read_bandwidth(device, n_threads, n_bytes);
  });
}

int32_t rf_matrix_rate(uint32_t device, double* operations_per_second) {
  return guard([&] {
    require_pointer(operations_per_second, "operations_per_second");
    require_device(device);
    *operations_per_second = backend_matrix_rate(device);
  });
}

}  // extern "C"
