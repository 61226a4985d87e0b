/** Records a plan: one method per op, each checking its operands' shapes before it is recorded. */

import type { WeightFormat } from "../gguf/formats.ts"
import { formatNamed, rowBytes } from "../gguf/formats.ts"
import { OP_FLAGS, OP_SPECS, type OpName, slotName } from "../native/ops.ts"
import {
  expect,
  expectApart,
  expectHeads,
  expectInput,
  expectRope,
  expectSameRows,
  expectSameShape,
  expectVector,
  expectWidth,
  positive,
} from "./checks.ts"
import {
  type HeadShape,
  type Operands,
  type PlanBuffer,
  type PlanCache,
  PlanError,
  type PlanOp,
  type Rope,
  type Rows,
  type Weight,
  type WeightSource,
} from "./operands.ts"
import { Plan } from "./plan.ts"

interface AttentionOptions extends HeadShape {
  /** Factor of q·k. Default 1/√head_dim. */
  scale?: number
  /** Keys that a query sees, itself included (`hip/ops.h` says which); 0: no window. */
  window?: number
  /** Scores become softcap · tanh(score / softcap); 0: off. */
  softcap?: number
}

const MAX_MATMUL_WEIGHTS = 3

export class PlanBuilder {
  readonly #ops: PlanOp[] = []
  readonly #weights: Weight[] = []
  readonly #buffers: PlanBuffer[] = []
  readonly #caches: PlanCache[] = []
  readonly #eps: number
  #layer: number | undefined

  /** @param eps of the RMS norms. */
  constructor({ eps = 1e-5 }: { eps?: number } = {}) {
    this.#eps = eps
  }

