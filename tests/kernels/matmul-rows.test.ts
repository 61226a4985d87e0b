/** MATMUL on the CPU: a row's product has the same bits for any number of rows, although few and many rows use different code. */

import { expect, test } from "bun:test"
import { normals } from "../support/kernel-data.ts"
import { openProgram } from "../support/kernel-harness.ts"
import { FORMAT_NAMES, randomWeight } from "../support/kernel-weights.ts"

const [K, N, MOST] = [512, 40, 49]
const COUNTS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 20, 24, 31, 33]

for (const format of FORMAT_NAMES) {
  test(`MATMUL [cpu], ${format}: a row's bits do not depend on the number of rows`, () => {
    using run = openProgram("cpu", {
      buffers: [
        { rows: "tokens", width: K },
        { rows: "tokens", width: N },
      ],
      ops: [{ kind: "MATMUL", flags: 0, buf: [0, 1], tensor: [0, -1, -1, -1, -1, -1] }],
      weights: [randomWeight(format, N, K, 11)],
      limits: { nThreads: 2 },
    })
    const blocks = run.blocks(MOST)
    const product = (x: Float32Array, rows: number): Uint32Array => {
      run.write(0, x)
      run.step({ sequences: [{ rows, blocks }] })
      return new Uint32Array(run.read(1, rows).buffer)
    }
    const x = normals(MOST * K, 5)
    const all = product(x, MOST)
    expect(new Set(all).size).toBeGreaterThan((MOST * N) / 2)
    for (const rows of COUNTS) {
      const from = MOST - rows
      expect(product(x.subarray(from * K), rows)).toEqual(all.subarray(from * N))
    }
  })
}
