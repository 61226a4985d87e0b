/**
 * Cases over the paged K/V cache: ROPE_STORE then ATTENTION, for any number of sequences that grow by any number of rows per step.
 * The reference stores the keys and values of each sequence in plain arrays, rounded as in the cache.
 */

import { BLOCK_SIZE } from "../../src/native/abi.ts"
import { DTYPE_BYTES, type Dtype, OP_FLAGS } from "../../src/native/ops.ts"
import { attention, type Heads } from "./kernel-attention.ts"
import { expectClose, TOLERANCE } from "./kernel-check.ts"
import { normals, toHalf, toQ80 } from "./kernel-data.ts"
import type { KernelRun } from "./kernel-harness.ts"
import { floatWeight, type OpSpec, type Program, type WeightSpec } from "./kernel-program.ts"
import { inverseFrequencies, type PairStyle, ropeTable, rotateHead } from "./kernel-rope.ts"
import type { StepSpec } from "./kernel-step.ts"
import type { PreparedCase } from "./kernel-suite.ts"

export interface Rotation {
  ropeDim: number
  style: PairStyle
  /** Norm weights [headDim] of queries and keys. */
  qNorm?: Float32Array
  kNorm?: Float32Array
}

export interface Paged extends Heads {
  dtype: Dtype
  scale?: number
  softcap?: number
  window?: number
  /** Absent: no rotation (cos 1, sin 0), so that keys are stored unchanged. */
  rotation?: Rotation
  /** rows[step][sequence]: the rows of each sequence; 0: the sequence is not in that step. */
  steps: readonly (readonly number[])[]
  tolerance?: number
  /** Threads that run the plan. */
  nThreads?: number
}

const EPS = Math.fround(1e-6)

/** Factor on the tolerance for a q8_0 cache with matrix units, which read it as f16 and so round each element of K and V again. */
const HALF_QUANTS = 2.5
const [QKV, TABLE, OUT] = [0, 1, 2] as const

/** Rounds a row [kvHeads, headDim] as a cache of each type does. */
const ROUND: Record<Dtype, (row: Float64Array) => Float64Array> = {
  f32: (row) => row,
  f16: (row) => Float64Array.from(toHalf(Float32Array.from(row))),
  q8_0: (row) => Float64Array.from(toQ80(Float32Array.from(row))),
}

/** The cached contents of one sequence. */
interface Past {
  k: Float64Array[]
  v: Float64Array[]
  blocks: number[]
}

export function pagedCase(paged: Paged): PreparedCase {
  const scenario = new Scenario(paged)
  const last = paged.steps.length - 1
  return {
    program: scenario.program,
    prepare: (run) => {
      scenario.begin(run)
      for (let step = 0; step < last; step++) {
        run.step(scenario.feed(run, step))
        scenario.check(run)
      }
    },
    step: (run) => scenario.feed(run, last),
    check: (run) => scenario.check(run),
    work: scenario.work(),
  }
}

class Scenario {
  readonly program: Program
  readonly #width: number
  readonly #ropeDim: number
  #pasts: Past[] = []
  #fed = -1
  #q: Float64Array = new Float64Array()
  #want: Float64Array = new Float64Array()

