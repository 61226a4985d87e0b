/** Encoders of the formats with super-blocks whose sub-blocks have only a scale: x = scale * q. Layouts: hip/formats.h. */
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
import { putPairsOfBits } from "./quantize-offset.ts"

interface Fit {
  /** Integer scale of each sub-block, `-top..top - 1`. */
  scales: number[]
  /** The real value of each scale. */
  steps: number[]
}

/** Rounds the wanted scales of sub-blocks to integers times a shared binary16 written at `scaleAt`. */
function shareScale(wanted: number[], out: Uint8Array, top: number, scaleAt: number): Fit {
  const scale = putHalf(out, scaleAt, extreme(wanted) / -top)
  const scales = wanted.map((sub) => roundTo(sub, scale, -top, top - 1))
  return { scales, steps: scales.map((sub) => scale * sub) }
}

function subBlocks(values: Float32Array, size: number): Float32Array[] {
  return Array.from({ length: values.length / size }, (_, sub) => values.subarray(sub * size, (sub + 1) * size))
}

/** Quants `0..2 * middle - 1` of sub-blocks of 16 values. The value of largest magnitude has the lowest quant. */
function linear(values: Float32Array, out: Uint8Array, middle: number, top: number, scaleAt: number) {
  const wanted = subBlocks(values, 16).map((part) => extreme(part) / -middle)
  const { scales, steps } = shareScale(wanted, out, top, scaleAt)
  const quants = Uint8Array.from(values, (value, e) => roundTo(value, steps[e >> 4] ?? 0, -middle, middle - 1) + middle)
  return { scales, quants }
}

export function encodeQ3K(values: Float32Array, out: Uint8Array): void {
  const { scales, quants } = linear(values, out, 4, 32, 108)
  for (const [e, q] of quants.entries()) {
    const at = e % 32
    out[at] = (out[at] ?? 0) | ((q >> 2) << (e >> 5))
  }
  putPairsOfBits(out, 32, quants)
  for (const [sub, signed] of scales.entries()) {
    const scale = signed + 32
    const low = 96 + (sub & 7)
    const high = 104 + (sub & 3)
    out[low] = (out[low] ?? 0) | ((scale & 15) << (sub < 8 ? 0 : 4))
    out[high] = (out[high] ?? 0) | ((scale >> 4) << (2 * (sub >> 2)))
  }
}

export function encodeQ6K(values: Float32Array, out: Uint8Array): void {
  const { scales, quants } = linear(values, out, 32, 128, 208)
  for (const [e, q] of quants.entries()) {
    const half = e >> 7
    const group = (e >> 5) & 3
    const low = 64 * half + 32 * (group & 1) + (e % 32)
    const high = 128 + 32 * half + (e % 32)
    out[low] = (out[low] ?? 0) | ((q & 15) << (4 * (group >> 1)))
    out[high] = (out[high] ?? 0) | ((q >> 4) << (2 * group))
  }
  for (const [sub, scale] of scales.entries()) out[192 + sub] = scale & 255
}

export function encodeIq4Xs(values: Float32Array, out: Uint8Array): void {
  const parts = subBlocks(values, 32)
  const wanted = parts.map((part) => bestTableScale(part, IQ4_VALUES, iq4Candidates(part)))
  const { scales, steps } = shareScale(wanted, out, 32, 0)
  for (const [sub, part] of parts.entries()) {
    const step = steps[sub] ?? 0
    const quants = Array.from(part, (value) => nearest(IQ4_VALUES, step === 0 ? 0 : value / step))
    putNibbles(out, 8 + 16 * sub, quants)
    const scale = (scales[sub] ?? 0) + 32
    const high = 2 + (sub >> 2)
    const low = 4 + (sub >> 1)
    out[high] = (out[high] ?? 0) | ((scale >> 4) << (2 * (sub & 3)))
    out[low] = (out[low] ?? 0) | ((scale & 15) << (4 * (sub & 1)))
  }
}
