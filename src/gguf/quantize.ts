import { type FormatName, formatNamed } from "./formats.ts"
import { encodeIq4Nl, encodeMxfp4, encodeQ4, encodeQ5, encodeQ8 } from "./quantize-blocks.ts"
import { encodeQ2K, encodeQ4K, encodeQ5K } from "./quantize-offset.ts"
import { encodeIq4Xs, encodeQ3K, encodeQ6K } from "./quantize-scaled.ts"

/** Writes the block that comes closest to `values` (one block of them, finite) into `out` (one block of bytes, zeroed). */
type BlockEncoder = (values: Float32Array, out: Uint8Array) => void

const ENCODERS: Record<Exclude<FormatName, "F32" | "F16" | "BF16">, BlockEncoder> = {
  Q4_0: (values, out) => encodeQ4(values, out, false),
  Q4_1: (values, out) => encodeQ4(values, out, true),
  Q5_0: (values, out) => encodeQ5(values, out, false),
  Q5_1: (values, out) => encodeQ5(values, out, true),
  Q8_0: encodeQ8,
  IQ4_NL: encodeIq4Nl,
  MXFP4: encodeMxfp4,
  Q2_K: encodeQ2K,
  Q3_K: encodeQ3K,
  Q4_K: encodeQ4K,
  Q5_K: encodeQ5K,
  Q6_K: encodeQ6K,
  IQ4_XS: encodeIq4Xs,
}

/**
 * Encodes values in a weight format, to the nearest step of scales found per block without an importance matrix: good enough for tests
 * and small models, not a rival of a tuned quantizer.
 * @param values whole blocks, row after row
 * @throws RangeError on a partial block, or on a value that is not finite in a format with scales
 */
export function quantize(name: FormatName, values: Float32Array): Uint8Array<ArrayBuffer> {
  if (name === "F32") return new Uint8Array(new Float32Array(values).buffer)
  if (name === "F16") return new Uint8Array(Float16Array.from(values).buffer)
  if (name === "BF16") return new Uint8Array(Uint16Array.from(values, toBfloat16).buffer)
  const { blockElems, blockBytes } = formatNamed(name)
  if (values.length % blockElems !== 0)
    throw new RangeError(`${values.length} values are not whole ${name} blocks of ${blockElems}`)
  const bad = values.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0) throw new RangeError(`value ${bad} is ${values[bad]}, which ${name} cannot hold`)
  const encode = ENCODERS[name]
  const blocks = values.length / blockElems
  const out = new Uint8Array(blocks * blockBytes)
  for (let block = 0; block < blocks; block++) {
    encode(
      values.subarray(block * blockElems, (block + 1) * blockElems),
      out.subarray(block * blockBytes, (block + 1) * blockBytes),
    )
  }
  return out
}

const float = new Float32Array(1)
const floatBits = new Uint32Array(float.buffer)

/** The upper half of the binary32, rounded to nearest even; a NaN stays one. */
function toBfloat16(value: number): number {
  float[0] = value
  const bits = floatBits[0] ?? 0
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16
}
