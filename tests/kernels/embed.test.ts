/** EMBED: rows of the table, decoded and scaled. One float32 product per element, so the result is exact. */

import { type FormatName, formatNamed } from "../../src/gguf/formats.ts"
import { expectClose } from "../support/kernel-check.ts"
import { Random } from "../support/kernel-data.ts"
import { type KernelCase, kernelCases, type PreparedCase } from "../support/kernel-suite.ts"
import { FORMAT_NAMES, randomWeight } from "../support/kernel-weights.ts"

function prepare(format: FormatName, rows: number, hidden: number, scale = 1, ids?: number[]): PreparedCase {
  const vocab = 101
  const table = randomWeight(format, vocab, hidden, hidden)
  const random = new Random(rows)
  // The ids always contain the first and the last one, and one id twice.
  const tokens = ids ?? [vocab - 1, 0, 5, 5, ...Array.from({ length: rows }, () => random.below(vocab))].slice(0, rows)
  const f = Math.fround(scale)
  const want = Float64Array.from({ length: rows * hidden }, (_, i) => {
    const token = tokens[Math.floor(i / hidden)] as number
    return Math.fround((table.values[token * hidden + (i % hidden)] as number) * f)
  })
  return {
    program: {
      buffers: [{ rows: "tokens", width: hidden }],
      ops: [{ kind: "EMBED", buf: [0], tensor: [0], f: [f] }],
      weights: [table],
    },
    step: (run) => ({ ...run.rows(rows), tokens }),
    check: (run) => expectClose(run.read(0, rows), want, { width: hidden, tolerance: 1e-12 }),
    work: { bytes: rows * (table.bytes.length / vocab + 4 * hidden), flops: 0 },
  }
}

function widths(format: FormatName): number[] {
  const elems = formatNamed(format).blockElems
  if (elems === 1) return [1, 3, 31, 33, 576, 1000]
  return elems === 32 ? [32, 96, 576] : [256, 768]
}

for (const format of FORMAT_NAMES) {
  kernelCases(
    `EMBED, ${format}`,
    "EMBED",
    widths(format).flatMap((hidden) =>
      [1, 2, 17, 512].map((rows): KernelCase => {
        const shape = `${rows} × ${hidden}`
        return { name: shape, shape, format, make: () => prepare(format, rows, hidden) }
      }),
    ),
  )
}

kernelCases("EMBED, scale", "EMBED", [
  { name: "by sqrt(hidden)", make: () => prepare("F32", 17, 576, Math.sqrt(576)) },
  { name: "by 12, Q8_0", make: () => prepare("Q8_0", 17, 576, 12) },
  { name: "the same id in every row", make: () => prepare("Q4_1", 64, 96, 1, new Array<number>(64).fill(100)) },
])
