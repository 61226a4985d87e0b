/** ATTENTION_DENSE: attention over plain matrices, with and without the causal mask and a window. */

import { OP_FLAGS } from "../../src/native/ops.ts"
import { attention, type Heads } from "../support/kernel-attention.ts"
import { expectClose } from "../support/kernel-check.ts"
import { normals } from "../support/kernel-data.ts"
import { type KernelCase, kernelCases, type PreparedCase } from "../support/kernel-suite.ts"

interface Dense extends Heads {
  queries: number
  keys: number
  causal?: boolean
  window?: number
  scale?: number
  q?: Float32Array
  k?: Float32Array
  v?: Float32Array
  /** The expected result; default: the reference's. */
  want?: Float64Array
}

function prepare(dense: Dense): PreparedCase {
  const { heads, kvHeads, headDim, queries, keys, causal = false, window = 0 } = dense
  const scale = Math.fround(dense.scale ?? 1 / Math.sqrt(headDim))
  const width = heads * headDim
  const kvWidth = kvHeads * headDim
  const q = dense.q ?? normals(queries * width, queries)
  const k = dense.k ?? normals(keys * kvWidth, keys + 1)
  const v = dense.v ?? normals(keys * kvWidth, keys + 2)
  const rule = { heads, kvHeads, headDim, scale, window, ...(causal ? { firstPosition: keys - queries } : {}) }
  const columns = (values: Float32Array, stride: number) => ({ values, stride, start: 0 })
  const reference = () => attention(rule, columns(q, width), queries, columns(k, kvWidth), columns(v, kvWidth), keys)
  return {
    program: {
      buffers: [
        { rows: queries, width },
        { rows: keys, width: kvWidth },
        { rows: keys, width: kvWidth },
        { rows: queries, width },
      ],
      ops: [
        {
          kind: "ATTENTION_DENSE",
          flags: causal ? OP_FLAGS.causal : 0,
          buf: [0, 1, 2, 3],
          dim: [heads, kvHeads, headDim, window],
          f: [scale],
        },
      ],
    },
    inputs: [
      [0, q],
      [1, k],
      [2, v],
    ],
    step: (run) => run.rows(1),
    check: (run) => expectClose(run.read(3, queries), dense.want ?? reference(), { width: headDim }),
    work: {
      bytes: 4 * (2 * queries * width + 2 * keys * kvWidth),
      flops: (causal ? 2 : 4) * queries * keys * width,
    },
  }
}

const GROUPS = [
  { heads: 3, kvHeads: 3 },
  { heads: 9, kvHeads: 3 },
  { heads: 8, kvHeads: 1 },
]

const table = [false, true].flatMap((causal) =>
  GROUPS.flatMap((group) =>
    [32, 64, 80, 96, 128].flatMap((headDim) =>
      [
        [1, 1],
        [1, 33],
        [2, 31],
        [17, 17],
        [17, 67],
      ].map(([queries = 1, keys = 1]): KernelCase => {
        const shape = `${queries} × ${keys}, ${group.heads}:${group.kvHeads} heads of ${headDim}${causal ? ", causal" : ""}`
        return { name: shape, shape, make: () => prepare({ ...group, headDim, queries, keys, causal }) }
      }),
    ),
  ),
)
const large = [false, true].map((causal): KernelCase => {
  const shape = `512 × 512, 3:1 heads of 64${causal ? ", causal" : ""}`
  return {
    name: shape,
    shape,
    make: () => prepare({ heads: 3, kvHeads: 1, headDim: 64, queries: 512, keys: 512, causal }),
  }
})
kernelCases("ATTENTION_DENSE", "ATTENTION_DENSE", [...table, ...large])

kernelCases(
  "ATTENTION_DENSE, window",
  "ATTENTION_DENSE",
  [false, true].flatMap((causal) =>
    [1, 2, 16, 17, 33, 1000].flatMap((window) =>
      [
        { heads: 1, kvHeads: 1, headDim: 64, queries: 70, keys: 70 },
        { heads: 9, kvHeads: 3, headDim: 40, queries: 17, keys: 67 },
        { heads: 8, kvHeads: 1, headDim: 33, queries: 5, keys: 131 },
        { heads: 4, kvHeads: 2, headDim: 128, queries: 1, keys: 50 },
      ].map((shape): KernelCase => {
        const { heads, kvHeads, headDim, queries, keys } = shape
        const sizes = `${queries} × ${keys}, ${heads}:${kvHeads} heads of ${headDim}${causal ? ", causal" : ""}`
        return { name: `window ${window}, ${sizes}`, shape: sizes, make: () => prepare({ ...shape, causal, window }) }
      }),
    ),
  ),
)

const one = { heads: 1, kvHeads: 1 }
const identity = (n: number) => Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0))
const ones = (n: number) => new Float32Array(n).fill(1)
const mean = (values: Float32Array, rows: number, width: number) =>
  Float64Array.from({ length: width }, (_, column) => {
    let sum = 0
    for (let row = 0; row < rows; row++) sum += values[row * width + column] as number
    return sum / rows
  })

