/**
 * The printable alphabet of byte-level BPE (GPT-2, Radford et al. 2019). Each byte has one character, so that vocabularies can be
 * written as text: printable Latin-1 bytes are their own characters, the 68 others take U+0100, U+0101 … in order.
 */
function buildByteToChar(): string[] {
  const printable = (b: number) => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae
  let spare = 0x100
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : spare++))
}

/** [256] the character of each byte. */
export const BYTE_TO_CHAR: readonly string[] = buildByteToChar()

const CHAR_TO_BYTE = new Map(BYTE_TO_CHAR.map((char, byte) => [char, byte]))

const encoder = new TextEncoder()

/** The bytes of a vocabulary entry. Characters outside the alphabet, which hand-added tokens have, become their UTF-8. */
export function pieceToBytes(piece: string): Uint8Array {
  const out: number[] = []
  for (const char of piece) {
    const byte = CHAR_TO_BYTE.get(char)
    if (byte !== undefined) out.push(byte)
    else out.push(...encoder.encode(char))
  }
  return Uint8Array.from(out)
}
