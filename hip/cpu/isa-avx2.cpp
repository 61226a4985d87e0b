#define RF_ISA isa_avx2
#include "kernels.inc"

namespace rf {

const Kernels* kernels_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? isa_avx2::table("avx2", 8) : nullptr;
}

}  // namespace rf
