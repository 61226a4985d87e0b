/** What things cost: a prompt token by its place, a token more in a step, and a request in time. */

import type { ModelConfig } from "../models/config.ts"

/** Prompt tokens that a step computes at least beside sequences that decode, however much a token costs late in a prompt. */
export const smallestChunk = (chunkTokens: number): number => Math.ceil(chunkTokens / 4)

/** Attention's products run at about half the rate of the others. */
const ATTENTION_RATE = 0.5

/**
 * Cost of a prompt's row after `context` tokens, relative to a row at the beginning of a text: matrix products, and attention over the
 * context. (SmolLM2-135M on two Zen 4 cores: 64 rows take 66 ms at the beginning, and 130 ms after 1,408 tokens; the estimate is 1.9.)
 */
export function tokenCost({ hiddenSize, layers }: ModelConfig): (context: number) => number {
  // Multiply-adds of all layers for a row, and for each token that the row sees, the latter by the layers' windows.
  let products = 0
  const seen = new Map<number, number>()
  for (const { nHeads, nKvHeads, headDim, valueDim, ffn, window } of layers) {
    products += hiddenSize * ((nHeads + nKvHeads) * (headDim + valueDim) + 3 * ffn)
    const longest = window > 0 ? window : Number.POSITIVE_INFINITY
    seen.set(longest, (seen.get(longest) ?? 0) + (nHeads * (headDim + valueDim)) / ATTENTION_RATE)
  }
  const widths = [...seen]
  return (context) => 1 + widths.reduce((sum, [longest, each]) => sum + each * Math.min(context, longest), 0) / products
}

/** Weight of a step beside the one after it. */
const DECAY = 0.98
/** Until steps of different sizes were seen: the share of a step of one row that a second row adds. */
const ASSUMED_SHARE = 0.3

/**
 * What a row more costs a step that only generates: milliseconds = base + row × rows, fitted to the last steps by least squares. It says
 * when a drafted token is worth its row.
 */
export class StepCost {
  #n = 0
  #rows = 0
  #rows2 = 0
  #ms = 0
  #rowsMs = 0

  record(rows: number, ms: number): void {
    // A pause of the machine says nothing about rows.
    if (this.#n > 8 && ms > 5 * this.#estimate(rows)) return
    this.#n = DECAY * this.#n + 1
    this.#rows = DECAY * this.#rows + rows
    this.#rows2 = DECAY * this.#rows2 + rows * rows
    this.#ms = DECAY * this.#ms + ms
    this.#rowsMs = DECAY * this.#rowsMs + rows * ms
  }

  /**
   * The share of its drafted tokens that a sequence must see accepted for them to pay, when `n_seqs` generate together: what a row costs,
   * over what a token costs without drafting.
   */
  leastAcceptance(nSeqs: number): number {
    const { base, row } = this.#fit()
    const token = base / nSeqs + row
    return token > 0 ? row / token : ASSUMED_SHARE
  }

  #estimate(rows: number): number {
    const { base, row } = this.#fit()
    return base + row * rows
  }

  #fit(): { base: number; row: number } {
    if (this.#n === 0) return { base: 1 - ASSUMED_SHARE, row: ASSUMED_SHARE }
    const [rows, ms] = [this.#rows / this.#n, this.#ms / this.#n]
    const variance = this.#rows2 / this.#n - rows * rows
    if (variance < 0.05) {
      const one = ms / (1 - ASSUMED_SHARE + ASSUMED_SHARE * rows)
      return { base: one * (1 - ASSUMED_SHARE), row: one * ASSUMED_SHARE }
    }
    const slope = (this.#rowsMs / this.#n - rows * ms) / variance
    const row = Math.min(Math.max(slope, 0), ms / rows)
    return { base: ms - row * rows, row }
  }
}

/** How long requests take, from their first step to their end, to tell one that is refused when to come again. */
export class ServiceTime {
  /** Milliseconds; recent requests weigh more. */
  #mean: number | undefined

  record(ms: number): void {
    this.#mean = this.#mean === undefined ? ms : this.#mean + (ms - this.#mean) / 8
  }

  /** Seconds until `n_waiting` requests have begun, when `n_places` run together: 1 to 600. */
  retryAfter(nWaiting: number, nPlaces: number): number {
    const seconds = ((this.#mean ?? 0) * (nWaiting + 1)) / nPlaces / 1000
    return Math.min(600, Math.max(1, Math.ceil(seconds)))
  }
}
