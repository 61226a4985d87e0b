/** MATMUL: one to three weights of any formats, with their outputs side by side, biases, and addition to the residual. */

import { expect, test } from "bun:test"
import { type FormatName, formatNamed } from "../../src/gguf/formats.ts"
import { OP_FLAGS } from "../../src/native/ops.ts"
import { expectClose, relativeDistance } from "../support/kernel-check.ts"
import { normals } from "../support/kernel-data.ts"
import { openProgram } from "../support/kernel-harness.ts"
import { concatenate, matmul, type Product, plainMatmul } from "../support/kernel-matmul.ts"
import { floatWeight } from "../support/kernel-program.ts"
import {
  benchCases,
  type KernelCase,
  kernelCases,
  onEveryBackend,
  type PreparedCase,
  runCase,
} from "../support/kernel-suite.ts"
import { FORMAT_NAMES, isQuantized, randomWeight } from "../support/kernel-weights.ts"

interface Matmul {
  rows: number
  k: number
  /** Format and rows of each weight. */
  parts: readonly (readonly [FormatName, number])[]
  biases?: readonly boolean[]
  add?: boolean
  input?: Float32Array
  rowsKind?: "tokens" | "outputs" | "fixed"
  nThreads?: number
}

function prepare({
  rows,
  k,
  parts,
  biases = [],
  add = false,
  input,
  rowsKind = "tokens",
  nThreads = 2,
}: Matmul): PreparedCase {
  const weights = parts.map(([format, n], i) => randomWeight(format, n, k, 100 * i + n + k))
  const x = input ?? normals(rows * k, rows + k)
  const width = parts.reduce((sum, [, n]) => sum + n, 0)
  const residual = normals(rows * width, 77)
  const biasValues = weights.map((weight, i) => (biases[i] ? normals(weight.rows, i + 5) : undefined))
  const given = biasValues.filter((values) => values !== undefined)
  const kind = rowsKind === "fixed" ? rows : rowsKind
  let nextBias = weights.length
  const biasIds = biasValues.map((values) => (values ? nextBias++ : -1))
  const tensor = [0, 1, 2].map((i) => (i < weights.length ? i : -1)).concat(biasIds)
  const finish = (products: Product[]): Product => {
    const out = concatenate(rows, products, biasValues)
    if (add)
      for (let i = 0; i < residual.length; i++) out.values[i] = (out.values[i] as number) + (residual[i] as number)
    return out
  }
  return {
    program: {
      buffers: [
        { rows: kind, width: k },
        { rows: kind, width },
      ],
      ops: [{ kind: "MATMUL", flags: add ? OP_FLAGS.add : 0, buf: [0, 1], tensor }],
      weights: [...weights, ...given.map((values) => floatWeight(values))],
      limits: { nThreads, maxOutputs: 512 },
    },
    inputs: [
      [0, x],
      [1, residual],
    ],
    step: (run) => {
      const outputs = Array.from({ length: rows }, (_, row) => ({ row }))
      if (rowsKind === "fixed") return run.rows(1)
      return rowsKind === "tokens" ? run.rows(rows) : { ...run.rows(rows), outputs }
    },
    check: (run) => {
      const got = run.read(1, rows)
      const want = finish(weights.map((weight) => matmul(x, weight)))
      expectClose(got, want.values, { width, scale: want.scale, tolerance: run.tolerance })
      const plain = finish(weights.map((weight) => plainMatmul(x, weight)))
      if (rows * width >= 32) expect(relativeDistance(got, plain.values)).toBeLessThan(Math.max(2e-4, run.tolerance))
    },
    work: {
      bytes: weights.reduce((sum, weight) => sum + weight.bytes.length, 0) + 4 * rows * (k + width),
      flops: 2 * rows * k * width,
    },
  }
}

/** Inner sizes (k) that are a whole number of the format's blocks. */
function innerSizes(format: FormatName): number[] {
  const elems = formatNamed(format).blockElems
  if (elems === 1) return [1, 3, 31, 33, 576, 1000]
  return elems === 32 ? [32, 96, 576, 992] : [256, 512, 768]
}

const single = (format: FormatName, rows: number, k: number, n: number): KernelCase => {
  const shape = `${rows} × ${k} × ${n}`
  return { name: `${format}, ${shape}`, shape, format, make: () => prepare({ rows, k, parts: [[format, n]] }) }
}

for (const format of FORMAT_NAMES) {
  const sizes = innerSizes(format)
  const large = isQuantized(format) ? 512 : 500
  kernelCases(`MATMUL, ${format}`, "MATMUL", [
    ...sizes.flatMap((k) => [1, 2, 17].flatMap((rows) => [1, 3, 33].map((n) => single(format, rows, k, n)))),
    ...[3, 4, 5, 7, 8, 9, 16, 31, 64].map((rows) => single(format, rows, sizes.at(-1) as number, 20)),
    single(format, 1, large, 1000),
    single(format, 2, large, 257),
    ...[150, 200].map((rows) => single(format, rows, large, 35)),
    single(format, 512, large, 48),
  ])
}

benchCases(
  "MATMUL, model shapes",
  "MATMUL",
  FORMAT_NAMES.flatMap((format) => [
    single(format, 1, 2048, 8192),
    single(format, 8, 2048, 8192),
    single(format, 512, 2048, 2048),
  ]),
)

