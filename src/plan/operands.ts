/** The operands of ops: weights, activation buffers and K/V caches, each identified by its number in the plan. */

import type { WeightFormat } from "../gguf/formats.ts"
import type {
  BufferSlot,
  CacheSlot,
  FlagSlot,
  NumberSlot,
  OpName,
  OptionalWeightSlot,
  WeightSlot,
} from "../native/ops.ts"

/** A plan that cannot be recorded or packed: a fault in the model definition, not in the user's input. */
export class PlanError extends Error {
  override readonly name = "PlanError"
}

/** The data of a weight: a range of a model file, or bytes that the plan carries. */
export type WeightSource = { file: number; offset: number; nBytes: number } | { bytes: Uint8Array }

/** A row-major matrix [rows, cols] in a GGUF format; a vector is one row. */
export interface Weight {
  readonly id: number
  readonly name: string
  readonly format: WeightFormat
  readonly rows: number
  readonly cols: number
  readonly source: WeightSource
}

/** Live rows of a buffer in a step: its tokens, its outputs, or a fixed count. */
export type Rows = "tokens" | "outputs" | number

/** An activation buffer, f32 [rows, width]. */
export interface PlanBuffer {
  readonly id: number
  readonly name: string
  readonly rows: Rows
  readonly width: number
  /** Shares no memory with other buffers, so it can be written before a step and read after it. */
  readonly pinned: boolean
}

/** One layer's paged K/V cache, K and V [n_blocks, n_kv_heads, block_size, head_dim]. */
export interface PlanCache {
  readonly id: number
  readonly name: string
  readonly nKvHeads: number
  readonly headDim: number
}

/** The operands of an op by the names of its slots. */
export type Operands<Kind extends OpName> = { [Name in BufferSlot<Kind>]: PlanBuffer } & {
  [Name in WeightSlot<Kind>]: Weight
} & { [Name in OptionalWeightSlot<Kind>]?: Weight | undefined } & { [Name in NumberSlot<Kind>]: number } & {
  [Name in FlagSlot<Kind>]: boolean
} & { [Name in CacheSlot<Kind>]: PlanCache }

/** One recorded instruction. Operands are in the order of `OP_SPECS[kind]`; a missing one is `undefined`. */
export interface PlanOp {
  readonly kind: OpName
  /** Sum of OP_FLAGS. */
  readonly flags: number
  readonly buffers: readonly PlanBuffer[]
  readonly weights: readonly (Weight | undefined)[]
  readonly dims: readonly number[]
  readonly params: readonly number[]
  readonly cache: PlanCache | undefined
  /** The layer it belongs to, for the printer. */
  readonly layer: number | undefined
}

/** Query heads share the K/V heads in groups of n_heads / n_kv_heads. */
export interface HeadShape {
  nHeads: number
  nKvHeads: number
  headDim: number
}

/** A table of cosines and sines, [n_tokens, dim], and how the rotated pairs lie in a head. */
export interface Rope {
  table: PlanBuffer
  /** Rotated leading dimensions of a head. */
  dim: number
  /** Pairs (i, i + dim/2), else (2i, 2i + 1). */
  neox: boolean
}
