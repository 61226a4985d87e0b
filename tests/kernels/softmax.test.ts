/** SOFTMAX over each row, with the row's largest value subtracted first; a row of -infinity gives zeros. */

import { expectClose } from "../support/kernel-check.ts"
import { normals } from "../support/kernel-data.ts"
import { softmaxRows } from "../support/kernel-math.ts"
import { rowOp, shapeCases, shapes } from "../support/kernel-rows.ts"
import { type KernelCase, kernelCases, type PreparedCase } from "../support/kernel-suite.ts"

function prepare(input: Float32Array, rows = 1, want = softmaxRows(input, input.length / rows)): PreparedCase {
  const width = input.length / rows
  return rowOp({ rows, width, op: { kind: "SOFTMAX", buf: [0, 1] }, inputs: [input], want, flops: 4 * input.length })
}

kernelCases(
  "SOFTMAX",
  "SOFTMAX",
  shapeCases(shapes(), (rows, width) => prepare(normals(rows * width, width, 4), rows)),
)

const minus = Number.NEGATIVE_INFINITY
/** Probabilities down to e^-80 have a relative error of at most 1e-5. */
function elementwise(): PreparedCase {
  const input = Float32Array.from({ length: 801 }, (_, i) => -i / 10)
  const check: PreparedCase["check"] = (run) =>
    expectClose(run.read(1, 1), softmaxRows(input, 801), { width: 801, scale: 1e-33 })
  return { ...prepare(input), check }
}

const special: KernelCase[] = [
  {
    name: "a row of -infinity gives zeros and does not affect its neighbours",
    make: () => prepare(normals(3 * 33, 1).fill(minus, 33, 66), 3),
  },
  { name: "masked entries are exactly zero", make: () => prepare(normals(40, 2).fill(minus, 7, 30)) },
  { name: "values around 1e30 do not overflow", make: () => prepare(Float32Array.of(1e30, 1e30, -1e30, 0)) },
  { name: "values of -1e30 do not underflow together", make: () => prepare(new Float32Array(33).fill(-1e30)) },
  { name: "probabilities down to e^-80 keep their relative precision", make: elementwise },
  {
    name: "adding a constant to a row does not change the result",
    make: () => {
      const input = Float32Array.from({ length: 65 }, (_, i) => ((i * 37) % 65) / 8)
      return prepare(
        input.map((x) => x + 512),
        1,
        softmaxRows(input, 65),
      )
    },
  },
]
kernelCases("SOFTMAX, special values", "SOFTMAX", special)

kernelCases("prototype: softmax", "SOFTMAX", [
  {
    name: "softmax of equal scores is uniform",
    make: () => prepare(new Float32Array(4 * 10).fill(3), 4, new Float64Array(40).fill(0.1)),
  },
])
