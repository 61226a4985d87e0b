/** UTF-8 encodings of ranges of characters. */

import type { Range } from "./expr.ts"

/** A range for each byte of a character. */
type ByteRanges = readonly Range[]

/** Last code point of each encoded length. */
const LENGTHS = [0x7f, 0x7ff, 0xffff, 0x10ffff] as const

const bytesOf = (code: number): Uint8Array => new TextEncoder().encode(String.fromCodePoint(code))

/** Encodes tidy ranges of characters: each character matches exactly one of the returned sequences of byte ranges. */
export function utf8(ranges: readonly Range[]): ByteRanges[] {
  const out: ByteRanges[] = []
  for (const [first, last] of ranges) {
    let from = first
    for (const end of LENGTHS) {
      if (from > end || from > last) continue
      const to = Math.min(last, end)
      split(Array.from(bytesOf(from)), Array.from(bytesOf(to)), out, [])
      from = to + 1
    }
  }
  return out
}

/** Splits the encodings of one length from `low` to `high` into sequences of byte ranges. Continuation bytes are 80 to BF. */
function split(low: readonly number[], high: readonly number[], out: ByteRanges[], before: ByteRanges): void {
  const [a, ...lowRest] = low as [number, ...number[]]
  const [b, ...highRest] = high as [number, ...number[]]
  if (lowRest.length === 0) {
    out.push([...before, [a, b]])
    return
  }
  if (a === b) {
    split(lowRest, highRest, out, [...before, [a, a]])
    return
  }
  const least = lowRest.map(() => 0x80)
  const most = lowRest.map(() => 0xbf)
  const startsLow = lowRest.every((byte) => byte === 0x80)
  const endsHigh = highRest.every((byte) => byte === 0xbf)
  if (!startsLow) split(lowRest, most, out, [...before, [a, a]])
  const from = startsLow ? a : a + 1
  const to = endsHigh ? b : b - 1
  if (from <= to) out.push([...before, [from, to], ...least.map((byte): Range => [byte, 0xbf])])
  if (!endsHigh) split(least, highRest, out, [...before, [b, b]])
}
