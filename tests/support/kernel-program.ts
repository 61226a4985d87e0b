/** Kernel cases as data: weights, buffers, caches and ops, packed into the records of `hip/abi.h`. */

import { FORMATS, type FormatName } from "../../src/gguf/formats.ts"
import {
  BLOCK_SIZE,
  FILE_CONSTANTS,
  type PackedPlan,
  RF_BUFFER,
  RF_CACHE,
  RF_OP,
  RF_TENSOR,
} from "../../src/native/abi.ts"
import { DTYPE_BYTES, DTYPES, type Dtype, NONE, OPS, type OpName, ROWS } from "../../src/native/ops.ts"
import { type FieldValue, type Struct, writeStruct } from "../../src/native/struct.ts"
import { bytesOf } from "./kernel-data.ts"

/** A row-major matrix [rows, cols] in blocks of `format`. */
export interface WeightSpec {
  format: FormatName
  rows: number
  cols: number
  bytes: Uint8Array
}

export interface BufferSpec {
  /** A fixed number of rows, or the rows of the step. */
  rows: number | "tokens" | "outputs"
  width: number
  dtype?: Dtype
}

export interface CacheSpec {
  kvHeads: number
  headDim: number
  dtype: Dtype
}

export interface OpSpec {
  kind: OpName
  flags?: number
  buf?: readonly number[]
  tensor?: readonly number[]
  cache?: number
  dim?: readonly number[]
  f?: readonly number[]
}

export interface Limits {
  nThreads: number
  maxTokens: number
  maxSeqs: number
  maxOutputs: number
  nBlocks: number
  blockSize: number
}

export interface Program {
  weights?: readonly WeightSpec[]
  buffers: readonly BufferSpec[]
  caches?: readonly CacheSpec[]
  ops: readonly OpSpec[]
  limits?: Partial<Limits>
}

export const DEFAULT_LIMITS: Limits = {
  nThreads: 2,
  maxTokens: 512,
  maxSeqs: 8,
  maxOutputs: 8,
  nBlocks: 64,
  blockSize: BLOCK_SIZE,
}

/** A float32 vector or matrix as a weight. */
export function floatWeight(values: Float32Array, cols = values.length): WeightSpec {
  return { format: "F32", rows: values.length / cols, cols, bytes: bytesOf(values) }
}

/** Packed records of one struct; `write` changes fields of one record, so that a test can corrupt it. */
export class Records<Name extends string> {
  readonly bytes: Uint8Array
  readonly #view: DataView

  constructor(
    readonly layout: Struct<Name>,
    readonly count: number,
  ) {
    this.bytes = new Uint8Array(count * layout.size)
    this.#view = new DataView(this.bytes.buffer)
  }

  write(index: number, values: Partial<Record<Name, FieldValue>>): this {
    writeStruct(this.#view, index * this.layout.size, this.layout, values)
    return this
  }
}

/** Weights in one constants blob, each at a multiple of 64 bytes. A plan without weights gets an unused one. */
export function packWeights(given: readonly WeightSpec[]) {
  const weights = given.length > 0 ? given : [floatWeight(new Float32Array(1))]
  const tensors = new Records(RF_TENSOR, weights.length)
  const offsets: number[] = []
  let end = 0
  for (const weight of weights) {
    offsets.push(end)
    end = Math.ceil((end + weight.bytes.length) / 64) * 64
  }
  const constants = new Uint8Array(end)
  for (const [i, { format, rows, cols, bytes }] of weights.entries()) {
    const offset = offsets[i] as number
    constants.set(bytes, offset)
    const id = FORMATS.find((entry) => entry.name === format)?.id as number
    tensors.write(i, { format: id, file: FILE_CONSTANTS, offset, n_bytes: bytes.length, rows, cols })
  }
  return { tensors, constants }
}

/** Buffers one after the other in the arena, without sharing: a kernel that writes past its buffer corrupts the next one. */
export function packBuffers(buffers: readonly BufferSpec[], limits: Limits) {
  const records = new Records(RF_BUFFER, buffers.length)
  let arenaBytes = 0
  for (const [i, { rows, width, dtype = "f32" }] of buffers.entries()) {
    const most = rows === "tokens" ? limits.maxTokens : rows === "outputs" ? limits.maxOutputs : rows
    const rows_kind = rows === "tokens" ? ROWS.TOKENS : rows === "outputs" ? ROWS.OUTPUTS : ROWS.FIXED
    const fixed_rows = typeof rows === "number" ? rows : 0
    records.write(i, { rows_kind, fixed_rows, width, dtype: DTYPES[dtype], offset: arenaBytes })
    arenaBytes += Math.ceil((most * width * DTYPE_BYTES[dtype]) / 64) * 64
  }
  return { records, arenaBytes }
}

export function packCaches(caches: readonly CacheSpec[]) {
  const records = new Records(RF_CACHE, caches.length)
  for (const [i, { kvHeads, headDim, dtype }] of caches.entries()) {
    records.write(i, { n_kv_heads: kvHeads, head_dim: headDim, dtype: DTYPES[dtype] })
  }
  return records
}

export function packOps(ops: readonly OpSpec[]) {
  const records = new Records(RF_OP, ops.length)
  for (const [i, op] of ops.entries()) {
    records.write(i, {
      kind: OPS[op.kind],
      flags: op.flags ?? 0,
      buf: slots(op.buf),
      tensor: slots(op.tensor),
      cache: op.cache ?? NONE,
      dim: op.dim ?? [],
      f: op.f ?? [],
    })
  }
  return records
}

function slots(ids: readonly number[] = []): number[] {
  return Array.from({ length: 6 }, (_, i) => ids[i] ?? NONE)
}

export function packPlan(program: Program, limits: Limits): PackedPlan {
  const ops = packOps(program.ops)
  const { records: buffers, arenaBytes } = packBuffers(program.buffers, limits)
  const caches = packCaches(program.caches ?? [])
  return {
    ops: ops.bytes,
    nOps: ops.count,
    buffers: buffers.bytes,
    nBuffers: buffers.count,
    caches: caches.bytes,
    nCaches: caches.count,
    arenaBytes,
    maxTokens: limits.maxTokens,
    maxOutputs: limits.maxOutputs,
    bufferIds: new Map(),
  }
}

/** Records in the form that `NativeLibrary` expects. */
export function packed<Name extends string>(records: Records<Name>): { data: Uint8Array; count: number } {
  return { data: records.bytes, count: records.count }
}
