/** Rotary position embedding (Su et al., "RoFormer", 2021), float64 references. */

/** theta^(-2i / ropeDim) for i < ropeDim / 2, in the form of a plan's weight. */
export function inverseFrequencies(ropeDim: number, theta = 10000): Float32Array {
  return Float32Array.from({ length: ropeDim / 2 }, (_, i) => theta ** ((-2 * i) / ropeDim))
}

/** [positions, ropeDim]: cosines in the first half, sines in the second, times the magnitude. */
export function ropeTable(positions: readonly number[], frequencies: Float32Array, magnitude = 1): Float64Array {
  const half = frequencies.length
  const out = new Float64Array(positions.length * 2 * half)
  for (const [row, position] of positions.entries()) {
    for (let i = 0; i < half; i++) {
      const angle = position * (frequencies[i] as number)
      out[row * 2 * half + i] = Math.cos(angle) * magnitude
      out[row * 2 * half + half + i] = Math.sin(angle) * magnitude
    }
  }
  return out
}

/** How the elements of a head pair up: (i, i + ropeDim/2) or (2i, 2i + 1). */
export type PairStyle = "neox" | "adjacent"

/** Rotates the head at `start` of `values` in place, by one row of a rope table. Elements from ropeDim on do not change. */
export function rotateHead(
  values: Float64Array,
  start: number,
  table: ArrayLike<number>,
  tableStart: number,
  ropeDim: number,
  style: PairStyle,
): void {
  const half = ropeDim / 2
  for (let i = 0; i < half; i++) {
    const first = start + (style === "neox" ? i : 2 * i)
    const second = style === "neox" ? first + half : first + 1
    const cosine = table[tableStart + i] as number
    const sine = table[tableStart + half + i] as number
    const x = values[first] as number
    const y = values[second] as number
    values[first] = x * cosine - y * sine
    values[second] = x * sine + y * cosine
  }
}