  constructor(readonly paged: Paged) {
    const { heads, kvHeads, headDim, rotation, steps } = paged
    this.#width = (heads + 2 * kvHeads) * headDim
    this.#ropeDim = rotation?.ropeDim ?? headDim
    const tokens = sum(steps.map(sum))
    this.program = {
      buffers: [
        { rows: "tokens", width: this.#width },
        { rows: "tokens", width: this.#ropeDim },
        { rows: "tokens", width: heads * headDim },
      ],
      caches: [{ kvHeads, headDim, dtype: paged.dtype }],
      ...this.#ops(),
      limits: {
        nThreads: paged.nThreads ?? 2,
        maxTokens: Math.max(...steps.map(sum)),
        maxSeqs: steps[0]?.length ?? 1,
        nBlocks: Math.ceil(tokens / BLOCK_SIZE) + 2 * (steps[0]?.length ?? 1),
      },
    }
  }

  #ops(): { ops: OpSpec[]; weights: WeightSpec[] } {
    const { heads, kvHeads, headDim, rotation, window = 0, softcap = 0 } = this.paged
    const weights: WeightSpec[] = []
    const weight = (values: Float32Array | undefined) => (values ? weights.push(floatWeight(values)) - 1 : -1)
    const norms = [weight(rotation?.qNorm), weight(rotation?.kNorm)]
    const dim = [heads, kvHeads, headDim]
    const flags = rotation?.style === "adjacent" ? 0 : OP_FLAGS.neox
    const store: OpSpec = {
      kind: "ROPE_STORE",
      flags,
      buf: [QKV, TABLE],
      tensor: norms,
      dim: [...dim, this.#ropeDim],
      f: [EPS],
      cache: 0,
    }
    const attend: OpSpec = {
      kind: "ATTENTION",
      buf: [QKV, OUT],
      dim: [...dim, window],
      f: [this.#scale(), softcap],
      cache: 0,
    }
    return { ops: [store, attend], weights }
  }

  #scale(): number {
    return Math.fround(this.paged.scale ?? 1 / Math.sqrt(this.paged.headDim))
  }

  begin(run: KernelRun): void {
    const sequences = this.paged.steps[0]?.length ?? 0
    this.#pasts = Array.from({ length: sequences }, (_, i) => {
      const tokens = sum(this.paged.steps.map((rows) => rows[i] as number))
      return { k: [], v: [], blocks: run.blocks(tokens) }
    })
    this.#fed = -1
  }

