/** RMS_NORM: out = in / sqrt(mean(in²) + eps) · weight (Zhang and Sennrich, 2019). */

import { gains, normals } from "../support/kernel-data.ts"
import { floatWeight } from "../support/kernel-program.ts"
import { rowOp, shapeCases, shapes } from "../support/kernel-rows.ts"
import { type KernelCase, kernelCases } from "../support/kernel-suite.ts"

const EPS = Math.fround(1e-5)

/** Float64 reference, [rows, width]. */
function rmsNorm(input: Float32Array, weight: Float32Array, eps: number): Float64Array {
  const width = weight.length
  const out = new Float64Array(input.length)
  for (let start = 0; start < input.length; start += width) {
    let squares = 0
    for (let i = 0; i < width; i++) squares += (input[start + i] as number) ** 2
    const inverse = 1 / Math.sqrt(squares / width + eps)
    for (let i = 0; i < width; i++) out[start + i] = (input[start + i] as number) * inverse * (weight[i] as number)
  }
  return out
}

const ones = (n: number) => new Float32Array(n).fill(1)

function prepare(input: Float32Array, weight: Float32Array, eps = EPS, want = rmsNorm(input, weight, eps)) {
  const width = weight.length
  return rowOp({
    rows: input.length / width,
    width,
    op: { kind: "RMS_NORM", buf: [0, 1], tensor: [0], f: [eps] },
    weights: [floatWeight(weight)],
    inputs: [input],
    want,
    flops: 4 * input.length,
  })
}

kernelCases(
  "RMS_NORM",
  "RMS_NORM",
  shapeCases(shapes(), (rows, width) => prepare(normals(rows * width, rows + width, 3), gains(width, width))),
)

const named: Record<string, () => ReturnType<typeof prepare>> = {
  "a row of zeros stays zero": () => prepare(new Float32Array(64), gains(64, 1)),
  "eps dominates tiny values": () => prepare(normals(2 * 96, 2, 1e-9), gains(96, 2)),
  "eps 1e-6": () => prepare(normals(2 * 96, 3, 1e-3), gains(96, 3), Math.fround(1e-6)),
  "values of 1e15 do not overflow": () => prepare(normals(576, 4, 1e15), gains(576, 4)),
  "one outlier of 1e4 among small values": () => prepare(normals(576, 5, 1e-2).fill(1e4, 100, 101), gains(576, 5)),
  "negative and zero weights": () => prepare(normals(33, 6), normals(33, 7).fill(0, 3, 5)),
}

kernelCases(
  "RMS_NORM, special values",
  "RMS_NORM",
  Object.entries(named).map(([name, make]): KernelCase => ({ name, make })),
)

const prototype: Record<string, () => ReturnType<typeof prepare>> = {
  "RMSNorm of a constant row is the sign of the constant": () =>
    prepare(new Float32Array(32).fill(-4), ones(32), 0, new Float64Array(32).fill(-1)),
  "RMSNorm of [3, 4] is [3, 4] / sqrt(12.5)": () =>
    prepare(Float32Array.of(3, 4), ones(2), 0, Float64Array.of(3 / Math.sqrt(12.5), 4 / Math.sqrt(12.5))),
  "RMSNorm applies the weight by column": () =>
    prepare(Float32Array.of(1, 1, 1, 1), Float32Array.of(1, 2, 3, 4), 0, Float64Array.of(1, 2, 3, 4)),
  "RMSNorm of several rows normalizes each by itself": () => {
    const input = normals(4 * 64, 11)
    for (let row = 0; row < 4; row++)
      for (let i = 0; i < 64; i++) input[row * 64 + i] = (input[i] as number) * 10 ** row
    const first = rmsNorm(input.slice(0, 64), ones(64), 0)
    return prepare(
      input,
      ones(64),
      0,
      Float64Array.from({ length: 256 }, (_, i) => first[i % 64] as number),
    )
  },
}

kernelCases(
  "prototype: RMSNorm",
  "RMS_NORM",
  Object.entries(prototype).map(([name, make]): KernelCase => ({ name, make })),
)
