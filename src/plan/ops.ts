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

/** Element types (RfDtype): buffers are f32, K/V caches any of them (`hip/cache.h` says how they keep their numbers). */
export const DTYPES = { f32: 0, f16: 1, q8_0: 2 } as const

export type Dtype = keyof typeof DTYPES

/** Bytes an element; of q8_0 one, and two for the scale that 32 of them share. */
export const DTYPE_BYTES: Readonly<Record<Dtype, number>> = { f32: 4, f16: 2, q8_0: 34 / 32 }

/** What the heads of a cache of that type must be a multiple of. */
export const CACHE_GROUP: Readonly<Record<Dtype, number>> = { f32: 1, f16: 1, q8_0: 32 }

/** What an op does with a buffer. `write` replaces all of its live rows; `update` needs what was there. */
export type Access = "read" | "write" | "update"

/** The operands of an op by slot: their names are those of `hip/ops.h`, and the printer's. `null` is a slot not used. */
export interface OpSpec {
  buffers: readonly (readonly [name: string, access: Access])[]
  weights: readonly string[]
  dims: readonly (string | null)[]
  params: readonly string[]
  /** Appends to a K/V cache, or reads it. */
  cache?: Access
}

export const OP_SPECS: Readonly<Record<OpName, OpSpec>> = {
  EMBED: { buffers: [["out", "write"]], weights: ["table"], dims: [], params: ["scale"] },
  RMS_NORM: {
    buffers: [
      ["in", "read"],
      ["out", "write"],
    ],
    weights: ["weight"],
    dims: [],
    params: ["eps"],
  },
  MATMUL: {
    buffers: [
      ["in", "read"],
      ["out", "write"],
    ],
    weights: ["w0", "w1", "w2", "bias0", "bias1", "bias2"],
    dims: [],
    params: [],
  },
  MATMUL_SWIGLU: {
    buffers: [
      ["in", "read"],
      ["out", "write"],
    ],
    weights: ["gate", "up"],
    dims: [],
    params: [],
  },
  ROPE_TABLE: { buffers: [["out", "write"]], weights: ["inv_freq"], dims: [], params: ["magnitude"] },
  ROPE_STORE: {
    buffers: [
      ["qkv", "update"],
      ["rope", "read"],
    ],
    weights: ["q_norm", "k_norm"],
    dims: ["n_heads", "n_kv_heads", "head_dim", "rope_dim"],
    params: ["eps"],
    cache: "write",
  },
  ATTENTION: {
    buffers: [
      ["qkv", "read"],
      ["out", "write"],
    ],
    weights: [],
    dims: ["n_heads", "n_kv_heads", "head_dim", "window"],
    params: ["scale", "softcap"],
    cache: "read",
  },
  GATHER: {
    buffers: [
      ["in", "read"],
      ["out", "write"],
    ],
    weights: [],
    dims: [],
    params: [],
  },
  SAMPLE: { buffers: [["logits", "read"]], weights: [], dims: ["vocab"], params: [] },
  SCALE: {
    buffers: [
      ["in", "read"],
      ["out", "write"],
    ],
    weights: [],
    dims: [],
    params: ["factor"],
  },
  ADD: {
    buffers: [
      ["a", "read"],
      ["b", "read"],
      ["out", "write"],
    ],
    weights: [],
    dims: [],
    params: [],
  },
  CAUSAL_MASK: {
    buffers: [
      ["in", "read"],
      ["out", "write"],
    ],
    weights: [],
    dims: ["n_queries", "n_keys"],
    params: [],
  },
  SOFTMAX: {
    buffers: [
      ["in", "read"],
      ["out", "write"],
    ],
    weights: [],
    dims: [],
    params: [],
  },
  ROPE: {
    buffers: [
      ["in", "read"],
      ["rope", "read"],
      ["out", "write"],
    ],
    weights: [],
    dims: ["n_heads", null, "head_dim", "rope_dim"],
    params: [],
  },
  SWIGLU: {
    buffers: [
      ["gate", "read"],
      ["up", "read"],
      ["out", "write"],
    ],
    weights: [],
    dims: [],
    params: [],
  },
  ATTENTION_DENSE: {
    buffers: [
      ["q", "read"],
      ["k", "read"],
      ["v", "read"],
      ["out", "write"],
    ],
    weights: [],
    dims: ["n_heads", "n_kv_heads", "head_dim", "window"],
    params: ["scale"],
  },
}
