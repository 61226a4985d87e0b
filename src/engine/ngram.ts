/**
 * Drafts tokens by prompt lookup (A. Saxena 2023): it finds an earlier place where the same tokens stand as at the end, and proposes what
 * followed there. The longest match wins. A draft costs only the tokens of the step that verifies it.
 */

/** Shorter matches are taken for coincidence. */
const MIN_MATCH = 3
/** Longer matches count as equally long. */
const MAX_MATCH = 16
/** Earlier places that are compared, from the latest on. */
const MAX_PLACES = 8

export class NgramIndex {
  readonly #tokenAt: (position: number) => number
  /** For each pair of tokens, the position where it ended last. */
  readonly #last = new Map<number, number>()
  /** For each position, where the pair that ends there ended before; -1 for nowhere. */
  readonly #earlier: number[] = [-1]

  /** @param tokenAt The sequence's tokens, which only grow. */
  constructor(tokenAt: (position: number) => number) {
    this.#tokenAt = tokenAt
  }

  /** Up to `limit` tokens that may follow the first `nTokens`. */
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
      // A repetition may reach into the draft itself.
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

  /** Number of equal tokens that end at two positions. */
  #match(place: number, end: number): number {
    let length = 0
    while (length < MAX_MATCH && length <= place && this.#tokenAt(place - length) === this.#tokenAt(end - length))
      length++
    return length
  }
}