  /** Writes the inputs of a step, appends them (once) to the reference's cache, and returns the step. Odd steps have reverse order. */
  feed(run: KernelRun, step: number): StepSpec {
    const rows = this.paged.steps[step] as readonly number[]
    const order = [...rows.keys()].filter((i) => rows[i] !== 0)
    if (step % 2 === 1) order.reverse()
    const qkv = normals(sum(rows) * this.#width, 31 * step + 5)
    const advance = this.#fed < step
    this.#fed = step
    const before = (i: number) => (this.#pasts[i]?.k.length as number) - (advance ? 0 : (rows[i] as number))
    const positions = order.flatMap((i) => Array.from({ length: rows[i] as number }, (_, row) => before(i) + row))
    const table = this.#table(positions)
    run.write(QKV, qkv)
    run.write(TABLE, table)
    if (advance) this.#advance(qkv, table, order, rows)
    const sequences = order.map((i) => {
      const past = this.#pasts[i] as Past
      return {
        rows: rows[i] as number,
        kvLen: past.k.length,
        blocks: past.blocks.slice(0, Math.ceil(past.k.length / BLOCK_SIZE)),
      }
    })
    return { sequences }
  }

  #table(positions: readonly number[]): Float32Array {
    const still = new Float32Array(this.#ropeDim / 2)
    return Float32Array.from(ropeTable(positions, this.paged.rotation ? inverseFrequencies(this.#ropeDim) : still))
  }

  #advance(qkv: Float32Array, table: Float32Array, order: readonly number[], rows: readonly number[]): void {
    const { heads, kvHeads, headDim, dtype } = this.paged
    const rotated = this.#rotate(qkv, table)
    const qWidth = heads * headDim
    const kvWidth = kvHeads * headDim
    const store = (values: Float64Array) => ROUND[dtype](values)
    this.#q = new Float64Array((rotated.length / this.#width) * qWidth)
    const outputs: Float64Array[] = []
    let row = 0
    for (const i of order) {
      const past = this.#pasts[i] as Past
      const firstPosition = past.k.length
      const firstRow = row
      for (let n = 0; n < (rows[i] as number); n++, row++) {
        const at = row * this.#width
        this.#q.set(rotated.subarray(at, at + qWidth), row * qWidth)
        past.k.push(store(rotated.slice(at + qWidth, at + qWidth + kvWidth)))
        past.v.push(store(rotated.slice(at + qWidth + kvWidth, at + this.#width)))
      }
      outputs.push(this.#attend(past, this.#q.subarray(firstRow * qWidth, row * qWidth), firstPosition))
    }
    this.#want = concat(outputs)
  }

  #attend(past: Past, q: Float64Array, firstPosition: number): Float64Array {
    const { heads, kvHeads, headDim, softcap = 0, window = 0 } = this.paged
    const columns = (values: Float64Array, stride: number) => ({ values, stride, start: 0 })
    return attention(
      { heads, kvHeads, headDim, scale: this.#scale(), softcap: Math.fround(softcap), window, firstPosition },
      columns(q, heads * headDim),
      q.length / (heads * headDim),
      columns(concat(past.k), kvHeads * headDim),
      columns(concat(past.v), kvHeads * headDim),
      past.k.length,
    )
  }

  /** A copy of the rows with Q and K normalized and rotated. */
  #rotate(qkv: Float32Array, table: Float32Array): Float64Array {
    const { heads, kvHeads, headDim, rotation } = this.paged
    const out = Float64Array.from(qkv)
    for (let row = 0; row < qkv.length / this.#width; row++) {
      for (let head = 0; head < heads + kvHeads; head++) {
        const start = row * this.#width + head * headDim
        const norm = head < heads ? rotation?.qNorm : rotation?.kNorm
        if (norm) normalizeHead(out, start, norm)
        rotateHead(out, start, table, row * this.#ropeDim, this.#ropeDim, rotation?.style ?? "neox")
      }
    }
    return out
  }

  /** Compares the attention output of the latest step, and Q after ROPE_STORE. */
  check(run: KernelRun): void {
    const { heads, headDim, dtype, tolerance = 0 } = this.paged
    const room = dtype === "q8_0" && run.tolerance > TOLERANCE ? HALF_QUANTS : 1
    const width = heads * headDim
    const rows = this.#want.length / width
    const qkv = run.read(QKV, rows)
    const q = new Float32Array(rows * width)
    for (let row = 0; row < rows; row++) q.set(qkv.subarray(row * this.#width, row * this.#width + width), row * width)
    expectClose(q, this.#q, { width: headDim, what: `rotated Q of step ${this.#fed}` })
    expectClose(run.read(OUT, rows), this.#want, {
      width: headDim,
      what: `attention of step ${this.#fed}`,
      tolerance: Math.max(tolerance, room * run.tolerance),
    })
  }

  /** Work of the last step: one read of the cache per sequence, two products per query and visible key. */
  work() {
    const { heads, kvHeads, headDim, steps, dtype } = this.paged
    const last = steps.at(-1) as readonly number[]
    let keys = 0
    let pairs = 0
    for (const [i, rows] of last.entries()) {
      if (rows === 0) continue
      const length = sum(steps.map((step) => step[i] as number))
      keys += length
      pairs += rows * length - (rows * (rows - 1)) / 2
    }
    return {
      bytes: keys * 2 * kvHeads * headDim * DTYPE_BYTES[dtype] + 8 * sum(last) * heads * headDim,
      flops: 4 * pairs * heads * headDim,
    }
  }
}

function normalizeHead(values: Float64Array, start: number, weight: Float32Array): void {
  let squares = 0
  for (let i = 0; i < weight.length; i++) squares += (values[start + i] as number) ** 2
  const inverse = 1 / Math.sqrt(squares / weight.length + EPS)
  for (let i = 0; i < weight.length; i++)
    values[start + i] = (values[start + i] as number) * inverse * (weight[i] as number)
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function concat(parts: readonly Float64Array[]): Float64Array {
  const out = new Float64Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}
