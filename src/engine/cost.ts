/** Cost estimates: of a prompt token by its position, of one more token in a decode step, and of a request. */

import type { ModelConfig } from "../models/config.ts"

/** Lower bound of the prompt tokens of a step while other sequences decode, whatever `tokenCost` is. */
export const smallestChunk = (chunkTokens: number): number => Math.ceil(chunkTokens / 4)

/** Rate of attention's products relative to the other matrix products. */
const ATTENTION_RATE = 0.5

/**
 * Relative cost of a prompt token after `context` tokens; 1 for the first token. It counts the matrix products and attention over the
 * context. (SmolLM2-135M on two Zen 4 cores: 64 tokens take 66 ms at the start and 130 ms after 1,408 tokens; this formula gives 1.9.)
 */
export function tokenCost({ hiddenSize, layers }: ModelConfig): (context: number) => number {
  // Multiply-adds of all layers per token, and per token that it attends to, the latter by window.
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

/** Weight of a step relative to the next one. */
const DECAY = 0.98
/** Cost of a second token relative to a step with one, until steps of different sizes were measured. */
const ASSUMED_SHARE = 0.3

/**
 * Cost of one more token in a decode step: milliseconds = base + slope × tokens, fitted to the last steps by least squares. Decides when a
 * drafted token pays.
 */
export class StepCost {
  #n = 0
  #tokens = 0
  #tokens2 = 0
  #ms = 0
  #tokensMs = 0

  record(tokens: number, ms: number): void {
    // A pause of the machine is no measurement.
    if (this.#n > 8 && ms > 5 * this.#estimate(tokens)) return
    this.#n = DECAY * this.#n + 1
    this.#tokens = DECAY * this.#tokens + tokens
    this.#tokens2 = DECAY * this.#tokens2 + tokens * tokens
    this.#ms = DECAY * this.#ms + ms
    this.#tokensMs = DECAY * this.#tokensMs + tokens * ms
  }

  /**
   * The share of drafted tokens that must be accepted for drafting to pay, when `nSeqs` sequences decode together: the cost of one more
   * token in a step, divided by the cost of a token without drafting.
   */
  leastAcceptance(nSeqs: number): number {
    const { base, slope } = this.#fit()
    const token = base / nSeqs + slope
    return token > 0 ? slope / token : ASSUMED_SHARE
  }

  #estimate(tokens: number): number {
    const { base, slope } = this.#fit()
    return base + slope * tokens
  }

  #fit(): { base: number; slope: number } {
    if (this.#n === 0) return { base: 1 - ASSUMED_SHARE, slope: ASSUMED_SHARE }
    const [tokens, ms] = [this.#tokens / this.#n, this.#ms / this.#n]
    const variance = this.#tokens2 / this.#n - tokens * tokens
    if (variance < 0.05) {
      const one = ms / (1 - ASSUMED_SHARE + ASSUMED_SHARE * tokens)
      return { base: one * (1 - ASSUMED_SHARE), slope: one * ASSUMED_SHARE }
    }
    const fitted = (this.#tokensMs / this.#n - tokens * ms) / variance
    const slope = Math.min(Math.max(fitted, 0), ms / tokens)
    return { base: ms - slope * tokens, slope }
  }
}

/** Mean duration of requests, from the first step to the end. Gives refused requests the time after which to retry. */
export class ServiceTime {
  /** Milliseconds. Recent requests weigh more. */
  #mean: number | undefined

  record(ms: number): void {
    this.#mean = this.#mean === undefined ? ms : this.#mean + (ms - this.#mean) / 8
  }

  /** Estimated seconds, 1 to 600, until `nWaiting` requests have begun when `nSlots` run together. */
  retryAfter(nWaiting: number, nSlots: number): number {
    const seconds = ((this.#mean ?? 0) * (nWaiting + 1)) / nSlots / 1000
    return Math.min(600, Math.max(1, Math.ceil(seconds)))
  }
}
