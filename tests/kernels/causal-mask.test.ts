/** CAUSAL_MASK: query q of n_queries attends to keys 0 … n_keys - n_queries + q; the other scores become -infinity. Exact. */

import { expectClose } from "../support/kernel-check.ts"
import { normals } from "../support/kernel-data.ts"
import { type KernelCase, kernelCases, type PreparedCase } from "../support/kernel-suite.ts"

function causalMask(scores: Float32Array, queries: number, keys: number): Float64Array {
  return Float64Array.from(scores, (value, i) => {
    const query = Math.floor(i / keys) % queries
    return i % keys <= keys - queries + query ? value : Number.NEGATIVE_INFINITY
  })
}

function prepare(heads: number, queries: number, keys: number, outBuffer = 1): PreparedCase {
  const rows = heads * queries
  const scores = normals(rows * keys, rows + keys)
  const buffer = { rows, width: keys }
  return {
    program: {
      buffers: [buffer, buffer],
      ops: [{ kind: "CAUSAL_MASK", buf: [0, outBuffer], dim: [queries, keys] }],
    },
    inputs: [[0, scores]],
    step: (run) => run.rows(1),
    check: (run) =>
      expectClose(run.read(outBuffer, rows), causalMask(scores, queries, keys), { width: keys, tolerance: 0 }),
    work: { bytes: 8 * rows * keys, flops: 0 },
  }
}

const cases = [1, 3, 9].flatMap((heads) =>
  [
    [1, 1],
    [1, 33],
    [2, 2],
    [2, 31],
    [17, 17],
    [17, 1000],
    [31, 33],
    [128, 128],
  ].map(([queries = 1, keys = 1]): KernelCase => {
    const shape = `${heads} heads, ${queries} queries, ${keys} keys`
    return { name: shape, shape, make: () => prepare(heads, queries, keys) }
  }),
)
kernelCases("CAUSAL_MASK", "CAUSAL_MASK", [...cases, { name: "in place", make: () => prepare(3, 17, 17, 0) }])

kernelCases("prototype: causal mask", "CAUSAL_MASK", [
  { name: "the mask hides the scores above the diagonal", make: () => prepare(1, 4, 4) },
])
