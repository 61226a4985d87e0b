/** Encoders of the formats with blocks of 32. Layouts: hip/formats.h. */
import {
  bestTableScale,
  extreme,
  IQ4_VALUES,
  iq4Candidates,
  nearest,
  putHalf,
  putNibbles,
  roundTo,
} from "./quantize-common.ts"

/** E2M1 values times two, as in `RF_MXFP4_VALUES` of hip/formats.h. */
const MXFP4_VALUES = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12] as const

/** Writes the scale (and the min with `offset`) and returns the quants. With `offset` the levels span min..max, else a range around zero. */
function linear(values: Float32Array, out: Uint8Array, levels: 16 | 32, offset: boolean): number[] {
  if (offset) {
    const low = values.reduce((a, b) => Math.min(a, b))
    const high = values.reduce((a, b) => Math.max(a, b))
    const scale = putHalf(out, 0, (high - low) / (levels - 1))
    const min = putHalf(out, 2, low)
    return Array.from(values, (value) => roundTo(value - min, scale, 0, levels - 1))
  }
  const middle = levels / 2
  const scale = putHalf(out, 0, extreme(values) / -middle)
  return Array.from(values, (value) => roundTo(value, scale, -middle, middle - 1) + middle)
}

/** Q4_0, or Q4_1 with `offset`. */
export function encodeQ4(values: Float32Array, out: Uint8Array, offset: boolean): void {
  putNibbles(out, offset ? 4 : 2, linear(values, out, 16, offset))
}

/** Q5_0, or Q5_1 with `offset`. */
export function encodeQ5(values: Float32Array, out: Uint8Array, offset: boolean): void {
  const highAt = offset ? 4 : 2
  const quants = linear(values, out, 32, offset)
  for (const [j, q] of quants.entries()) {
    const at = highAt + (j >> 3)
    out[at] = (out[at] ?? 0) | ((q >> 4) << (j & 7))
  }
  putNibbles(out, highAt + 4, quants)
}

export function encodeQ8(values: Float32Array, out: Uint8Array): void {
  const scale = putHalf(out, 0, Math.abs(extreme(values)) / 127)
  for (const [j, value] of values.entries()) out[2 + j] = roundTo(value, scale, -127, 127) & 255
}

export function encodeIq4Nl(values: Float32Array, out: Uint8Array): void {
  const scale = putHalf(out, 0, bestTableScale(values, IQ4_VALUES, iq4Candidates(values)))
  const quants = Array.from(values, (value) => nearest(IQ4_VALUES, scale === 0 ? 0 : value / scale))
  putNibbles(out, 2, quants)
}

export function encodeMxfp4(values: Float32Array, out: Uint8Array): void {
  const peak = Math.abs(extreme(values))
  // A block's scale is 2^(exponent - 127), and its largest value is 6 = 1.5 * 2^2. The lower exponent clips 6..8, the higher one is coarser.
  // With exponents of up to 252 no value decodes to infinity.
  const lower = peak === 0 ? 0 : Math.min(252, Math.max(0, Math.floor(Math.log2(peak)) - 2 + 127))
  const higher = Math.min(252, lower + 1)
  const scale = bestTableScale(values, MXFP4_VALUES, [2 ** (lower - 128), 2 ** (higher - 128)])
  out[0] = Math.log2(scale) + 128
  const quants = Array.from(values, (value) => nearest(MXFP4_VALUES, value / scale))
  putNibbles(out, 1, quants)
}
