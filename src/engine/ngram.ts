/**
 * Guesses how a text goes on from how it went on before: after the longest run of tokens that ended in the same way (prompt lookup
 * decoding, A. Saxena 2023). A guess costs nothing but the rows that verify it.
 */

/** A run of fewer equal tokens is a coincidence. */
const MIN_MATCH = 3
/** Longer runs are not told apart. */
const MAX_MATCH = 16
/** Earlier places that are compared, the latest first. */
const MAX_PLACES = 8

export class NgramIndex {
  readonly #tokenAt: (position: number) => number
  /** Where each pair of tokens ended last. */
  readonly #last = new Map<number, number>()
  /** For each position, where the pair that ends there ended before that; -1: nowhere. */
  readonly #earlier: number[] = [-1]

  /** @param tokenAt The text, which only grows. */
  constructor(tokenAt: (position: number) => number) {
    this.#tokenAt = tokenAt
  }

  /** Up to `limit` tokens to follow the first `n_tokens`. */
  propose(nTokens: number, limit: number): number[] {
    this.#extend(nTokens)
    const end = nTokens - 1
    let best = -1
    let longest = MIN_MATCH - 1
    let place = this.#earlier[end] ?? -1
    for (let i = 0; i < MAX_PLACES && place > 0; i++) {
      const length = this.#match(place, end)
      if (length > longest) [best, longest] = [place, length]
      place = this.#earlier[place] ?? -1
    }
    const draft: number[] = []
    if (best < 0) return draft
    for (let from = best + 1; draft.length < limit; from++) {
      // A repetition may reach into what is guessed here.
      draft.push(from < nTokens ? this.#tokenAt(from) : (draft[from - nTokens] as number))
    }
    return draft
  }

  #extend(nTokens: number): void {
    for (let end = this.#earlier.length; end < nTokens; end++) {
      const pair = this.#tokenAt(end - 1) * 2 ** 26 + this.#tokenAt(end)
      this.#earlier.push(this.#last.get(pair) ?? -1)
      this.#last.set(pair, end)
    }
  }

  /** Equal tokens before and at two places. */
  #match(place: number, end: number): number {
    let length = 0
    while (length < MAX_MATCH && length <= place && this.#tokenAt(place - length) === this.#tokenAt(end - length))
      length++
    return length
  }
}
