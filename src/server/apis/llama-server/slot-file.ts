/**
 * Files of slots, in the container that llama-server has for them (llama.h: LLAMA_STATE_SEQ_MAGIC and _VERSION). Of its content they have
 * the tokens; the K/V cache is computed again from these. All numbers are 32 bits, little-endian:
 *
 *     magic, version, n · n words · (llama-server's own files: the K/V cache, which is not read)
 *
 * The words are the tokens, or -1, 1, the number of tokens, the tokens, and what else llama-server keeps.
 */

import { open, rename } from "node:fs/promises"

/** "ggsq" */
const MAGIC = 0x67677371
const VERSION = 3
const HEADER_WORDS = 3
/** What comes before the tokens: no token's id, the version of this part, and their number. */
const MARK = -1
const PART_VERSION = 1

/** A file is not one of a slot. */
export class SlotFileError extends Error {
  override readonly name = "SlotFileError"
}

/** Writes the file as a whole or not at all. @returns the bytes written */
export async function writeSlotFile(path: string, tokens: Int32Array): Promise<number> {
  const words = Int32Array.of(
    MAGIC,
    VERSION,
    HEADER_WORDS + tokens.length,
    MARK,
    PART_VERSION,
    tokens.length,
    ...tokens,
  )
  const part = `${path}.${crypto.randomUUID()}.part`
  const written = await Bun.write(part, words)
  await rename(part, path)
  return written
}

/**
 * @param most Tokens that the file may have.
 * @throws SlotFileError; the error of the file system
 */
export async function readSlotFile(path: string, most: number): Promise<{ tokens: Int32Array; bytes: number }> {
  const file = await open(path)
  try {
    const [magic, version, n = 0] = await readWords(file, 0, HEADER_WORDS)
    if (magic !== MAGIC || version !== VERSION || n < 1) throw new SlotFileError("it is no file of a slot")
    const first = await readWords(file, HEADER_WORDS, Math.min(n, HEADER_WORDS))
    const marked = first[0] === MARK
    const nTokens = marked ? (first[2] ?? 0) : n
    if (nTokens < 1 || nTokens > (marked ? n - HEADER_WORDS : n)) throw new SlotFileError("its header is damaged")
    if (nTokens > most) throw new SlotFileError(`its ${nTokens} tokens are more than the ${most} that fit here`)
    const at = marked ? HEADER_WORDS + HEADER_WORDS : HEADER_WORDS
    const tokens = await readWords(file, at, nTokens)
    return { tokens, bytes: 4 * (at + nTokens) }
  } finally {
    await file.close()
  }
}

async function readWords(file: Awaited<ReturnType<typeof open>>, at: number, n: number): Promise<Int32Array> {
  const words = new Int32Array(n)
  const { bytesRead } = await file.read(new Uint8Array(words.buffer), 0, 4 * n, 4 * at)
  if (bytesRead < 4 * n) throw new SlotFileError("it ends too early")
  return words
}
