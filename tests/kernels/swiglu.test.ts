/** SWIGLU: out = silu(gate) · up with silu(x) = x / (1 + e^-x) (Shazeer, "GLU variants improve transformer", 2020). */

import { expectClose } from "../support/kernel-check.ts"
import { normals } from "../support/kernel-data.ts"
import { silu } from "../support/kernel-math.ts"
import { rowOp, shapeCases, shapes } from "../support/kernel-rows.ts"
import { type KernelCase, kernelCases, type PreparedCase } from "../support/kernel-suite.ts"

function swiglu(gate: Float32Array, up: Float32Array): Float64Array {
  return Float64Array.from(gate, (value, i) => silu(value) * (up[i] as number))
}

function prepare(gate: Float32Array, up: Float32Array, rows = 1, want = swiglu(gate, up), outBuffer = 2): PreparedCase {
  const width = gate.length / rows
  const op = { kind: "SWIGLU", buf: [0, 1, outBuffer] } as const
  return rowOp({ rows, width, op, inputs: [gate, up], want, outBuffer, flops: 5 * gate.length })
}

kernelCases(
  "SWIGLU",
  "SWIGLU",
  shapeCases(shapes(), (rows, width) => prepare(normals(rows * width, 1, 3), normals(rows * width, 2), rows)),
)

/** Compares each element by itself, so that small results count as well: |got - want| ≤ 1e-5 |want| + 1e-38. */
function elementwise(gate: Float32Array, up: Float32Array): PreparedCase {
  const prepared = prepare(gate, up)
  const check: PreparedCase["check"] = (run) =>
    expectClose(run.read(2, 1), swiglu(gate, up), { width: gate.length, scale: 1e-33 })
  return { ...prepared, check }
}

const steps = (from: number, to: number, n: number) =>
  Float32Array.from({ length: n }, (_, i) => from + ((to - from) * i) / (n - 1))

const special: KernelCase[] = [
  { name: "out may be the gate", make: () => prepare(normals(99, 3), normals(99, 4), 3, undefined, 0) },
  { name: "out may be up", make: () => prepare(normals(99, 3), normals(99, 4), 3, undefined, 1) },
  {
    name: "gates from -20 to 20 have a relative error of at most 1e-5",
    make: () => elementwise(steps(-20, 20, 1001), new Float32Array(1001).fill(1)),
  },
  {
    name: "gates down to -80 keep their relative precision",
    make: () => elementwise(steps(-80, -20, 601), new Float32Array(601).fill(1)),
  },
]
kernelCases("SWIGLU, special values", "SWIGLU", special)

const fill = (n: number, value: number) => new Float32Array(n).fill(value)
const exactly = (n: number, value: number) => new Float64Array(n).fill(value)

const prototype: KernelCase[] = [
  { name: "SwiGLU of a zero gate is zero", make: () => prepare(fill(32, 0), normals(32, 5), 1, exactly(32, 0)) },
  {
    name: "SwiGLU of a large positive gate is gate · up",
    make: () => prepare(fill(32, 100), fill(32, 2), 1, exactly(32, 200)),
  },
  {
    name: "SwiGLU of a large negative gate is nearly zero",
    make: () => prepare(fill(32, -1000), fill(32, 2), 1, exactly(32, 0)),
  },
  {
    name: "SwiGLU of gate 1 and up 1 is 1 / (1 + 1/e)",
    make: () => prepare(fill(32, 1), fill(32, 1), 1, exactly(32, 1 / (1 + Math.exp(-1)))),
  },
]
kernelCases("prototype: SwiGLU", "SWIGLU", prototype)
