// The matrix products with f16 operands: rf_matmul_*_f16_* and rf_matmul_swiglu_*_f16_*.
#include "matmul-kernels.h"

#define RF_MATMUL_FORMAT(id, NAME, elems, bytes) RF_MATMUL_TILES(NAME, f16, F16)
RF_FORMATS(RF_MATMUL_FORMAT)
