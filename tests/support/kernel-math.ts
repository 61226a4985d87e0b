/** Float64 references for the tests of several ops. */

/** x / (1 + e^-x); 0 where e^-x overflows. */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x))
}

/** Softmax of each row; a row of -infinity gives zeros. */
export function softmaxRows(values: ArrayLike<number>, width: number): Float64Array {
  const out = new Float64Array(values.length)
  for (let start = 0; start < values.length; start += width) {
    let most = Number.NEGATIVE_INFINITY
    for (let i = start; i < start + width; i++) most = Math.max(most, values[i] as number)
    if (most === Number.NEGATIVE_INFINITY) continue
    let sum = 0
    for (let i = start; i < start + width; i++) {
      out[i] = Math.exp((values[i] as number) - most)
      sum += out[i] as number
    }
    for (let i = start; i < start + width; i++) out[i] = (out[i] as number) / sum
  }
  return out
}
