/** GATHER: copies the rows of the step's outputs. Exact. */

import { expectClose } from "../support/kernel-check.ts"
import { normals, Random } from "../support/kernel-data.ts"
import { type KernelCase, kernelCases, type PreparedCase } from "../support/kernel-suite.ts"

function prepare(rows: number, width: number, picked: readonly number[]): PreparedCase {
  const input = normals(rows * width, width)
  const want = Float64Array.from({ length: picked.length * width }, (_, i) => {
    const row = picked[Math.floor(i / width)] as number
    return input[row * width + (i % width)] as number
  })
  return {
    program: {
      buffers: [
        { rows: "tokens", width },
        { rows: "outputs", width },
      ],
      ops: [{ kind: "GATHER", buf: [0, 1] }],
      limits: { maxOutputs: 512 },
    },
    inputs: [[0, input]],
    step: (run) => ({ ...run.rows(rows), outputs: picked.map((row) => ({ row })) }),
    check: (run) => expectClose(run.read(1, picked.length), want, { width, tolerance: 0 }),
    work: { bytes: 8 * picked.length * width, flops: 0 },
  }
}

const cases = [1, 3, 31, 33, 576, 1000].flatMap((width) =>
  [
    [1, 1],
    [2, 1],
    [17, 5],
    [512, 512],
  ].map(([rows = 1, outputs = 1]): KernelCase => {
    const shape = `${outputs} of ${rows} × ${width}`
    const picked = new Random(rows).shuffle(Array.from({ length: rows }, (_, i) => i)).slice(0, outputs)
    return { name: shape, shape, make: () => prepare(rows, width, picked) }
  }),
)
kernelCases("GATHER", "GATHER", [
  ...cases,
  { name: "the last row", make: () => prepare(17, 64, [16]) },
  { name: "the same row twice", make: () => prepare(5, 64, [3, 3, 0]) },
])