/** One key per basis vector: each score is one element of the query, each weight one element of the output. */
function identityKeysAndValues(): PreparedCase {
  const n = 32
  const q = normals(4 * n, 5)
  return prepare({ ...one, headDim: n, queries: 4, keys: n, scale: 1, q, k: identity(n), v: identity(n) })
}

/** Integer scores of ±1600 are exact in float32, so only the softmax can go wrong. */
function largeScores(): PreparedCase {
  const q = new Float32Array(32).fill(10)
  const k = Float32Array.from({ length: 3 * 32 }, (_, i) => [5, -5, 5][Math.floor(i / 32)] as number)
  const v = Float32Array.from({ length: 3 * 32 }, (_, i) => Math.floor(i / 32))
  return prepare({ ...one, headDim: 32, queries: 1, keys: 3, scale: 1, q, k, v, want: new Float64Array(32).fill(1) })
}

/** Scores 0 and ln 3 weigh the values 1/4 and 3/4. */
function knownWeights(): PreparedCase {
  const q = ones(32)
  const k = new Float32Array(64).fill(Math.log(3) / 32, 32)
  const v = Float32Array.from({ length: 64 }, (_, i) => (i < 32 ? 8 : 16))
  return prepare({ ...one, headDim: 32, queries: 1, keys: 2, scale: 1, q, k, v, want: new Float64Array(32).fill(14) })
}

/** Every head has the same keys and queries but its own values, so its output must come from its own values. */
function independentHeads(): PreparedCase {
  const v = Float32Array.from({ length: 5 * 128 }, (_, i) => Math.floor((i % 128) / 32) + 1)
  const want = Float64Array.from({ length: 2 * 128 }, (_, i) => Math.floor((i % 128) / 32) + 1)
  return prepare({ heads: 4, kvHeads: 4, headDim: 32, queries: 2, keys: 5, v, want })
}

function uniform(): PreparedCase {
  const v = normals(9 * 32, 6)
  const average = mean(v, 9, 32)
  const want = Float64Array.of(...average, ...average, ...average)
  return prepare({ ...one, headDim: 32, queries: 3, keys: 9, q: new Float32Array(96), v, want })
}

function singleKey(): PreparedCase {
  const v = normals(32, 7)
  return prepare({ ...one, headDim: 32, queries: 1, keys: 1, v, want: Float64Array.from(v) })
}

const dense = (name: string, options: Partial<Dense>): KernelCase => ({
  name,
  make: () => prepare({ heads: 1, kvHeads: 1, headDim: 32, queries: 4, keys: 4, ...options }),
})

kernelCases("prototype: non-causal attention", "ATTENTION_DENSE", [
  { name: "QKᵀ of one query and one key returns the value", make: singleKey },
  dense("QKᵀ of 4 queries and 4 keys", {}),
  dense("QKᵀ with more keys than queries", { queries: 2, keys: 7 }),
  dense("QKᵀ with fewer keys than queries", { queries: 7, keys: 2 }),
  { name: "weighted values: scores 0 and ln 3 weigh 1/4 and 3/4", make: knownWeights },
  dense("weighted values of 16 keys", { queries: 1, keys: 16 }),
  dense("single head of 32", { queries: 8, keys: 8 }),
  dense("single head of 64", { headDim: 64, queries: 8, keys: 8 }),
  dense("4 heads of 32", { heads: 4, kvHeads: 4, queries: 8, keys: 8 }),
  dense("8 heads of 64", { heads: 8, kvHeads: 8, headDim: 64, queries: 8, keys: 8 }),
  { name: "heads do not mix", make: independentHeads },
  dense("a batch of 1 query", { heads: 2, kvHeads: 2, queries: 1, keys: 24 }),
  dense("a batch of 8 queries", { heads: 2, kvHeads: 2, queries: 8, keys: 24 }),
  dense("a batch of 32 queries", { heads: 2, kvHeads: 2, queries: 32, keys: 24 }),
  { name: "zero queries average the values", make: uniform },
  { name: "identity keys and values show the softmax weights", make: identityKeysAndValues },
  { name: "scores of ±1600 stay finite", make: largeScores },
])

/** Keys and values after the diagonal are huge: attending to one of them would change the result visibly. */
function hiddenFuture(): PreparedCase {
  const k = normals(4 * 32, 8)
  const v = normals(4 * 32, 9)
  const want = prefix(k, v, 3)
  k.fill(1e4, 3 * 32)
  v.fill(1e30, 3 * 32)
  const q = normals(4 * 32, 4)
  const prepared = prepare({ ...one, headDim: 32, queries: 4, keys: 4, causal: true, q, k, v })
  return { ...prepared, check: (run) => expectClose(run.read(3, 4).subarray(0, 96), want, { width: 32 }) }
}

