/**
 * Runs a model's plan in plain TypeScript and double precision, one sequence in one step: what a plan means, without the native
 * library.
 */

import type { Gguf } from "../../src/gguf/reader.ts"
import { OP_FLAGS } from "../../src/native/ops.ts"
import type { PlanBuffer, PlanOp, Weight } from "../../src/plan/operands.ts"
import type { Plan } from "../../src/plan/plan.ts"
import { decodeBlocks } from "./decode-blocks.ts"

/** K and V of one layer, [n_tokens, n_kv_heads·head_dim] each. */
interface Cache {
  k: Float64Array
  v: Float64Array
}

/** @returns logits [n_tokens, vocabulary], of every row */
export async function interpretPlan(plan: Plan, gguf: Gguf, tokens: readonly number[]): Promise<Float64Array> {
  const files = await Promise.all(gguf.files.map(({ path }) => Bun.file(path).bytes()))
  const n = tokens.length
  const caches = new Map<number, Cache>()
  const weights = new Map<Weight, Float64Array>()

  // Buffers share this arena exactly as they share the native one, so a wrong liveness shows as wrong logits.
  const { offsets, arenaBytes } = plan.arena({ maxTokens: n, maxOutputs: n })
  const arena = new Float64Array(arenaBytes / 4).fill(Number.NaN)
  const data = ({ id, rows, width }: PlanBuffer): Float64Array => {
    const start = (offsets[id] ?? 0) / 4
    return arena.subarray(start, start + (typeof rows === "number" ? rows : n) * width)
  }
  const values = (weight: Weight): Float64Array => {
    let found = weights.get(weight)
    if (found === undefined) {
      const { source, format, name } = weight
      const bytes =
        "bytes" in source ? source.bytes : files[source.file]?.subarray(source.offset, source.offset + source.nBytes)
      if (bytes === undefined) throw new Error(`${name} lies in no file`)
      found = Float64Array.from(decodeBlocks(format.name, bytes))
      weights.set(weight, found)
    }
    return found
  }
  const optional = (weight: Weight | undefined) => (weight ? values(weight) : undefined)

  const runOp = (op: PlanOp): void => {
    const [b0, b1] = op.buffers as [PlanBuffer, PlanBuffer]
    const [w0, w1] = op.weights as [Weight, Weight]
    const flag = (name: keyof typeof OP_FLAGS) => (op.flags & OP_FLAGS[name]) !== 0
    switch (op.kind) {
      case "EMBED":
        for (let t = 0; t < n; t++) {
          const row = values(w0).subarray((tokens[t] ?? 0) * b0.width, ((tokens[t] ?? 0) + 1) * b0.width)
          data(b0).set(
            row.map((value) => value * (op.params[0] ?? 0)),
            t * b0.width,
          )
        }
        return
      case "RMS_NORM":
        for (let t = 0; t < n; t++) {
          const row = data(b0).subarray(t * b0.width, (t + 1) * b0.width)
          data(b1).set(normalized(row, values(w0), op.params[0] ?? 0), t * b0.width)
        }
        return
      case "MATMUL": {
        let column = 0
        for (let slot = 0; slot < 3; slot++) {
          const weight = op.weights[slot]
          if (!weight) continue
          multiply(data(b0), weight, values(weight), optional(op.weights[slot + 3]), (t, row, sum) => {
            const at = t * b1.width + column + row
            const out = data(b1)
            out[at] = sum + (flag("add") ? (out[at] ?? 0) : 0)
          })
          column += weight.rows
        }
        return
      }
      case "MATMUL_SWIGLU": {
        const out = data(b1)
        multiply(data(b0), w0, values(w0), undefined, (t, row, sum) => {
          out[t * b1.width + row] = sum / (1 + Math.exp(-sum))
        })
        multiply(data(b0), w1, values(w1), undefined, (t, row, sum) => {
          out[t * b1.width + row] = (out[t * b1.width + row] ?? 0) * sum
        })
        return
      }
      case "ROPE_TABLE":
        for (let t = 0; t < n; t++) {
          for (let i = 0; i < b0.width / 2; i++) {
            const angle = t * (values(w0)[i] ?? 0)
            data(b0)[t * b0.width + i] = Math.cos(angle) * (op.params[0] ?? 0)
            data(b0)[t * b0.width + b0.width / 2 + i] = Math.sin(angle) * (op.params[0] ?? 0)
          }
        }
        return
      case "ROPE_STORE": {
        const [nHeads = 0, nKv = 0, headDim = 0, ropeDim = 0] = op.dims
        const cache = { k: new Float64Array(n * nKv * headDim), v: new Float64Array(n * nKv * headDim) }
        caches.set(op.cache?.id ?? -1, cache)
        for (let t = 0; t < n; t++) {
          const row = data(b0).subarray(t * b0.width, (t + 1) * b0.width)
          const table = data(b1).subarray(t * ropeDim, (t + 1) * ropeDim)
          for (let head = 0; head < nHeads + nKv; head++) {
            const norm = head < nHeads ? w0 : w1
            const part = row.subarray(head * headDim, (head + 1) * headDim)
            if (norm) part.set(normalized(part, values(norm), op.params[0] ?? 0))
            rotate(part, table, flag("neox"))
          }
          const keys = nHeads * headDim
          const width = nKv * headDim
          cache.k.set(row.subarray(keys, keys + width), t * width)
          cache.v.set(row.subarray(keys + width, keys + 2 * width), t * width)
        }
        return
      }
      case "ATTENTION": {
        const [nHeads = 0, nKv = 0, headDim = 0, window = 0] = op.dims
        const cache = caches.get(op.cache?.id ?? -1)
        if (!cache) throw new Error("attention before anything was stored")
        const width = nKv * headDim
        for (let t = 0; t < n; t++) {
          const first = window > 0 ? Math.max(0, t - window + 1) : 0
          for (let head = 0; head < nHeads; head++) {
            const kv = Math.floor(head / (nHeads / nKv)) * headDim
            const q = data(b0).subarray(t * b0.width + head * headDim, t * b0.width + (head + 1) * headDim)
            const scores: number[] = []
            for (let s = first; s <= t; s++) {
              scores.push(dot(q, cache.k.subarray(s * width + kv, s * width + kv + headDim)) * (op.params[0] ?? 0))
            }
            const top = Math.max(...scores)
            const weights = scores.map((score) => Math.exp(score - top))
            const total = weights.reduce((a, b) => a + b, 0)
            for (let i = 0; i < headDim; i++) {
              let sum = 0
              for (const [s, weight] of weights.entries()) sum += weight * (cache.v[(first + s) * width + kv + i] ?? 0)
              data(b1)[t * b1.width + head * headDim + i] = sum / total
            }
          }
        }
        return
      }
      case "GATHER":
        data(b1).set(data(b0))
        return
      case "SAMPLE":
        return
      default:
        throw new Error(`${op.kind} is not an op of a model's plan`)
    }
  }
  for (const op of plan.ops) runOp(op)
  const logits = plan.ops.find(({ kind }) => kind === "SAMPLE")?.buffers[0]
  if (!logits) throw new Error("the plan samples nothing")
  return data(logits)
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0)
  return sum
}

