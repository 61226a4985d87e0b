/**
 * Runs a model's plan in plain TypeScript and double precision, for one sequence in one step: a reference for plans that does not
 * use the native library.
 */

import type { Gguf } from "../../src/gguf/reader.ts"
import { OP_FLAGS, OP_SPECS, type OpName, slotName } from "../../src/native/ops.ts"
import type { Operands, PlanBuffer, PlanOp, Weight } from "../../src/plan/operands.ts"
import type { Plan } from "../../src/plan/plan.ts"
import { decodeBlocks } from "./decode-blocks.ts"

/** K and V of one layer, [n_tokens, n_kv_heads·head_dim] each. */
interface Cache {
  k: Float64Array
  v: Float64Array
}

/** @returns the logits of every row, [n_tokens, vocabulary] */
export async function interpretPlan(plan: Plan, gguf: Gguf, tokens: readonly number[]): Promise<Float64Array> {
  const files = await Promise.all(gguf.files.map(({ path }) => Bun.file(path).bytes()))
  const n = tokens.length
  const caches = new Map<number, Cache>()
  const weights = new Map<Weight, Float64Array>()

  // Buffers share this arena exactly as they share the native one, so an error in their liveness gives wrong logits.
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
    switch (op.kind) {
      case "EMBED": {
        const { table, out, scale } = operandsOf(op, op.kind)
        for (let t = 0; t < n; t++) {
          const token = tokens[t] ?? 0
          const row = values(table).subarray(token * out.width, (token + 1) * out.width)
          data(out).set(
            row.map((value) => value * scale),
            t * out.width,
          )
        }
        return
      }
      case "RMS_NORM": {
        const { in: x, weight, out, eps } = operandsOf(op, op.kind)
        for (let t = 0; t < n; t++) {
          const row = data(x).subarray(t * x.width, (t + 1) * x.width)
          data(out).set(normalized(row, values(weight), eps), t * out.width)
        }
        return
      }
      case "MATMUL": {
        const { in: x, out, w0, w1, w2, bias0, bias1, bias2, add } = operandsOf(op, op.kind)
        const terms = [
          [w0, bias0],
          [w1, bias1],
          [w2, bias2],
        ] as const
        const sums = data(out)
        let column = 0
        for (const [weight, bias] of terms) {
          if (!weight) continue
          multiply(data(x), weight, values(weight), optional(bias), (t, row, sum) => {
            const at = t * out.width + column + row
            sums[at] = sum + (add ? (sums[at] ?? 0) : 0)
          })
          column += weight.rows
        }
        return
      }
      case "MATMUL_SWIGLU": {
        const { in: x, gate, up, out } = operandsOf(op, op.kind)
        const results = data(out)
        multiply(data(x), gate, values(gate), undefined, (t, row, sum) => {
          results[t * out.width + row] = sum / (1 + Math.exp(-sum))
        })
        multiply(data(x), up, values(up), undefined, (t, row, sum) => {
          results[t * out.width + row] = (results[t * out.width + row] ?? 0) * sum
        })
        return
      }
      case "ROPE_TABLE": {
        const { out, inv_freq, magnitude } = operandsOf(op, op.kind)
        for (let t = 0; t < n; t++) {
          for (let i = 0; i < out.width / 2; i++) {
            const angle = t * (values(inv_freq)[i] ?? 0)
            data(out)[t * out.width + i] = Math.cos(angle) * magnitude
            data(out)[t * out.width + out.width / 2 + i] = Math.sin(angle) * magnitude
          }
        }
        return
      }
      case "ROPE_STORE": {
        const { qkv, rope, eps, neox, ...given } = operandsOf(op, op.kind)
        const { n_heads: nHeads, n_kv_heads: nKvHeads, head_dim: headDim, rope_dim: ropeDim } = given
        const width = nKvHeads * headDim
        const cache = { k: new Float64Array(n * width), v: new Float64Array(n * width) }
        caches.set(given.cache.id, cache)
        for (let t = 0; t < n; t++) {
          const row = data(qkv).subarray(t * qkv.width, (t + 1) * qkv.width)
          const table = data(rope).subarray(t * ropeDim, (t + 1) * ropeDim)
          for (let head = 0; head < nHeads + nKvHeads; head++) {
            const norm = head < nHeads ? given.q_norm : given.k_norm
            const part = row.subarray(head * headDim, (head + 1) * headDim)
            if (norm) part.set(normalized(part, values(norm), eps))
            rotate(part, table, neox)
          }
          const keys = nHeads * headDim
          cache.k.set(row.subarray(keys, keys + width), t * width)
          cache.v.set(row.subarray(keys + width, keys + 2 * width), t * width)
        }
        return
      }
      case "ATTENTION": {
        const { qkv, out, scale, window, ...given } = operandsOf(op, op.kind)
        const { n_heads: nHeads, n_kv_heads: nKvHeads, head_dim: headDim } = given
        const cache = caches.get(given.cache.id)
        if (!cache) throw new Error("attention before anything was stored")
        const width = nKvHeads * headDim
        for (let t = 0; t < n; t++) {
          const first = window > 0 ? Math.max(0, t - window + 1) : 0
          for (let head = 0; head < nHeads; head++) {
            const kv = Math.floor(head / (nHeads / nKvHeads)) * headDim
            const q = data(qkv).subarray(t * qkv.width + head * headDim, t * qkv.width + (head + 1) * headDim)
            const scores: number[] = []
            for (let s = first; s <= t; s++) {
              scores.push(dot(q, cache.k.subarray(s * width + kv, s * width + kv + headDim)) * scale)
            }
            const top = Math.max(...scores)
            const weights = scores.map((score) => Math.exp(score - top))
            const total = weights.reduce((a, b) => a + b, 0)
            for (let i = 0; i < headDim; i++) {
              let sum = 0
              for (const [s, weight] of weights.entries()) sum += weight * (cache.v[(first + s) * width + kv + i] ?? 0)
              data(out)[t * out.width + head * headDim + i] = sum / total
            }
          }
        }
        return
      }
      case "GATHER": {
        const { in: x, out } = operandsOf(op, op.kind)
        data(out).set(data(x))
        return
      }
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

/** The recorded operands of an op, by the names of its slots. */
function operandsOf<Kind extends OpName>(op: PlanOp, kind: Kind): Operands<Kind> {
  const { buffers, weights = [], dims = [], params = [], flags = [] } = OP_SPECS[kind]
  const name = <Value>(slots: readonly string[], operands: readonly Value[]) =>
    slots.map((slot, i): [string, Value | undefined] => [slotName(slot), operands[i]])
  return Object.fromEntries([
    ...name(buffers, op.buffers),
    ...name(weights, op.weights),
    ...name(dims, op.dims),
    ...name(params, op.params),
    ...flags.map((flag) => [flag, (op.flags & OP_FLAGS[flag]) !== 0]),
    ["cache", op.cache],
  ]) as Operands<Kind>
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
