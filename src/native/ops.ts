/**
 * The vocabulary of a plan: the numbers and slots of `hip/ops.h`, which documents what each op computes. `abi.ts` proves at load that
 * both agree.
 */

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

export const OP_FLAGS = { add: 1, neox: 2, causal: 4 } as const

type FlagName = keyof typeof OP_FLAGS

/** An unused buffer, tensor or cache slot (RF_NONE). */
export const NONE = -1

/** How many rows of a buffer are live in a step (RfRows): a fixed count, the step's tokens, or its outputs. */
export const ROWS = { FIXED: 0, TOKENS: 1, OUTPUTS: 2 } as const

/** Element types (RfDtype): buffers are f32, K/V caches any of them (`hip/cache.h` documents their layout). */
export const DTYPES = { f32: 0, f16: 1, q8_0: 2 } as const

export type Dtype = keyof typeof DTYPES

/** Bytes per element. An element of q8_0 has one byte, and 32 share a scale of two. */
export const DTYPE_BYTES: Readonly<Record<Dtype, number>> = { f32: 4, f16: 2, q8_0: 34 / 32 }

/** The head_dim of a cache of that type must be a multiple of this. */
export const CACHE_GROUP: Readonly<Record<Dtype, number>> = { f32: 1, f16: 1, q8_0: 32 }

/** What an op does with a buffer: reads it, replaces all of its live rows, or reads and changes it. */
export type Access = "in" | "out" | "update"

/**
 * The slots of an op in the order of its record, written as `rf_layout` writes them: a buffer with its access (`qkv:update`), an
 * optional weight with a question mark (`q_norm?`). A slot that an op does not have is NONE or 0 in its record.
 */
interface OpSpec {
  readonly buffers: readonly `${string}:${Access}`[]
  readonly weights?: readonly string[]
  readonly dims?: readonly string[]
  readonly params?: readonly string[]
  readonly flags?: readonly FlagName[]
  /** Appends to a K/V cache, or reads it. */
  readonly cache?: "read" | "write"
}

const SPECS = {
  EMBED: { buffers: ["out:out"], weights: ["table"], params: ["scale"] },
  RMS_NORM: { buffers: ["in:in", "out:out"], weights: ["weight"], params: ["eps"] },
  MATMUL: {
    buffers: ["in:in", "out:out"],
    weights: ["w0", "w1?", "w2?", "bias0?", "bias1?", "bias2?"],
    flags: ["add"],
  },
  MATMUL_SWIGLU: { buffers: ["in:in", "out:out"], weights: ["gate", "up"] },
  ROPE_TABLE: { buffers: ["out:out"], weights: ["inv_freq"], params: ["magnitude"] },
  ROPE_STORE: {
    buffers: ["qkv:update", "rope:in"],
    weights: ["q_norm?", "k_norm?"],
    dims: ["n_heads", "n_kv_heads", "head_dim", "rope_dim"],
    params: ["eps"],
    flags: ["neox"],
    cache: "write",
  },
  ATTENTION: {
    buffers: ["qkv:in", "out:out"],
    dims: ["n_heads", "n_kv_heads", "head_dim", "window"],
    params: ["scale", "softcap"],
    cache: "read",
  },
  GATHER: { buffers: ["in:in", "out:out"] },
  SAMPLE: { buffers: ["logits:in"], dims: ["vocab"] },
  SCALE: { buffers: ["in:in", "out:out"], params: ["factor"] },
  ADD: { buffers: ["a:in", "b:in", "out:out"] },
  CAUSAL_MASK: { buffers: ["in:in", "out:out"], dims: ["n_queries", "n_keys"] },
  SOFTMAX: { buffers: ["in:in", "out:out"] },
  ROPE: { buffers: ["in:in", "rope:in", "out:out"], dims: ["n_heads", "head_dim", "rope_dim"], flags: ["neox"] },
  SWIGLU: { buffers: ["gate:in", "up:in", "out:out"] },
  ATTENTION_DENSE: {
    buffers: ["q:in", "k:in", "v:in", "out:out"],
    dims: ["n_heads", "n_kv_heads", "head_dim", "window"],
    params: ["scale"],
    flags: ["causal"],
  },
} as const satisfies Readonly<Record<OpName, OpSpec>>

/** The slots of each op, as in `hip/ops.h`, which documents them. The printer uses their names. */
export const OP_SPECS: Readonly<Record<OpName, OpSpec>> = SPECS

type Slots<Kind extends OpName, List extends keyof OpSpec> =
  (typeof SPECS)[Kind] extends Readonly<Record<List, readonly (infer Slot extends string)[]>> ? Slot : never
type BeforeColon<Slot> = Slot extends `${infer Name}:${string}` ? Name : never
type BeforeMark<Slot> = Slot extends `${infer Name}?` ? Name : never

export type BufferSlot<Kind extends OpName> = BeforeColon<Slots<Kind, "buffers">>
export type WeightSlot<Kind extends OpName> = Exclude<Slots<Kind, "weights">, `${string}?`>
export type OptionalWeightSlot<Kind extends OpName> = BeforeMark<Slots<Kind, "weights">>
export type NumberSlot<Kind extends OpName> = Slots<Kind, "dims"> | Slots<Kind, "params">
export type FlagSlot<Kind extends OpName> = Slots<Kind, "flags">
export type CacheSlot<Kind extends OpName> = (typeof SPECS)[Kind] extends { cache: string } ? "cache" : never

/** The name of a slot without its access or mark. */
export function slotName(slot: string): string {
  return slot.replace(/[:?].*/, "")
}

/** What the op does with the buffer in slot `slot`. */
export function bufferAccess(kind: OpName, slot: number): Access {
  return (OP_SPECS[kind].buffers[slot]?.split(":")[1] ?? "in") as Access
}

/** An op as `rf_layout` describes it: its number, then the slots of each array of its record. */
export function opLayout(kind: OpName): string[] {
  const { buffers, weights, dims, params, flags, cache } = OP_SPECS[kind]
  const arrays = { buffers, tensors: weights, dims, floats: params, flags, cache: cache && [cache] }
  const lists = Object.entries(arrays).map(([name, slots = []]) => `op.${kind}.${name}=${slots.join(",")}`)
  return [`op.${kind}=${OPS[kind]}`, ...lists]
}
