/**
 * Random weights of every format. Blocks are random bytes, so that quants take every value possible in a file, even Q8_0's -128,
 * which no quantizer writes. Block scales are set so that the standard deviation of the weights is about 1.
 */

import { FORMATS, type FormatName, formatNamed, rowBytes } from "../../src/gguf/formats.ts"
import { loadNative } from "../../src/native/library.ts"
import { bytesOf, normals, Random } from "./kernel-data.ts"
import type { WeightSpec } from "./kernel-program.ts"

export const FORMAT_NAMES: readonly FormatName[] = FORMATS.map((format) => format.name)

export interface Weight extends WeightSpec {
  /** [rows, cols]: the exact values of the blocks. */
  values: Float32Array
}

/** Binary16 scales of a block: byte offset, and the scale for which weights are about 1. */
const SCALES: Partial<Record<FormatName, readonly (readonly [offset: number, typical: number])[]>> = {
  Q4_0: [[0, 0.2]],
  Q4_1: [
    [0, 0.2],
    [2, 1.5],
  ],
  Q5_0: [[0, 0.1]],
  Q5_1: [
    [0, 0.1],
    [2, 1.5],
  ],
  Q8_0: [[0, 0.013]],
  Q2_K: [
    [80, 0.08],
    [82, 0.12],
  ],
  Q3_K: [[108, 0.024]],
  Q4_K: [
    [0, 0.004],
    [2, 0.03],
  ],
  Q5_K: [
    [0, 0.002],
    [2, 0.03],
  ],
  Q6_K: [[208, 0.00075]],
  IQ4_NL: [[0, 0.015]],
  IQ4_XS: [[0, 0.00085]],
}

export function randomWeight(format: FormatName, rows: number, cols: number, seed: number): Weight {
  const bytes = randomBlocks(format, rows, cols, seed)
  const values = loadNative("cpu").dequantize(formatNamed(format).id, bytes, rows * cols)
  return { format, rows, cols, bytes, values }
}

/** @param deviation Standard deviation of the weights, roughly. */
export function randomBlocks(name: FormatName, rows: number, cols: number, seed: number, deviation = 1): Uint8Array {
  const values = () => normals(rows * cols, seed, deviation)
  if (name === "F32") return bytesOf(values())
  if (name === "F16") return bytesOf(Float16Array.from(values()))
  if (name === "BF16") return bytesOf(Uint16Array.from(new Uint32Array(values().buffer), (bits) => bits >>> 16))
  const format = formatNamed(name)
  const random = new Random(seed)
  const bytes = Uint8Array.from({ length: rows * rowBytes(format, cols) }, () => random.uint32() >>> 24)
  const view = new DataView(bytes.buffer)
  for (let block = 0; block < bytes.length; block += format.blockBytes) {
    // MXFP4's scale is a power of two, 2^(byte - 128) halves.
    if (name === "MXFP4") bytes[block] = 123 + random.below(4) + Math.round(Math.log2(deviation))
    for (const [offset, typical] of SCALES[name] ?? []) {
      const sign = random.below(4) === 0 ? -1 : 1
      view.setFloat16(block + offset, sign * typical * deviation * (0.5 + random.uniform()), true)
    }
  }
  return bytes
}

/** Formats whose products round the activations; see kernel-matmul.ts. */
export function isQuantized(format: FormatName): boolean {
  return formatNamed(format).blockElems > 1
}