function normalized(x: Float64Array, weight: Float64Array, eps: number): Float64Array {
  const scale = 1 / Math.sqrt(dot(x, x) / x.length + eps)
  return x.map((value, i) => value * scale * (weight[i] ?? 0))
}

/** Calls `emit` with x·wᵀ + bias for every row t of x, [·, weight.cols], and every row of the weight. */
function multiply(
  x: Float64Array,
  { rows, cols }: Weight,
  w: Float64Array,
  bias: Float64Array | undefined,
  emit: (t: number, row: number, sum: number) => void,
): void {
  for (let t = 0; t < x.length / cols; t++) {
    const input = x.subarray(t * cols, (t + 1) * cols)
    for (let row = 0; row < rows; row++) {
      emit(t, row, dot(input, w.subarray(row * cols, (row + 1) * cols)) + (bias?.[row] ?? 0))
    }
  }
}

function rotate(head: Float64Array, table: Float64Array, neox: boolean): void {
  const half = table.length / 2
  for (let i = 0; i < half; i++) {
    const [a, b] = neox ? [i, i + half] : [2 * i, 2 * i + 1]
    const cos = table[i] ?? 0
    const sin = table[half + i] ?? 0
    const [x, y] = [head[a] ?? 0, head[b] ?? 0]
    head[a] = x * cos - y * sin
    head[b] = x * sin + y * cos
  }
}
