// The matrix products with bf16 operands: rf_matmul_*_bf16_* and rf_matmul_swiglu_*_bf16_*.
#include "matmul-kernels.h"

#define RF_MATMUL_FORMAT(id, NAME, elems, bytes) RF_MATMUL_TILES(NAME, bf16, Bf16)
RF_FORMATS(RF_MATMUL_FORMAT)
