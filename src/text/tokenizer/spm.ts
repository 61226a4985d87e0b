import type { TextModel } from "./bpe.ts"
import { TokenizerError } from "./errors.ts"
import type { IdBuffer } from "./id-buffer.ts"
import { Merger, PairTable } from "./merge.ts"
import { WordCache } from "./word-cache.ts"

const SPACE_MARK = "▁"

/** Pairs and characters remembered before starting anew: keeps hostile text from growing the tables without end. */
const MAX_PAIRS = 1 << 20

const encoder = new TextEncoder()

/** The name of the fallback token of a byte. */
function byteTokenName(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`
}

/**
 * SentencePiece-style BPE (Kudo and Richardson 2018): spaces become ▁, the text starts as characters, and the neighbouring pair
 * whose joint text is the token of highest score is merged first. Characters without a token become their bytes' tokens.
 */
export class SpmModel implements TextModel {
  readonly #idOf: ReadonlyMap<string, number>
  readonly #tokens: readonly string[]
  readonly #addSpacePrefix: boolean
  readonly #unkId: number | undefined
  /** [vocabSize] scores as ranks: 0 is the highest score, equal scores share a rank. */
  readonly #ranks: Int32Array
  readonly #byteIds = new Int32Array(256).fill(-1)
  /** Characters that are no token, as symbols past the vocabulary's end. */
  readonly #strays = new Map<string, number>()
  readonly #strayTexts: string[] = []
  readonly #pairs = new PairTable(1 << 14)
  readonly #merger: Merger
  readonly #cache = new WordCache()
  readonly #splits: boolean
  #symbols = new Int32Array(256)

  constructor(
    idOf: ReadonlyMap<string, number>,
    tokens: readonly string[],
    scores: ArrayLike<number>,
    addSpacePrefix: boolean,
    unkId: number | undefined,
  ) {
    this.#idOf = idOf
    this.#tokens = tokens
    this.#addSpacePrefix = addSpacePrefix
    this.#unkId = unkId
    this.#ranks = rankScores(scores, tokens.length)
    for (let byte = 0; byte < 256; byte++) {
      this.#byteIds[byte] = idOf.get(byteTokenName(byte)) ?? idOf.get(String.fromCharCode(byte)) ?? -1
    }
    // Where no token has a ▁ after another character, no merge crosses from a word into the next ▁, so words are independent.
    this.#splits = !tokens.some((token) => /[^▁]▁/u.test(token))
    this.#merger = new Merger(this.#pairs, (left, right) => this.#lookUp(left, right))
  }

  encode(text: string, afterSpecial: boolean, out: IdBuffer): void {
    const marked = (this.#addSpacePrefix && afterSpecial ? ` ${text}` : text).replaceAll(" ", SPACE_MARK)
    if (!this.#splits) {
      this.#encodePiece(marked, out)
      return
    }
    let start = 0
    while (start < marked.length) {
      let end = start
      while (end < marked.length && marked[end] === SPACE_MARK) end++
      end = marked.indexOf(SPACE_MARK, end)
      if (end < 0) end = marked.length
      this.#encodePiece(marked.slice(start, end), out)
      start = end
    }
  }

  #encodePiece(piece: string, out: IdBuffer): void {
    if (this.#cache.replay(piece, out)) return
    const start = out.length
    if (this.#pairs.size + this.#strays.size > MAX_PAIRS) this.#forget()
    if (this.#symbols.length < piece.length) this.#symbols = new Int32Array(piece.length)
    const symbols = this.#symbols
    let n = 0
    for (const char of piece) symbols[n++] = this.#idOf.get(char) ?? this.#stray(char)
    n = this.#merger.merge(symbols, n)
    for (let i = 0; i < n; i++) {
      const id = symbols[i] as number
      if (id < this.#tokens.length) out.push(id)
      else this.#emitBytes(this.#strayTexts[id - this.#tokens.length] as string, out)
    }
    if (symbols.length > 1 << 16) this.#symbols = new Int32Array(256)
    this.#cache.remember(piece, out, start)
  }

  #stray(char: string): number {
    let id = this.#strays.get(char)
    if (id === undefined) {
      id = this.#tokens.length + this.#strayTexts.length
      this.#strays.set(char, id)
      this.#strayTexts.push(char)
    }
    return id
  }

  #forget(): void {
    this.#pairs.clear()
    this.#strays.clear()
    this.#strayTexts.length = 0
  }

  #textOf(symbol: number): string {
    return (
      symbol < this.#tokens.length ? this.#tokens[symbol] : this.#strayTexts[symbol - this.#tokens.length]
    ) as string
  }

  #lookUp(left: number, right: number): number {
    const at = this.#pairs.find(left, right)
    if (at >= 0) return at
    const id = this.#idOf.get(this.#textOf(left) + this.#textOf(right))
    this.#pairs.add(left, right, id === undefined ? -1 : (this.#ranks[id] as number), id ?? -1)
    return this.#pairs.find(left, right)
  }

  #emitBytes(char: string, out: IdBuffer): void {
    const bytes = encoder.encode(char)
    if (bytes.every((byte) => (this.#byteIds[byte] as number) >= 0)) {
      for (const byte of bytes) out.push(this.#byteIds[byte] as number)
    } else if (this.#unkId !== undefined) {
      out.push(this.#unkId)
    } else {
      throw new TokenizerError(
        "no_byte_token",
        `the vocabulary has no token for ${JSON.stringify(char)}, none for its bytes and no unknown token; this text cannot be given to the model`,
      )
    }
  }
}

function rankScores(scores: ArrayLike<number>, n: number): Int32Array {
  const order = Array.from({ length: n }, (_, id) => id).sort((a, b) => (scores[b] as number) - (scores[a] as number))
  const ranks = new Int32Array(n)
  let rank = 0
  for (const [i, id] of order.entries()) {
    if (i > 0 && scores[order[i - 1] as number] !== scores[id]) rank++
    ranks[id] = rank
  }
  return ranks
}
