import { type FormatName, formatNamed } from "../../src/gguf/formats.ts"

/** Decodes one block: reads a view of exactly that block and writes its values to `out`. */
type Decoder = (block: DataView, out: Float32Array) => void

const IQ4 = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
const E2M1_TWICE = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]

/** An independent second decoder of every weight format, written per element rather than per block as hip/formats.h is. */
export function decodeBlocks(name: FormatName, bytes: Uint8Array): Float32Array {
  const { blockElems, blockBytes } = formatNamed(name)
  const blocks = bytes.length / blockBytes
  const out = new Float32Array(blocks * blockElems)
  for (let b = 0; b < blocks; b++) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + b * blockBytes, blockBytes)
    DECODERS[name](view, out.subarray(b * blockElems, (b + 1) * blockElems))
  }
  return out
}

/** Bits `shift..shift + width - 1` of byte `at`. */
const bits = (block: DataView, at: number, shift: number, width: number) =>
  (block.getUint8(at) >> shift) & ((1 << width) - 1)

/** Fills `out` by a formula for each element: exact products in double precision, rounded once at the end. */
const each = (formula: (block: DataView, e: number) => number): Decoder => {
  return (block, out) => {
    for (let e = 0; e < out.length; e++) out[e] = formula(block, e)
  }
}

const half = (block: DataView, at: number) => block.getFloat16(at, true)

/** Quant of element e in a block of 32 whose 16 bytes of nibbles start at `at`. */
const nibble = (block: DataView, at: number, e: number) => bits(block, at + (e % 16), 4 * Math.floor(e / 16), 4)
const fifth = (block: DataView, at: number, e: number) => bits(block, at + Math.floor(e / 8), e % 8, 1) * 16

/** Two bits of element e in Q2_K and Q3_K. */
const pair = (block: DataView, at: number, e: number) =>
  bits(block, at + 32 * Math.floor(e / 128) + (e % 32), 2 * (Math.floor(e / 32) % 4), 2)

/** Nibble of element e in Q4_K and Q5_K. */
const superNibble = (block: DataView, at: number, e: number) =>
  bits(block, at + 32 * Math.floor(e / 64) + (e % 32), 4 * (Math.floor(e / 32) % 2), 4)

const kScale = (block: DataView, sub: number) =>
  sub < 4 ? bits(block, 4 + sub, 0, 6) : bits(block, 8 + sub, 0, 4) + 16 * bits(block, sub, 6, 2)
const kMin = (block: DataView, sub: number) =>
  sub < 4 ? bits(block, 8 + sub, 0, 6) : bits(block, 8 + sub, 4, 4) + 16 * bits(block, 4 + sub, 6, 2)

const q3Scale = (block: DataView, sub: number) =>
  bits(block, 96 + (sub % 8), sub < 8 ? 0 : 4, 4) + 16 * bits(block, 104 + (sub % 4), 2 * Math.floor(sub / 4), 2) - 32

const DECODERS: Record<FormatName, Decoder> = {
  F32: each((b) => b.getFloat32(0, true)),
  F16: each((b) => half(b, 0)),
  BF16: each((b) => {
    const wide = new DataView(new ArrayBuffer(4))
    wide.setUint32(0, b.getUint16(0, true) << 16)
    return wide.getFloat32(0)
  }),
  Q4_0: each((b, e) => half(b, 0) * (nibble(b, 2, e) - 8)),
  Q4_1: each((b, e) => half(b, 0) * nibble(b, 4, e) + half(b, 2)),
  Q5_0: each((b, e) => half(b, 0) * (nibble(b, 6, e) + fifth(b, 2, e) - 16)),
  Q5_1: each((b, e) => half(b, 0) * (nibble(b, 8, e) + fifth(b, 4, e)) + half(b, 2)),
  Q8_0: each((b, e) => half(b, 0) * b.getInt8(2 + e)),
  IQ4_NL: each((b, e) => half(b, 0) * (IQ4[nibble(b, 2, e)] ?? 0)),
  MXFP4: each((b, e) => 2 ** (b.getUint8(0) - 128) * (E2M1_TWICE[nibble(b, 1, e)] ?? 0)),
  Q2_K: each((b, e) => {
    const sub = Math.floor(e / 16)
    return half(b, 80) * bits(b, sub, 0, 4) * pair(b, 16, e) - half(b, 82) * bits(b, sub, 4, 4)
  }),
  Q3_K: each((b, e) => {
    const third = bits(b, e % 32, Math.floor(e / 32), 1) * 4
    return half(b, 108) * q3Scale(b, Math.floor(e / 16)) * (pair(b, 32, e) + third - 4)
  }),
  Q4_K: each((b, e) => {
    const sub = Math.floor(e / 32)
    return half(b, 0) * kScale(b, sub) * superNibble(b, 16, e) - half(b, 2) * kMin(b, sub)
  }),
  Q5_K: each((b, e) => {
    const sub = Math.floor(e / 32)
    const quant = superNibble(b, 48, e) + 16 * bits(b, 16 + (e % 32), sub, 1)
    return half(b, 0) * kScale(b, sub) * quant - half(b, 2) * kMin(b, sub)
  }),
  Q6_K: each((b, e) => {
    const halfIndex = Math.floor(e / 128)
    const group = Math.floor(e / 32) % 4
    const low = bits(b, 64 * halfIndex + 32 * (group % 2) + (e % 32), 4 * Math.floor(group / 2), 4)
    const high = bits(b, 128 + 32 * halfIndex + (e % 32), 2 * group, 2)
    return half(b, 208) * b.getInt8(192 + Math.floor(e / 16)) * (low + 16 * high - 32)
  }),
  IQ4_XS: each((b, e) => {
    const sub = Math.floor(e / 32)
    const scale = bits(b, 4 + (sub >> 1), 4 * (sub % 2), 4) + 16 * ((b.getUint16(2, true) >> (2 * sub)) & 3) - 32
    return half(b, 0) * scale * (IQ4[nibble(b, 8 + 16 * sub, e % 32)] ?? 0)
  }),
}
