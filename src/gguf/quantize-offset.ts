/** Encoders of the formats with super-blocks whose sub-blocks have a scale and a min: x = scale * q - min. Layouts: hip/formats.h. */
import { putHalf, roundTo } from "./quantize-common.ts"

interface Fit {
  /** Integer scale and min of each sub-block. */
  scales: number[]
  mins: number[]
  /** One quant per value, `0..levels - 1`. */
  quants: Uint8Array
}

/**
 * Fits sub-blocks of `size` values to their range, which always includes 0 since a min cannot be positive. Scales and mins are rounded to
 * `0..top` times a shared binary16 written at `scaleAt` and `minAt`, then the values are rounded to quants.
 */
function fit(
  values: Float32Array,
  out: Uint8Array,
  shape: { size: number; levels: number; top: number; scaleAt: number; minAt: number },
): Fit {
  const subs = values.length / shape.size
  const ranges = Array.from({ length: subs }, (_, sub) => {
    const part = values.subarray(sub * shape.size, (sub + 1) * shape.size)
    const low = part.reduce((a, b) => Math.min(a, b), 0)
    const high = part.reduce((a, b) => Math.max(a, b))
    return { scale: Math.max(0, high - low) / (shape.levels - 1), min: -low }
  })
  const scale = putHalf(out, shape.scaleAt, Math.max(...ranges.map((range) => range.scale)) / shape.top)
  const min = putHalf(out, shape.minAt, Math.max(...ranges.map((range) => range.min)) / shape.top)
  const scales = ranges.map((range) => roundTo(range.scale, scale, 0, shape.top))
  const mins = ranges.map((range) => roundTo(range.min, min, 0, shape.top))
  const quants = Uint8Array.from(values, (value, i) => {
    const sub = Math.floor(i / shape.size)
    return roundTo(value + min * (mins[sub] ?? 0), scale * (scales[sub] ?? 0), 0, shape.levels - 1)
  })
  return { scales, mins, quants }
}

export function encodeQ2K(values: Float32Array, out: Uint8Array): void {
  const { scales, mins, quants } = fit(values, out, { size: 16, levels: 4, top: 15, scaleAt: 80, minAt: 82 })
  for (let sub = 0; sub < 16; sub++) out[sub] = (scales[sub] ?? 0) | ((mins[sub] ?? 0) << 4)
  putPairsOfBits(out, 16, quants)
}

export function encodeQ4K(values: Float32Array, out: Uint8Array): void {
  const { scales, mins, quants } = fit(values, out, { size: 32, levels: 16, top: 63, scaleAt: 0, minAt: 2 })
  putScaleMins(out, 4, scales, mins)
  putSuperNibbles(out, 16, quants)
}

export function encodeQ5K(values: Float32Array, out: Uint8Array): void {
  const { scales, mins, quants } = fit(values, out, { size: 32, levels: 32, top: 63, scaleAt: 0, minAt: 2 })
  putScaleMins(out, 4, scales, mins)
  for (const [e, q] of quants.entries()) {
    const at = 16 + (e % 32)
    out[at] = (out[at] ?? 0) | ((q >> 4) << (e >> 5))
  }
  putSuperNibbles(out, 48, quants)
}

/** The low two bits of 256 quants, in Q2_K's and Q3_K's order: bits 2p of byte l of a half hold its element 32 p + l. */
export function putPairsOfBits(out: Uint8Array, start: number, quants: Uint8Array): void {
  for (const [e, q] of quants.entries()) {
    const at = start + 32 * (e >> 7) + (e % 32)
    out[at] = (out[at] ?? 0) | ((q & 3) << (2 * ((e >> 5) & 3)))
  }
}

/** The low four bits of 256 quants, in Q4_K's and Q5_K's order: byte l of run r holds elements 64 r + l and 64 r + 32 + l. */
function putSuperNibbles(out: Uint8Array, start: number, quants: Uint8Array): void {
  for (const [e, q] of quants.entries()) {
    const at = start + 32 * (e >> 6) + (e % 32)
    out[at] = (out[at] ?? 0) | ((q & 15) << (4 * ((e >> 5) & 1)))
  }
}

/** Eight scales and eight mins of 6 bits in 12 bytes: the inverse of `rf_k_scale_min`. */
function putScaleMins(out: Uint8Array, start: number, scales: number[], mins: number[]): void {
  for (let sub = 0; sub < 4; sub++) {
    const [scale = 0, min = 0, laterScale = 0, laterMin = 0] = [scales[sub], mins[sub], scales[sub + 4], mins[sub + 4]]
    out[start + sub] = scale | ((laterScale >> 4) << 6)
    out[start + 4 + sub] = min | ((laterMin >> 4) << 6)
    out[start + 8 + sub] = (laterScale & 15) | ((laterMin & 15) << 4)
  }
}
