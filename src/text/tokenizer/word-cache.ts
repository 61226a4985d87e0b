import type { IdBuffer } from "./id-buffer.ts"

/** Pieces longer than this many UTF-16 units are too rare to be worth keeping. */
const MAX_KEY = 24
const MAX_ENTRIES = 1 << 15

/** Ids of short pieces seen before. When full it starts anew: the common words are back within a page of text. */
export class WordCache {
  /** One id is kept as a number: most words are one token. */
  readonly #entries = new Map<string, number | Int32Array>()

  /** Appends the ids of a piece if they are known. */
  replay(piece: string, out: IdBuffer): boolean {
    if (piece.length > MAX_KEY) return false
    const ids = this.#entries.get(piece)
    if (ids === undefined) return false
    if (typeof ids === "number") out.push(ids)
    else out.append(ids)
    return true
  }

  /** Keeps what `out` holds from `start` on as the ids of a piece. */
  remember(piece: string, out: IdBuffer, start: number): void {
    if (piece.length > MAX_KEY) return
    if (this.#entries.size >= MAX_ENTRIES) this.#entries.clear()
    this.#entries.set(piece, out.length - start === 1 ? out.at(start) : out.since(start))
  }
}
