#define RF_ISA isa_portable
#include "kernels.inc"

namespace rf {

const Kernels* kernels_portable() { return isa_portable::table("portable", 4); }

}  // namespace rf