/** The first three rows of the causal result over the first three keys. */
function prefix(k: Float32Array, v: Float32Array, rows: number): Float64Array {
  const columns = (values: Float32Array) => ({ values, stride: 32, start: 0 })
  const rule = { ...one, headDim: 32, scale: Math.fround(1 / Math.sqrt(32)), firstPosition: 0 }
  return attention(rule, columns(normals(4 * 32, 4)), rows, columns(k), columns(v), rows)
}

/** Equal scores: query i averages values 0 … i. */
function prefixAverages(): PreparedCase {
  const v = Float32Array.from({ length: 6 * 32 }, (_, i) => Math.floor(i / 32))
  const want = Float64Array.from({ length: 6 * 32 }, (_, i) => Math.floor(i / 32) / 2)
  return prepare({ ...one, headDim: 32, queries: 6, keys: 6, causal: true, q: new Float32Array(6 * 32), v, want })
}

function oneRow(name: string, row: number, wantOf: (v: Float32Array) => Float64Array): KernelCase {
  const make = () => {
    const v = normals(5 * 32, 10)
    const q = new Float32Array(5 * 32)
    const prepared = prepare({ ...one, headDim: 32, queries: 5, keys: 5, causal: true, q, v })
    const check: PreparedCase["check"] = (run) =>
      expectClose(run.read(3, 5).subarray(row * 32, row * 32 + 32), wantOf(v), { width: 32 })
    return { ...prepared, check }
  }
  return { name, make }
}

kernelCases("prototype: causal attention", "ATTENTION_DENSE", [
  oneRow("the first query sees the first key alone", 0, (v) => Float64Array.from(v.subarray(0, 32))),
  oneRow("the last query sees every key", 4, (v) => mean(v, 5, 32)),
  dense("a single token", { causal: true, queries: 1, keys: 1 }),
  dense("4 × 4 equals mask, softmax and product", { causal: true }),
  dense("4 heads of 32", { causal: true, heads: 4, kvHeads: 4, queries: 8, keys: 8 }),
  { name: "later keys and values do not change the result", make: hiddenFuture },
  { name: "equal scores average the prefix", make: prefixAverages },
  dense("64 tokens", { causal: true, queries: 64, keys: 64, heads: 2, kvHeads: 2 }),
])

/** Equal scores: a query averages the values it attends to. Value j is j, and the last of 5 queries is at the last of 8 keys. */
function averages(causal: boolean, window: number, means: readonly number[]): PreparedCase {
  const v = Float32Array.from({ length: 8 * 32 }, (_, i) => Math.floor(i / 32))
  const want = Float64Array.from({ length: 5 * 32 }, (_, i) => means[Math.floor(i / 32)] as number)
  return prepare({ ...one, headDim: 32, queries: 5, keys: 8, causal, window, q: new Float32Array(5 * 32), v, want })
}

/** Keys and values outside the last query's window are huge: attending to one of them would change the result visibly. */
function hiddenOutside(causal: boolean): PreparedCase {
  const window = 3
  const seen = normals(window * 32, 11)
  const v = new Float32Array(40 * 32).fill(1e30)
  v.set(seen, 37 * 32)
  const k = new Float32Array(40 * 32).fill(1e4, 0, 37 * 32)
  const q = new Float32Array(32).fill(1)
  return prepare({ ...one, headDim: 32, queries: 1, keys: 40, causal, window, q, k, v, want: mean(seen, window, 32) })
}

kernelCases("ATTENTION_DENSE, what a window shows", "ATTENTION_DENSE", [
  { name: "causal, window 1: the query's own value", make: () => averages(true, 1, [3, 4, 5, 6, 7]) },
  {
    name: "causal, window 2: the query's own value and the previous one",
    make: () => averages(true, 2, [2.5, 3.5, 4.5, 5.5, 6.5]),
  },
  { name: "causal, window 5: cut off at the first key", make: () => averages(true, 5, [1.5, 2, 3, 4, 5]) },
  { name: "causal, window 0: no window", make: () => averages(true, 0, [1.5, 2, 2.5, 3, 3.5]) },
  { name: "window 1: the query's own value", make: () => averages(false, 1, [3, 4, 5, 6, 7]) },
  {
    name: "window 2: the query's value and its neighbours', cut off at the last key",
    make: () => averages(false, 2, [3, 4, 5, 6, 6.5]),
  },
  { name: "window 4: cut off at both ends", make: () => averages(false, 4, [3, 4, 4.5, 5, 5.5]) },
  { name: "window 0: no window", make: () => averages(false, 0, [3.5, 3.5, 3.5, 3.5, 3.5]) },
  { name: "keys outside a causal window do not change the result", make: () => hiddenOutside(true) },
  { name: "keys outside a window do not change the result", make: () => hiddenOutside(false) },
])
