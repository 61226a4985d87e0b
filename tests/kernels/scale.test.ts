/** SCALE: out = in · f. One float32 product per element, so the result is exact. */

import { normals } from "../support/kernel-data.ts"
import { rowOp, shapeCases, shapes } from "../support/kernel-rows.ts"
import { type KernelCase, kernelCases } from "../support/kernel-suite.ts"

function prepare(input: Float32Array, factor: number, rows = 1, outBuffer = 1) {
  const f = Math.fround(factor)
  const want = Float64Array.from(input, (value) => Math.fround(value * f))
  const op = { kind: "SCALE", buf: [0, outBuffer], f: [f] } as const
  return rowOp({ rows, width: input.length / rows, op, inputs: [input], want, outBuffer, tolerance: 1e-12 })
}

kernelCases(
  "SCALE",
  "SCALE",
  shapeCases(shapes(), (rows, width) => prepare(normals(rows * width, 1), 0.125 + width / 7, rows)),
)

const special: KernelCase[] = [
  { name: "in place", make: () => prepare(normals(99, 2), -1.5, 3, 0) },
  { name: "by zero", make: () => prepare(normals(99, 2), 0, 3) },
  { name: "by one changes nothing", make: () => prepare(normals(99, 2), 1, 3) },
]
kernelCases("SCALE, special values", "SCALE", special)

kernelCases("prototype: scale", "SCALE", [
  { name: "scale by 1/sqrt(head_dim) of 64", make: () => prepare(normals(8 * 64, 3), 1 / Math.sqrt(64), 8) },
])
