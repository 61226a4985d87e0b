import type { Range } from "./expr.ts"

/** Bytes from the first to the last, both included; a character is one of each in turn. */
export type ByteRanges = readonly Range[]

/** Code points at which the number of bytes grows. */
const LENGTHS = [0x7f, 0x7ff, 0xffff, 0x10ffff] as const

const bytesOf = (code: number): Uint8Array => new TextEncoder().encode(String.fromCodePoint(code))

/** UTF-8 of the characters in some tidy ranges: each of its sequences of byte ranges stands for some of them, and none for two. */
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

/** All byte strings of one length from `low` to `high` whose continuation bytes run over 80 to BF. */
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
