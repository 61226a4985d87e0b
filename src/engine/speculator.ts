/** Speculative decoding: how many tokens to draft for a sequence, and when. */

import { NgramIndex } from "./ngram.ts"

/** Tokens drafted for one sequence in one step, at most. */
export const MAX_DRAFT = 8

/** Weight of a draft relative to the next one. */
const DECAY = 0.8
/** After drafts that did not pay, tokens without drafts: the first time, and at most. */
const FIRST_PAUSE = 16
const LONGEST_PAUSE = 512

/**
 * Drafts tokens for one sequence. The length of a draft follows the number of tokens accepted before. Where drafting does not pay it pauses,
 * longer each time. The generated tokens never depend on it.
 */
export class Speculator {
  readonly #index: NgramIndex
  /** The next draft's length. */
  #length = 3
  /** Drafted and accepted tokens of the last drafts; the initial values let the first drafts through. */
  #drafted = 4
  #accepted = 3
  #pause = FIRST_PAUSE
  #resumeAt = 0

  constructor(tokenAt: (position: number) => number) {
    this.#index = new NgramIndex(tokenAt)
  }

  /**
   * Drafts up to `limit` tokens after the first `nTokens`, or none where drafting does not pay.
   * @param least The share of drafted tokens that must be accepted for drafting to pay.
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

  /** Records how many tokens of a draft were accepted. */
  record(drafted: number, accepted: number): void {
    this.#drafted = DECAY * this.#drafted + drafted
    this.#accepted = DECAY * this.#accepted + accepted
    this.#length = accepted === drafted ? Math.min(drafted + 2, MAX_DRAFT) : accepted + 1
    if (accepted === MAX_DRAFT) this.#pause = FIRST_PAUSE
  }
}
