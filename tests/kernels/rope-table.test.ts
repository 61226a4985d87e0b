/** ROPE_TABLE: cos and sin of position · inv_freq, the angle in float64: at position 131071 a float32 angle is off by 0.004. */

import { expectClose } from "../support/kernel-check.ts"
import { floatWeight } from "../support/kernel-program.ts"
import { inverseFrequencies, ropeTable } from "../support/kernel-rope.ts"
import { type KernelCase, kernelCases, type PreparedCase } from "../support/kernel-suite.ts"

interface Sequence {
  rows: number
  kvLen: number
}

function prepare(ropeDim: number, sequences: readonly Sequence[], magnitude = 1, theta = 10000): PreparedCase {
  const frequencies = inverseFrequencies(ropeDim, theta)
  const rows = sequences.reduce((sum, sequence) => sum + sequence.rows, 0)
  const positions = sequences.flatMap(({ rows, kvLen }) => Array.from({ length: rows }, (_, i) => kvLen - rows + i))
  const f = Math.fround(magnitude)
  return {
    program: {
      buffers: [{ rows: "tokens", width: ropeDim }],
      ops: [{ kind: "ROPE_TABLE", buf: [0], tensor: [0], f: [f] }],
      weights: [floatWeight(frequencies)],
      limits: { nBlocks: 9000 },
    },
    step: (run) => ({ sequences: sequences.map((s) => ({ ...s, blocks: run.blocks(s.kvLen) })) }),
    check: (run) =>
      expectClose(run.read(0, rows), ropeTable(positions, frequencies, f), {
        width: ropeDim,
        scale: f,
        tolerance: 1e-6,
      }),
    work: { bytes: 4 * rows * ropeDim, flops: 0 },
  }
}

const cases = [2, 32, 64, 80, 96, 128].flatMap((ropeDim) =>
  [1, 2, 17, 512].map((rows): KernelCase => {
    const shape = `rope_dim ${ropeDim}, ${rows} rows`
    return { name: shape, shape, make: () => prepare(ropeDim, [{ rows, kvLen: rows }]) }
  }),
)
kernelCases("ROPE_TABLE", "ROPE_TABLE", cases)

kernelCases("ROPE_TABLE, positions", "ROPE_TABLE", [
  {
    name: "the positions of a sequence start after its own cached tokens",
    make: () =>
      prepare(64, [
        { rows: 1, kvLen: 100 },
        { rows: 5, kvLen: 5 },
        { rows: 3, kvLen: 40 },
      ]),
  },
  { name: "position 131071", make: () => prepare(128, [{ rows: 2, kvLen: 131072 }]) },
  { name: "position 131071, theta 500000", make: () => prepare(128, [{ rows: 2, kvLen: 131072 }], 1, 500000) },
  { name: "YaRN's magnitude scales both halves", make: () => prepare(64, [{ rows: 9, kvLen: 50 }], 1.2079441) },
])
