/** MATMUL_SWIGLU: out = silu(gate · in) · (up · in), the two weights of any formats. */

import { type FormatName, formatNamed } from "../../src/gguf/formats.ts"
import { expectClose } from "../support/kernel-check.ts"
import { normals } from "../support/kernel-data.ts"
import { silu } from "../support/kernel-math.ts"
import { matmul } from "../support/kernel-matmul.ts"
import { type KernelCase, kernelCases, type PreparedCase } from "../support/kernel-suite.ts"
import { FORMAT_NAMES, randomWeight } from "../support/kernel-weights.ts"

function prepare(
  rows: number,
  k: number,
  n: number,
  gateFormat: FormatName,
  upFormat = gateFormat,
  nThreads = 2,
): PreparedCase {
  const gate = randomWeight(gateFormat, n, k, 1)
  const up = randomWeight(upFormat, n, k, 2)
  const input = normals(rows * k, rows + k, 2 / Math.sqrt(k))
  return {
    program: {
      buffers: [
        { rows: "tokens", width: k },
        { rows: "tokens", width: n },
      ],
      ops: [{ kind: "MATMUL_SWIGLU", buf: [0, 1], tensor: [0, 1] }],
      weights: [gate, up],
      limits: { nThreads },
    },
    inputs: [[0, input]],
    step: (run) => run.rows(rows),
    check: (run) => {
      const g = matmul(input, gate)
      const u = matmul(input, up)
      const want = g.values.map((value, i) => silu(value) * (u.values[i] as number))
      // The error of each product is multiplied by the other factor; the slope of silu is at most 1.1.
      const scale = g.values.map(
        (value, i) =>
          1.1 * (g.scale[i] as number) * Math.abs(u.values[i] as number) +
          Math.abs(silu(value)) * (u.scale[i] as number),
      )
      expectClose(run.read(1, rows), want, { width: n, scale, tolerance: run.tolerance })
    },
    work: { bytes: gate.bytes.length + up.bytes.length + 4 * rows * (k + n), flops: 4 * rows * k * n },
  }
}

function innerSizes(format: FormatName): number[] {
  const elems = formatNamed(format).blockElems
  if (elems === 1) return [1, 33, 576]
  return elems === 32 ? [32, 576] : [256, 768]
}

for (const format of FORMAT_NAMES) {
  const cases = innerSizes(format).flatMap((k) =>
    [1, 2, 17].flatMap((rows) =>
      [1, 33, 100].map((n): KernelCase => {
        const shape = `${rows} × ${k} × ${n}`
        return { name: shape, shape, format, make: () => prepare(rows, k, n, format) }
      }),
    ),
  )
  const k = innerSizes(format).at(-1) as number
  const many = [150, 200, 512].map((rows): KernelCase => {
    const shape = `${rows} × ${k} × 24`
    return { name: shape, shape, format, make: () => prepare(rows, k, 24, format) }
  })
  kernelCases(`MATMUL_SWIGLU, ${format}`, "MATMUL_SWIGLU", [...cases, ...many])
}

const mixed: readonly (readonly [FormatName, FormatName])[] = [
  ["Q4_K", "Q6_K"],
  ["F32", "Q4_0"],
  ["Q4_1", "F16"],
  ["Q8_0", "Q5_0"],
]
kernelCases(
  "MATMUL_SWIGLU, mixed formats and threads",
  "MATMUL_SWIGLU",
  mixed.flatMap(([gate, up]) =>
    [1, 2, 17].flatMap((rows) =>
      [1, 2, 5].map(
        (nThreads): KernelCase => ({
          name: `gate ${gate}, up ${up}, ${rows} rows, ${nThreads} threads`,
          make: () => prepare(rows, 512, 150, gate, up, nThreads),
        }),
      ),
    ),
  ),
)
