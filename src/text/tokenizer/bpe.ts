import { BYTE_TO_CHAR } from "./byte-map.ts"
import { TokenizerError } from "./errors.ts"
import type { IdBuffer } from "./id-buffer.ts"
import { Merger, PairTable } from "./merge.ts"
import type { PreTokenizer } from "./pre-tokenizers.ts"
import { WordCache } from "./word-cache.ts"

const encoder = new TextEncoder()

const PRINTABLE_ASCII = /^[!-~]+$/

/** Scratch of more than KEEP_LIMIT bytes is given back after use, down to SMALL. */
const KEEP_LIMIT = 1 << 18
const SMALL = 1 << 10

/** What a model of tokens does with one run of plain text. */
export interface TextModel {
  /** Appends the ids of `text`, which is well-formed UTF-16 and holds no special token. */
  encode(text: string, afterSpecial: boolean, out: IdBuffer): void
}

/**
 * Byte-level BPE: the pre-tokenizer cuts the text into pieces, each piece starts as its bytes, and the merges join them.
 * Symbols are token ids; strings that merges build but the vocabulary lacks get ids past its end.
 */
export class BpeModel implements TextModel {
  readonly #idOf: ReadonlyMap<string, number>
  readonly #vocabSize: number
  readonly #pre: PreTokenizer
  readonly #unkId: number | undefined
  readonly #byteSymbols = new Int32Array(256)
  readonly #symbolTexts: string[] = []
  readonly #table: PairTable
  readonly #merger: Merger
  readonly #cache = new WordCache()
  readonly #longestToken: number
  #bytes = new Uint8Array(SMALL)
  #symbols = new Int32Array(SMALL)

  constructor(
    idOf: ReadonlyMap<string, number>,
    vocabSize: number,
    merges: readonly string[],
    pre: PreTokenizer,
    unkId: number | undefined,
  ) {
    this.#idOf = idOf
    this.#vocabSize = vocabSize
    this.#pre = pre
    this.#unkId = unkId
    const extra = new Map<string, number>()
    const symbolOf = (text: string): number => {
      const known = idOf.get(text) ?? extra.get(text)
      if (known !== undefined) return known
      const id = vocabSize + extra.size
      extra.set(text, id)
      this.#symbolTexts.push(text)
      return id
    }
    for (let byte = 0; byte < 256; byte++) this.#byteSymbols[byte] = symbolOf(BYTE_TO_CHAR[byte] as string)

    this.#table = new PairTable(merges.length)
    for (const [rank, merge] of merges.entries()) {
      // The left side may itself be a space only in hand-made vocabularies; it is never empty.
      const space = merge.indexOf(" ", 1)
      if (space < 0)
        throw new TokenizerError(
          "bad_field",
          `tokenizer.ggml.merges[${rank}] is ${JSON.stringify(merge)}, not two parts with a space between`,
        )
      const left = merge.slice(0, space)
      const right = merge.slice(space + 1)
      this.#table.add(symbolOf(left), symbolOf(right), rank, symbolOf(left + right))
    }
    this.#merger = new Merger(this.#table, (left, right) => this.#table.find(left, right))

    let longest = 0
    for (const piece of idOf.keys()) longest = Math.max(longest, piece.length)
    this.#longestToken = longest
  }

  encode(text: string, _afterSpecial: boolean, out: IdBuffer): void {
    this.#pre.split(text, (piece) => this.#encodePiece(piece, out))
  }

  #encodePiece(piece: string, out: IdBuffer): void {
    if (this.#cache.replay(piece, out)) return
    const start = out.length
    const n = this.#loadBytes(piece)
    const whole =
      this.#pre.wholePieces && n <= this.#longestToken ? this.#idOf.get(this.#loadedText(piece, n)) : undefined
    if (whole !== undefined) out.push(whole)
    else this.#mergeLoaded(n, out)
    this.#cache.remember(piece, out, start)
    if (this.#bytes.length > KEEP_LIMIT) this.#allocate(SMALL)
  }

  #allocate(n: number): void {
    this.#bytes = new Uint8Array(n)
    this.#symbols = new Int32Array(n)
  }

  /** Puts the piece's UTF-8 into `bytes` and its symbols into `symbols`; returns how many there are. */
  #loadBytes(piece: string): number {
    if (this.#bytes.length < piece.length * 3) this.#allocate(piece.length * 3)
    const bytes = this.#bytes
    const symbols = this.#symbols
    const byteSymbols = this.#byteSymbols
    const n = encoder.encodeInto(piece, bytes).written
    for (let i = 0; i < n; i++) symbols[i] = byteSymbols[bytes[i] as number] as number
    return n
  }

  /** The loaded bytes as the vocabulary writes them. */
  #loadedText(piece: string, n: number): string {
    if (PRINTABLE_ASCII.test(piece)) return piece
    let text = ""
    for (let i = 0; i < n; i++) text += BYTE_TO_CHAR[this.#bytes[i] as number]
    return text
  }

  #mergeLoaded(n: number, out: IdBuffer): void {
    const symbols = this.#symbols
    const count = this.#merger.merge(symbols, n)
    for (let i = 0; i < count; i++) {
      const id = symbols[i] as number
      if (id < this.#vocabSize) out.push(id)
      else this.#emitByChar(this.#symbolTexts[id - this.#vocabSize] as string, out)
    }
  }

  /** A merged string that is no token falls apart into its bytes' tokens. */
  #emitByChar(text: string, out: IdBuffer): void {
    for (const char of text) {
      const id = this.#idOf.get(char) ?? this.#unkId
      if (id === undefined) {
        throw new TokenizerError(
          "no_byte_token",
          `the vocabulary has no token for byte ${JSON.stringify(char)} and no unknown token; this text cannot be given to the model`,
        )
      }
      out.push(id)
    }
  }
}
