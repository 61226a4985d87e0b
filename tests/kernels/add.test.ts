/** ADD: out = a + b, elementwise. One float32 sum per element, so the result is exact. */

import { normals } from "../support/kernel-data.ts"
import { rowOp, shapeCases, shapes } from "../support/kernel-rows.ts"
import { type KernelCase, kernelCases } from "../support/kernel-suite.ts"

function prepare(a: Float32Array, b: Float32Array, rows: number, outBuffer = 2) {
  const want = Float64Array.from(a, (value, i) => Math.fround(value + (b[i] as number)))
  const op = { kind: "ADD", buf: [0, 1, outBuffer] } as const
  return rowOp({ rows, width: a.length / rows, op, inputs: [a, b], want, outBuffer, tolerance: 1e-12 })
}

kernelCases(
  "ADD",
  "ADD",
  shapeCases(shapes(), (rows, width) => prepare(normals(rows * width, 1), normals(rows * width, 2), rows)),
)

const special: KernelCase[] = [
  { name: "into a", make: () => prepare(normals(99, 1), normals(99, 2), 3, 0) },
  { name: "into b", make: () => prepare(normals(99, 1), normals(99, 2), 3, 1) },
  {
    name: "opposites cancel to zero",
    make: () =>
      prepare(
        normals(99, 1),
        normals(99, 1).map((x) => -x),
        3,
      ),
  },
]
kernelCases("ADD, in place and special values", "ADD", special)
