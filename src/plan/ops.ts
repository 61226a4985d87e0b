/** The plan's vocabulary: the numbers of `hip/ops.h`, which says what each op reads. The library proves at load that both agree. */

export const OPS = {
  EMBED: 1,
  RMS_NORM: 2,
  MATMUL: 3,
  MATMUL_SWIGLU: 4,
  ROPE_TABLE: 5,
  ROPE_STORE: 6,
  ATTENTION: 7,
  GATHER: 8,
  SAMPLE: 9,
  SCALE: 10,
  ADD: 11,
  CAUSAL_MASK: 12,
  SOFTMAX: 13,
  ROPE: 14,
  SWIGLU: 15,
  ATTENTION_DENSE: 16,
} as const

export type OpName = keyof typeof OPS

export const OP_FLAGS = { ADD: 1, NEOX: 2, CAUSAL: 4 } as const

/** An unused buffer, tensor or cache slot (RF_NONE). */
export const NONE = -1

/** How many rows of a buffer are live in a step (RfRows): a fixed count, the step's tokens, or its outputs. */
export const ROWS = { FIXED: 0, TOKENS: 1, OUTPUTS: 2 } as const

/** Element types of buffers and caches (RfDtype). */
export const DTYPES = { f32: 0, f16: 1 } as const

export type Dtype = keyof typeof DTYPES

export const DTYPE_BYTES: Readonly<Record<Dtype, number>> = { f32: 4, f16: 2 }
