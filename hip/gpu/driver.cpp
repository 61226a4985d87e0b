#include "driver.h"

#include <dlfcn.h>

#include <mutex>
#include <vector>

namespace rf {
namespace gpu {

namespace {

#if defined(RF_AMD)
// The newest ROCm first; only development packages install the bare name.
const std::vector<const char*> kFiles = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", "libamdhip64.so"};
#define RF_SYMBOL(amd, nvidia) amd
#else
const std::vector<const char*> kFiles = {"libcuda.so.1"};
#define RF_SYMBOL(amd, nvidia) nvidia
#endif

std::string describe(const Driver& d, int error) {
  const char* text = nullptr;
#if defined(RF_AMD)
  text = d.error_text(error);
#else
  if (d.error_text(error, &text)) text = nullptr;
#endif
  return (text ? std::string(text) : std::string("unknown error")) + " (" + std::to_string(error) + ")";
}

std::string open_driver(Driver& d) {
  void* library = nullptr;
  std::string tried;
  for (const char* file : kFiles) {
    library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library) {
      d.file = file;
      break;
    }
    const char* why = dlerror();
    if (tried.empty()) tried = why ? why : file;
  }
  if (!library) return std::string("no ") + kVendor + " driver is installed (" + tried + ")";

  std::string missing;
  const auto find = [&](auto& member, const char* symbol) {
    if (!*symbol) return;
    const bool optional = *symbol == '?';
    *reinterpret_cast<void**>(&member) = dlsym(library, symbol + optional);
    if (!member && !optional) missing += std::string(missing.empty() ? "" : ", ") + symbol;
  };
#define X(member, amd, nvidia, parameters) find(d.member, RF_SYMBOL(amd, nvidia));
  RF_DRIVER_FUNCTIONS(X)
  RF_DRIVER_OWN(X)
#undef X
#if defined(RF_AMD)
  find(d.error_text, "hipGetErrorString");
  for (const char* symbol : {"hipGetDevicePropertiesR0600", "hipGetDeviceProperties"})
    if (!d.properties) *reinterpret_cast<void**>(&d.properties) = dlsym(library, symbol);
#endif
  if (!missing.empty()) return d.file + " is too old: it lacks " + missing;
  const int error = d.init(0);
  if (error == kNoDevice || error == kInvalidDevice)
    return std::string("the machine has no ") + kVendor + " GPU that its driver can use";
  if (error) return d.file + " does not start: " + describe(d, error);
  return {};
}

}  // namespace

const Driver& driver() {
  static Driver instance;
  static std::once_flag once;
  std::call_once(once, [] { instance.problem = open_driver(instance); });
  return instance;
}

std::string describe_error(int error) { return describe(driver(), error); }

void check(int error, const char* what) {
  if (!error) return;
  const RfStatus status = error == kOutOfMemory ? RF_OUT_OF_MEMORY : RF_DEVICE;
  fail(status, "%s: %s", what, describe_error(error).c_str());
}

}  // namespace gpu
}  // namespace rf
