/**
 * The number of bytes (0 … 3) at the end of `bytes` that begin a UTF-8 character which later bytes may complete. Bytes that cannot
 * become a character do not count (Unicode 15, table 3-7: a maximal subpart of an ill-formed sequence is replaced at once).
 */
export function incompleteTail(bytes: Uint8Array): number {
  const n = bytes.length
  for (let back = 1; back <= 3 && back <= n; back++) {
    const lead = bytes[n - back] as number
    if (lead >= 0x80 && lead < 0xc0) continue
    if (sequenceLength(lead) <= back) return 0
    return back === 1 || secondByteFits(lead, bytes[n - back + 1] as number) ? back : 0
  }
  return 0
}

function sequenceLength(lead: number): number {
  if (lead >= 0xc2 && lead <= 0xdf) return 2
  if (lead >= 0xe0 && lead <= 0xef) return 3
  if (lead >= 0xf0 && lead <= 0xf4) return 4
  return 1
}

/** Whether a second byte is valid after `lead`: its range excludes overlong forms, surrogates and values above U+10FFFF. */
function secondByteFits(lead: number, second: number): boolean {
  switch (lead) {
    case 0xe0:
      return second >= 0xa0
    case 0xed:
      return second < 0xa0
    case 0xf0:
      return second >= 0x90
    case 0xf4:
      return second < 0x90
    default:
      return true
  }
}
