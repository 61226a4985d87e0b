/** A recorded plan, and its packing into the records of `hip/abi.h`. */

import {
  FILE_CONSTANTS,
  type PackedPlan,
  type PackedTensors,
  RF_BUFFER,
  RF_CACHE,
  RF_OP,
  RF_TENSOR,
} from "../native/abi.ts"
import { DTYPE_BYTES, DTYPES, type Dtype, NONE, OPS, ROWS } from "../native/ops.ts"
import { writeStruct } from "../native/struct.ts"
import { ARENA_ALIGNMENT, type ArenaLayout, liveness, placeBuffers } from "./memory.ts"
import { type PlanBuffer, type PlanCache, PlanError, type PlanOp, type Weight } from "./operands.ts"

interface PackOptions {
  /** The most rows of one step, and the most of them that are sampled from. */
  maxTokens: number
  maxOutputs: number
  /** Element type of the K/V caches; f16 by default. */
  kvType?: Dtype
}

export class Plan {
  readonly #live: Uint8Array[]

  /** Made by `PlanBuilder.finish`. */
  constructor(
    readonly ops: readonly PlanOp[],
    readonly weights: readonly Weight[],
    readonly buffers: readonly PlanBuffer[],
    readonly caches: readonly PlanCache[],
  ) {
    this.#live = liveness(ops, buffers)
  }

  /** Bytes of the K/V caches for each token of context. */
  cacheBytesPerToken(kvType: Dtype = "f16"): number {
    return this.caches.reduce((sum, c) => sum + 2 * c.nKvHeads * c.headDim * DTYPE_BYTES[kvType], 0)
  }

  /** Where each buffer lies in an arena for these limits. */
  arena({ maxTokens, maxOutputs }: PackOptions): ArenaLayout {
    const rowCount = { tokens: maxTokens, outputs: maxOutputs }
    const sizes = this.buffers.map(({ rows, width }) => (typeof rows === "number" ? rows : rowCount[rows]) * width * 4)
    return placeBuffers(sizes, this.#live)
  }

  /** The plan as the native library takes it. */
  pack(options: PackOptions): PackedPlan {
    const { maxTokens, maxOutputs, kvType = "f16" } = options
    if (!(maxTokens >= 1 && maxOutputs >= 1 && Number.isInteger(maxTokens) && Number.isInteger(maxOutputs))) {
      throw new PlanError(`a step needs at least one row and one output, not ${maxTokens} and ${maxOutputs}`)
    }
    const { offsets, arenaBytes } = this.arena(options)
    const ops = records(RF_OP.size, this.ops, (view, at, op) =>
      writeStruct(view, at, RF_OP, {
        kind: OPS[op.kind],
        flags: op.flags,
        buf: slots(RF_OP.fields.buf.count, op.buffers),
        tensor: slots(RF_OP.fields.tensor.count, op.weights),
        cache: op.cache?.id ?? NONE,
        dim: op.dims,
        f: op.params,
      }),
    )
    const buffers = records(RF_BUFFER.size, this.buffers, (view, at, { id, rows, width }) =>
      writeStruct(view, at, RF_BUFFER, {
        rows_kind: rows === "tokens" ? ROWS.TOKENS : rows === "outputs" ? ROWS.OUTPUTS : ROWS.FIXED,
        fixed_rows: typeof rows === "number" ? rows : 0,
        width,
        dtype: DTYPES.f32,
        offset: offsets[id] ?? 0,
      }),
    )
    const caches = records(RF_CACHE.size, this.caches, (view, at, { nKvHeads, headDim }) =>
      writeStruct(view, at, RF_CACHE, { n_kv_heads: nKvHeads, head_dim: headDim, dtype: DTYPES[kvType] }),
    )
    return {
      ops,
      nOps: this.ops.length,
      buffers,
      nBuffers: this.buffers.length,
      caches,
      nCaches: this.caches.length,
      arenaBytes,
      maxTokens,
      maxOutputs,
      bufferIds: new Map(this.buffers.map(({ name, id }) => [name, id])),
    }
  }

  /** The tensor table, and the blob of the weights that lie in no file (each aligned like a buffer). */
  packTensors(): { tensors: PackedTensors; constants: Uint8Array } {
    const blobs: { at: number; bytes: Uint8Array }[] = []
    let end = 0
    const data = records(RF_TENSOR.size, this.weights, (view, at, { format, rows, cols, source }) => {
      if ("bytes" in source) {
        const offset = Math.ceil(end / ARENA_ALIGNMENT) * ARENA_ALIGNMENT
        end = offset + source.bytes.length
        blobs.push({ at: offset, bytes: source.bytes })
        writeStruct(view, at, RF_TENSOR, { file: FILE_CONSTANTS, offset, n_bytes: source.bytes.length })
      } else {
        writeStruct(view, at, RF_TENSOR, { file: source.file, offset: source.offset, n_bytes: source.nBytes })
      }
      writeStruct(view, at, RF_TENSOR, { format: format.id, rows, cols })
    })
    const constants = new Uint8Array(end)
    for (const { at, bytes } of blobs) constants.set(bytes, at)
    return { tensors: { data, count: this.weights.length }, constants }
  }
}

/** Writes `items` as records of `size` bytes, end to end. */
function records<T>(
  size: number,
  items: readonly T[],
  write: (view: DataView, at: number, item: T) => void,
): Uint8Array {
  const bytes = new Uint8Array(size * items.length)
  const view = new DataView(bytes.buffer)
  for (const [i, item] of items.entries()) write(view, i * size, item)
  return bytes
}

function slots(count: number, operands: readonly ({ id: number } | undefined)[]): number[] {
  return Array.from({ length: count }, (_, i) => operands[i]?.id ?? NONE)
}
