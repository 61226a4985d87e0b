import { NgramIndex } from "./ngram.ts"

/** Tokens drafted for one sequence at a time at most. */
export const MAX_DRAFT = 8

/** Weight of a draft beside the one after it. */
const DECAY = 0.8
/** Tokens that a sequence goes without drafts once they did not pay: at first, and at most. */
const FIRST_PAUSE = 16
const LONGEST_PAUSE = 512

/**
 * Drafts for one sequence. How much it drafts follows how much was accepted; where that does not pay it stops, and tries again after
 * pauses that grow. What the sequence says never depends on it.
 */
export class Speculator {
  readonly #index: NgramIndex
  /** The next draft's length. */
  #length = 3
  /** Of the last drafts, as if some had gone well before the first. */
  #drafted = 4
  #accepted = 3
  #pause = FIRST_PAUSE
  #resumeAt = 0

  constructor(tokenAt: (position: number) => number) {
    this.#index = new NgramIndex(tokenAt)
  }

  /**
   * Tokens that may follow the first `n_tokens`, `limit` at most; none where drafting does not pay.
   * @param least The share of them that must be accepted for it to pay.
   */
  propose(nTokens: number, limit: number, least: number): readonly number[] {
    if (limit < 1 || nTokens < this.#resumeAt) return []
    if (this.#accepted < least * this.#drafted) {
      this.#resumeAt = nTokens + this.#pause
      this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE)
      // The next trial starts with one good draft's credit.
      this.#length = 1
      this.#drafted = 1
      this.#accepted = 1
      return []
    }
    return this.#index.propose(nTokens, Math.min(limit, this.#length))
  }

  /** How a draft went. */
  record(drafted: number, accepted: number): void {
    this.#drafted = DECAY * this.#drafted + drafted
    this.#accepted = DECAY * this.#accepted + accepted
    this.#length = accepted === drafted ? Math.min(drafted + 2, MAX_DRAFT) : accepted + 1
    if (accepted === MAX_DRAFT) this.#pause = FIRST_PAUSE
  }
}
