import type { IdBuffer } from "./id-buffer.ts"

/** Longest piece to keep, in UTF-16 units; longer pieces seldom repeat. */
const MAX_KEY = 24
const MAX_ENTRIES = 1 << 15

/** A cache of the ids of short pieces. When it is full it is cleared; common words are back within a page of text. */
export class WordCache {
  /** A single id is kept as a number, since most words are one token. */
  readonly #entries = new Map<string, number | Int32Array>()

  /** Appends the ids of a piece if they are cached; returns whether they were. */
  replay(piece: string, out: IdBuffer): boolean {
    if (piece.length > MAX_KEY) return false
    const ids = this.#entries.get(piece)
    if (ids === undefined) return false
    if (typeof ids === "number") out.push(ids)
    else out.append(ids)
    return true
  }

  /** Caches the ids in `out` from `start` on as those of a piece. */
  remember(piece: string, out: IdBuffer, start: number): void {
    if (piece.length > MAX_KEY) return
    if (this.#entries.size >= MAX_ENTRIES) this.#entries.clear()
    this.#entries.set(piece, out.length - start === 1 ? out.at(start) : out.since(start))
  }
}