const several: readonly (readonly [string, Omit<Matmul, "rows">])[] = [
  [
    "Q, K, V of Q4_K, Q4_K and Q6_K",
    {
      k: 512,
      parts: [
        ["Q4_K", 96],
        ["Q4_K", 32],
        ["Q6_K", 32],
      ],
    },
  ],
  [
    "Q, K, V of Q4_0, Q8_0 and F16",
    {
      k: 96,
      parts: [
        ["Q4_0", 33],
        ["Q8_0", 31],
        ["F16", 7],
      ],
    },
  ],
  [
    "Q, K, V of Q4_1, Q5_0 and F32, with biases",
    {
      k: 576,
      parts: [
        ["Q4_1", 64],
        ["Q5_0", 16],
        ["F32", 16],
      ],
      biases: [true, true, true],
    },
  ],
  [
    "two weights, the second with a bias",
    {
      k: 64,
      parts: [
        ["BF16", 5],
        ["Q5_1", 9],
      ],
      biases: [false, true],
    },
  ],
  [
    "the first and third with a bias",
    {
      k: 256,
      parts: [
        ["IQ4_XS", 5],
        ["Q2_K", 9],
        ["Q3_K", 3],
      ],
      biases: [true, false, true],
    },
  ],
  ["onto the residual, Q4_1", { k: 576, parts: [["Q4_1", 100]], add: true }],
  ["onto the residual, F32", { k: 33, parts: [["F32", 31]], add: true }],
  ["onto the residual with a bias, Q6_K", { k: 256, parts: [["Q6_K", 40]], add: true, biases: [true] }],
  [
    "three weights, added to the residual",
    {
      k: 256,
      parts: [
        ["Q5_K", 17],
        ["MXFP4", 31],
        ["IQ4_NL", 2],
      ],
      add: true,
      biases: [false, true, false],
    },
  ],
]
kernelCases(
  "MATMUL, several weights, biases, residual",
  "MATMUL",
  several.flatMap(([name, options]) =>
    [1, 2, 17, 130, 200].map(
      (rows): KernelCase => ({ name: `${name}, ${rows} rows`, make: () => prepare({ rows, ...options }) }),
    ),
  ),
)

kernelCases("MATMUL, rows and threads", "MATMUL", [
  ...(["outputs", "fixed"] as const).flatMap((rowsKind) =>
    [1, 9].map((rows): KernelCase => {
      const make = () => prepare({ rows, k: 576, parts: [["Q4_1", 300]], rowsKind })
      return { name: `${rows} ${rowsKind} rows`, make }
    }),
  ),
  ...[1, 3, 8].flatMap((nThreads) =>
    (["F32", "Q4_1", "Q4_K"] as const).map((format): KernelCase => {
      const make = () => prepare({ rows: 5, k: 512, parts: [[format, 333]], nThreads })
      return { name: `${nThreads} threads, ${format}`, make }
    }),
  ),
])

const spiked = (n: number) => normals(n, 3).map((x, i) => (i % 97 === 0 ? x * 1e4 : x))
const patchy = (n: number) => normals(n, 4).map((x, i) => (Math.floor(i / 32) % 2 === 0 ? 0 : x))
const activations: readonly (readonly [string, (n: number) => Float32Array])[] = [
  ["zeros give zeros", (n) => new Float32Array(n)],
  ["blocks of zeros between others", patchy],
  ["one outlier of 1e4 in a block", spiked],
  ["values of 1e-20", (n) => normals(n, 5, 1e-20)],
  ["values of 1e15", (n) => normals(n, 6, 1e15)],
  [
    "ties of the rounding",
    (n) => Float32Array.from({ length: n }, (_, i) => (i % 32 === 0 ? 32512 : ((i * 7) % 200) - 100 + 0.5)),
  ],
]
for (const format of ["F32", "F16", "Q4_1", "Q8_0", "Q4_K", "Q6_K", "MXFP4"] as const) {
  kernelCases(
    `MATMUL, activations, ${format}`,
    "MATMUL",
    activations.map(
      ([name, values]): KernelCase => ({
        name,
        format,
        make: () => {
          const prepared = prepare({ rows: 3, k: 512, parts: [[format, 40]], input: values(3 * 512) })
          if (name !== "zeros give zeros") return prepared
          return { ...prepared, check: (run) => expectClose(run.read(1, 3), new Float64Array(120), { width: 40 }) }
        },
      }),
    ),
  )
}

onEveryBackend("MATMUL, what is not finite", (backend) => {
  const outputs = (format: FormatName, rows: number, spoil: (input: Float32Array) => void): Float32Array => {
    const input = normals(rows * 512, 8)
    spoil(input)
    const prepared = prepare({ rows, k: 512, parts: [[format, 40]], input })
    using run = openProgram(backend, prepared.program)
    runCase(run, prepared)
    return run.read(1, rows)
  }

  for (const format of ["F32", "F16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K", "IQ4_XS", "MXFP4"] as const) {
    for (const rows of [1, 5]) {
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
        test(`${value} in a row affects only that row, ${format}, ${rows} rows`, () => {
          const got = outputs(format, rows, (input) => input.fill(value, 40, 41))
          for (const [i, x] of got.entries()) expect([i, Number.isFinite(x)]).toEqual([i, i >= 40])
        })
      }
    }
    test(`subnormal activations give nearly zero, ${format}`, () => {
      const got = outputs(format, 2, (input) => {
        for (let i = 0; i < input.length; i++) input[i] = i % 3 === 0 ? 1e-40 : 0
      })
      for (const x of got) expect(Math.abs(x)).toBeLessThan(1e-30)
    })
  }
})
