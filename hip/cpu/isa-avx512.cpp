#define RF_ISA isa_avx512
#include "kernels.inc"

namespace rf {

const Kernels* kernels_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni")
             ? isa_avx512::table("avx512-vnni", 16)
             : nullptr;
}

}  // namespace rf