  /** A weight of a model file. @param rows 1 for a vector. */
  weight(name: string, format: WeightFormat, rows: number, cols: number, source: WeightSource): Weight {
    const nBytes = "bytes" in source ? source.bytes.length : source.nBytes
    positive(`weight "${name}"`, { rows, cols })
    const expected = rows * rowBytes(format, cols)
    if (nBytes !== expected) {
      throw new PlanError(`weight "${name}" [${rows}, ${cols}] ${format.name} takes ${expected} bytes, not ${nBytes}`)
    }
    const weight: Weight = { id: this.#weights.length, name, format, rows, cols, source }
    this.#weights.push(weight)
    return weight
  }

  /** A computed weight, f32 [rows, values.length / rows]. */
  constant(name: string, values: Float32Array, rows = 1): Weight {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    return this.weight(name, formatNamed("F32"), rows, values.length / rows, { bytes })
  }

  /** An activation buffer, f32 [rows, width]. @param pinned as in PlanBuffer; false by default. */
  buffer(name: string, rows: Rows, width: number, { pinned = false } = {}): PlanBuffer {
    positive(`buffer "${name}"`, typeof rows === "number" ? { rows, width } : { width })
    if (this.#buffers.some((other) => other.name === name)) throw new PlanError(`two buffers are named "${name}"`)
    const buffer: PlanBuffer = { id: this.#buffers.length, name, rows, width, pinned }
    this.#buffers.push(buffer)
    return buffer
  }

  /** The paged K/V cache of one layer. */
  cache(name: string, { nKvHeads, headDim }: { nKvHeads: number; headDim: number }): PlanCache {
    positive(`cache "${name}"`, { n_kv_heads: nKvHeads, head_dim: headDim })
    const cache: PlanCache = { id: this.#caches.length, name, nKvHeads, headDim }
    this.#caches.push(cache)
    return cache
  }

  /** Assigns the ops recorded from now on to layer `index`, or to none. */
  layer(index: number | undefined): void {
    this.#layer = index
  }

  /** out[t] = scale · table[token of row t]. */
  embed(table: Weight, out: PlanBuffer, scale = 1): void {
    expect(out.rows === "tokens", "EMBED", `"${out.name}" must have a row for each token`)
    expectWidth("EMBED", out, table.cols)
    this.#emit("EMBED", { out, table, scale })
  }

  /** out = x / √(mean(x²) + eps) · weight, row by row. */
  rmsNorm(x: PlanBuffer, weight: Weight, out: PlanBuffer, eps = this.#eps): void {
    expectVector("RMS_NORM", weight, x.width)
    expectSameShape("RMS_NORM", x, out)
    this.#emit("RMS_NORM", { in: x, out, weight, eps })
  }

  /** out = [x·w0ᵀ + bias0, x·w1ᵀ + bias1, …], the results of up to three weights side by side. */
  matmul(x: PlanBuffer, w: Weight | Weight[], out: PlanBuffer, bias?: Weight | (Weight | undefined)[]): void {
    this.#matmul(x, w, out, bias, false)
  }

  /** out += x·wᵀ + bias. */
  matmulAdd(x: PlanBuffer, w: Weight | Weight[], out: PlanBuffer, bias?: Weight | (Weight | undefined)[]): void {
    this.#matmul(x, w, out, bias, true)
  }

  /** out = silu(x·gateᵀ) · (x·upᵀ). */
  swiglu(x: PlanBuffer, [gate, up]: readonly [gate: Weight, up: Weight], out: PlanBuffer): void {
    const op = "MATMUL_SWIGLU"
    for (const w of [gate, up]) expectInput(op, x, w)
    expect(gate.rows === up.rows, op, `"${gate.name}" has ${gate.rows} rows and "${up.name}" ${up.rows}`)
    expectWidth(op, out, gate.rows)
    expectSameRows(op, x, out)
    expectApart(op, x, out)
    this.#emit(op, { in: x, out, gate, up })
  }

  /**
   * Fills the table of the step's positions. @param invFreq f32 [dim / 2], radians a token.
   * @param magnitude factor of cosines and sines (YaRN's attention factor).
   */
  ropeTable(invFreq: Weight, table: PlanBuffer, { neox, magnitude = 1 }: { neox: boolean; magnitude?: number }): Rope {
    expectVector("ROPE_TABLE", invFreq, table.width / 2)
    expect(table.rows === "tokens", "ROPE_TABLE", `"${table.name}" must have a row for each token`)
    this.#emit("ROPE_TABLE", { out: table, inv_freq: invFreq, magnitude })
    return { table, dim: table.width, neox }
  }

  /** Normalizes (when norms are given) and rotates Q in place and K on its way into the cache; V is appended as it is. */
  ropeStore(
    qkv: PlanBuffer,
    cache: PlanCache,
    rope: Rope,
    options: { nHeads: number; qNorm?: Weight; kNorm?: Weight; eps?: number },
  ): void {
    const op = "ROPE_STORE"
    const { nHeads, qNorm, kNorm, eps = this.#eps } = options
    const { nKvHeads, headDim } = cache
    expectHeads(op, { nHeads, nKvHeads, headDim })
    expectWidth(op, qkv, (nHeads + 2 * nKvHeads) * headDim)
    expectRope(op, qkv, rope, headDim)
    for (const norm of [qNorm, kNorm]) if (norm) expectVector(op, norm, headDim)
    this.#emit(op, {
      qkv,
      rope: rope.table,
      q_norm: qNorm,
      k_norm: kNorm,
      n_heads: nHeads,
      n_kv_heads: nKvHeads,
      head_dim: headDim,
      rope_dim: rope.dim,
      eps,
      neox: rope.neox,
      cache,
    })
  }

  /** Causal attention of the step's queries over the cached keys. out: [n_tokens, n_heads·head_dim]. */
  attention(
    qkv: PlanBuffer,
    cache: PlanCache,
    out: PlanBuffer,
    options: { nHeads: number; scale?: number; window?: number; softcap?: number },
  ): void {
    const op = "ATTENTION"
    const { nKvHeads, headDim } = cache
    const { nHeads, scale = 1 / Math.sqrt(headDim), window = 0, softcap = 0 } = options
    expectHeads(op, { nHeads, nKvHeads, headDim })
    expectWidth(op, qkv, (nHeads + 2 * nKvHeads) * headDim)
    expectWidth(op, out, nHeads * headDim)
    expect(qkv.rows === "tokens" && out.rows === "tokens", op, "its buffers must have a row for each token")
    expectApart(op, qkv, out)
    this.#emit(op, {
      qkv,
      out,
      n_heads: nHeads,
      n_kv_heads: nKvHeads,
      head_dim: headDim,
      window,
      scale,
      softcap,
      cache,
    })
  }

  /** out = the rows of x that the step samples from. */
  gather(x: PlanBuffer, out: PlanBuffer): void {
    expect(
      x.rows === "tokens" && out.rows === "outputs",
      "GATHER",
      `"${x.name}" must have a row for each token, and "${out.name}" a row for each output`,
    )
    expectWidth("GATHER", out, x.width)
    this.#emit("GATHER", { in: x, out })
  }

  /** Chooses a token for each output; the last op of a model's plan. */
  sample(logits: PlanBuffer): void {
    expect(logits.rows === "outputs", "SAMPLE", `"${logits.name}" must have a row for each output`)
    this.#emit("SAMPLE", { logits, vocab: logits.width })
  }

  /** out = x · factor. */
  scale(x: PlanBuffer, out: PlanBuffer, factor: number): void {
    expectSameShape("SCALE", x, out)
    this.#emit("SCALE", { in: x, out, factor })
  }

  /** out = a + b. */
  add(a: PlanBuffer, b: PlanBuffer, out: PlanBuffer): void {
    expectSameShape("ADD", a, b)
    expectSameShape("ADD", a, out)
    this.#emit("ADD", { a, b, out })
  }

  /** Query q of a head keeps the scores of keys 0 … n_keys - n_queries + q; the rest become -inf. x: [heads·n_queries, n_keys]. */
  causalMask(x: PlanBuffer, out: PlanBuffer, nQueries: number): void {
    expectSameShape("CAUSAL_MASK", x, out)
    expect(
      typeof x.rows === "number" && x.rows % nQueries === 0 && nQueries <= x.width,
      "CAUSAL_MASK",
      `"${x.name}" must have a fixed multiple of ${nQueries} rows and at least as many columns`,
    )
    this.#emit("CAUSAL_MASK", { in: x, out, n_queries: nQueries, n_keys: x.width })
  }

  /** Softmax over each row. */
  softmax(x: PlanBuffer, out: PlanBuffer): void {
    expectSameShape("SOFTMAX", x, out)
    this.#emit("SOFTMAX", { in: x, out })
  }

  /** Rotates every head of x, [n_tokens, n_heads·head_dim]. */
  rope(x: PlanBuffer, rope: Rope, out: PlanBuffer, { nHeads, headDim }: { nHeads: number; headDim: number }): void {
    expectWidth("ROPE", x, nHeads * headDim)
    expectSameShape("ROPE", x, out)
    expectRope("ROPE", x, rope, headDim)
    this.#emit("ROPE", {
      in: x,
      rope: rope.table,
      out,
      n_heads: nHeads,
      head_dim: headDim,
      rope_dim: rope.dim,
      neox: rope.neox,
    })
  }

  /** out = silu(gate) · up, elementwise. */
  swigluElements(gate: PlanBuffer, up: PlanBuffer, out: PlanBuffer): void {
    expectSameShape("SWIGLU", gate, up)
    expectSameShape("SWIGLU", gate, out)
    this.#emit("SWIGLU", { gate, up, out })
  }

  /** Attention over keys and values in buffers. With `causal` or a `window` the last query is aligned with the last key. */
  attentionDense(
    q: PlanBuffer,
    k: PlanBuffer,
    v: PlanBuffer,
    out: PlanBuffer,
    options: Omit<AttentionOptions, "softcap"> & { causal?: boolean },
  ): void {
    const op = "ATTENTION_DENSE"
    const { nHeads, nKvHeads, headDim, scale = 1 / Math.sqrt(headDim), window = 0, causal = false } = options
    expectHeads(op, options)
    expectWidth(op, q, nHeads * headDim)
    expectWidth(op, k, nKvHeads * headDim)
    expectSameShape(op, k, v)
    expectSameShape(op, q, out)
    for (const input of [q, k, v]) expectApart(op, input, out)
    if (typeof q.rows !== "number" || typeof k.rows !== "number") {
      throw new PlanError(`${op}: "${q.name}" and "${k.name}" must have fixed numbers of rows`)
    }
    const aligned = causal || window > 0
    expect(!aligned || k.rows >= q.rows, op, `"${k.name}" has ${k.rows} rows, and must have at least ${q.rows}`)
    this.#emit(op, {
      q,
      k,
      v,
      out,
      n_heads: nHeads,
      n_kv_heads: nKvHeads,
      head_dim: headDim,
      window,
      scale,
      causal,
    })
  }

  /** @throws PlanError when a buffer is read before anything is written to it. */
  finish(): Plan {
    return new Plan(this.#ops, this.#weights, this.#buffers, this.#caches)
  }

  #matmul(
    x: PlanBuffer,
    w: Weight | Weight[],
    out: PlanBuffer,
    bias: Weight | (Weight | undefined)[] | undefined,
    add: boolean,
  ): void {
    const op = "MATMUL"
    const weights = Array.isArray(w) ? w : [w]
    const biases = Array.isArray(bias) ? bias : [bias]
    expect(
      weights.length >= 1 && weights.length <= MAX_MATMUL_WEIGHTS,
      op,
      `it takes 1 to 3 weights, not ${weights.length}`,
    )
    expect(biases.length <= weights.length, op, `${biases.length} biases for ${weights.length} weights`)
    for (const [i, weight] of weights.entries()) {
      expectInput(op, x, weight)
      const b = biases[i]
      if (b) expectVector(op, b, weight.rows)
    }
    expectWidth(
      op,
      out,
      weights.reduce((sum, { rows }) => sum + rows, 0),
    )
    expectSameRows(op, x, out)
    expectApart(op, x, out)
    const [w0, w1, w2] = weights as [Weight, ...Weight[]]
    const [bias0, bias1, bias2] = biases
    this.#emit(op, { in: x, out, w0, w1, w2, bias0, bias1, bias2, add })
  }

  #emit<Kind extends OpName>(kind: Kind, operands: Operands<Kind>): void {
    const spec = OP_SPECS[kind]
    const named = operands as Readonly<Record<string, unknown>>
    const pick = <Operand>(slots: readonly string[] = []) => slots.map((slot) => named[slotName(slot)] as Operand)
    const op: PlanOp = {
      kind,
      flags: (spec.flags ?? []).reduce((sum, flag) => sum + (named[flag] === true ? OP_FLAGS[flag] : 0), 0),
      buffers: pick<PlanBuffer>(spec.buffers),
      weights: pick<Weight | undefined>(spec.weights),
      dims: pick<number>(spec.dims),
      params: pick<number>(spec.params),
      cache: named.cache as PlanCache | undefined,
      layer: this.#layer,
    }
    for (const buffer of op.buffers) {
      if (this.#buffers[buffer.id] !== buffer) throw new PlanError(`buffer "${buffer.name}" belongs to another plan`)
    }
    for (const weight of op.weights) {
      if (weight && this.#weights[weight.id] !== weight)
        throw new PlanError(`weight "${weight.name}" belongs to another plan`)
    }
    for (const [i, value] of op.dims.entries()) {
      const fits = Number.isInteger(value) && value >= 0 && value < 2 ** 31
      expect(fits, kind, `${spec.dims?.[i]} is ${value}, and must be an integer of 0 … 2^31 - 1`)
    }
    for (const [i, value] of op.params.entries()) {
      expect(Number.isFinite(value), kind, `${spec.params?.[i]} is ${value}, and must be finite`)
    }
    this.#ops.push(op)
  }
}
