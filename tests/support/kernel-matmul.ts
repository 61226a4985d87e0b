/**
 * Float64 references of matrix products.
 *
 * Products with F32, F16 and BF16 weights use the activations unchanged. For the block formats the op first rounds the activations
 * to integers: for each 32 consecutive elements of a row amax = max |x|, d = amax / 32512, q = round(x · 32512 / amax), ties to
 * even, each step in float32. Two int8 hold such a q (127 · 256 = 32512). A block whose amax is at most 1e-30 counts as zeros.
 * Then out = Σ over the blocks of d · Σ w · q, where w is the exact weight.
 *
 * The tolerance of an element is 1e-5 of itself plus 1e-5 of the root sum square of its terms w · x, which is the expected size of a
 * sum of independent terms. The error of float32 sums of a thousand terms is well below it.
 */

import type { Weight } from "./kernel-weights.ts"
import { isQuantized } from "./kernel-weights.ts"

export interface Product {
  /** [rows, n] */
  values: Float64Array
  /** Root sum square of each element's terms. */
  scale: Float64Array
}

/** kActivationMax of hip/cpu/matmul.h. */
const ACTIVATION_MAX = 127 * 256

/** in [rows, k] times weight [n, k], with activations rounded if the weight's format requires it. */
export function matmul(input: Float32Array, weight: Weight): Product {
  return isQuantized(weight.format) ? product(roundActivations(input, weight.cols), weight) : product(input, weight)
}

/** The product without rounding of the activations. */
export function plainMatmul(input: Float32Array, weight: Weight): Product {
  return product(input, weight)
}

function product(input: ArrayLike<number>, { values: w, rows: n, cols: k }: Weight): Product {
  const rows = input.length / k
  const values = new Float64Array(rows * n)
  const scale = new Float64Array(rows * n)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < n; column++) {
      let sum = 0
      let squares = 0
      const from = row * k
      const at = column * k
      for (let i = 0; i < k; i++) {
        const term = (input[from + i] as number) * (w[at + i] as number)
        sum += term
        squares += term * term
      }
      values[row * n + column] = sum
      scale[row * n + column] = Math.sqrt(squares)
    }
  }
  return { values, scale }
}

/** The rounded activations, d · q in each block of 32. Exact in float64. */
export function roundActivations(input: Float32Array, width: number): Float64Array {
  const out = new Float64Array(input.length)
  for (let start = 0; start < input.length; start += 32) {
    if (width % 32 !== 0) throw new RangeError(`rows of ${width} are no whole number of blocks of 32`)
    let amax = 0
    for (let i = start; i < start + 32; i++) amax = Math.max(amax, Math.abs(input[i] as number))
    const d = Math.fround(amax / ACTIVATION_MAX)
    const inverse = amax > 1e-30 ? Math.fround(ACTIVATION_MAX / amax) : 0
    for (let i = start; i < start + 32; i++) out[i] = d * roundToEven(Math.fround((input[i] as number) * inverse))
  }
  return out
}

function roundToEven(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1
  return floor % 2 === 0 ? floor : floor + 1
}

/** Products side by side, [rows, Σ n], plus each weight's bias. */
export function concatenate(
  rows: number,
  products: readonly Product[],
  biases: readonly (Float32Array | undefined)[],
): Product {
  const widths = products.map((p) => p.values.length / rows)
  const width = widths.reduce((sum, n) => sum + n, 0)
  const values = new Float64Array(rows * width)
  const scale = new Float64Array(rows * width)
  let column = 0
  for (const [i, p] of products.entries()) {
    const n = widths[i] as number
    const bias = biases[i]
    for (let row = 0; row < rows; row++) {
      for (let j = 0; j < n; j++) {
        const added = bias?.[j] ?? 0
        values[row * width + column + j] = (p.values[row * n + j] as number) + added
        scale[row * width + column + j] = (p.scale[row * n + j] as number) + Math.abs(added)
      }
    }
    column += n
  }
  return { values, scale }
}
