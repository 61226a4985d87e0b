/** Steps of IQ4_NL and IQ4_XS, as in `RF_IQ4_VALUES` of hip/formats.h. */
export const IQ4_VALUES = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] as const

const LARGEST_HALF = 65504
const half = new Float16Array(1)
const halfBytes = new Uint8Array(half.buffer)

/** Stores `value`, clamped to the finite range, as binary16 at byte `at`, and returns the stored value. */
export function putHalf(out: Uint8Array, at: number, value: number): number {
  half[0] = Math.min(LARGEST_HALF, Math.max(-LARGEST_HALF, value))
  out.set(halfBytes, at)
  return half[0] ?? 0
}

/** `Math.round(value / step)`, or 0 if the step is 0, clamped to `low..high`. */
export function roundTo(value: number, step: number, low: number, high: number): number {
  const quotient = step === 0 ? 0 : Math.round(value / step)
  return Math.min(high, Math.max(low, quotient))
}

/** The value with the largest magnitude, including its sign. */
export function extreme(values: ArrayLike<number>): number {
  let best = 0
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? 0
    if (Math.abs(value) > Math.abs(best)) best = value
  }
  return best
}

/** Index of the entry of `table` that is nearest to `value`. */
export function nearest(table: readonly number[], value: number): number {
  let best = 0
  let bestDistance = Number.POSITIVE_INFINITY
  for (let i = 0; i < table.length; i++) {
    const distance = Math.abs((table[i] ?? 0) - value)
    if (distance < bestDistance) {
      best = i
      bestDistance = distance
    }
  }
  return best
}

/** Among `candidates`, the scale s with the least squared error of s * table[nearest] against `values`. */
export function bestTableScale(values: Float32Array, table: readonly number[], candidates: readonly number[]): number {
  let best = 0
  let bestError = Number.POSITIVE_INFINITY
  for (const scale of candidates) {
    let error = 0
    for (const value of values) {
      const step = scale === 0 ? 0 : (table[nearest(table, value / scale)] ?? 0)
      error += (value - scale * step) ** 2
    }
    if (error < bestError) {
      best = scale
      bestError = error
    }
  }
  return best
}

/** Candidate scales for IQ4 steps, which put the largest value at or near either end of the table. */
export function iq4Candidates(values: Float32Array): number[] {
  const peak = extreme(values)
  return [-127, 113].flatMap((end) => [0.85, 0.925, 1, 1.08].map((stretch) => (peak / end) * stretch))
}

/** Stores 32 values of 4 bits: byte j holds element j in its low half and element j + 16 in its high half, as in all nibble blocks of 32. */
export function putNibbles(out: Uint8Array, at: number, quants: ArrayLike<number>): void {
  for (let j = 0; j < 16; j++) out[at + j] = ((quants[j] ?? 0) & 15) | (((quants[j + 16] ?? 0) & 15) << 4)
}
