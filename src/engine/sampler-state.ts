/** What the sampling of one sequence depends on beside the logits: the tokens so far, and Mirostat's state. */

import { dryPenalties } from "./dry.ts"
import type { GenerateRequest } from "./types.ts"

/** The text that a sampler looks at, which only grows. */
interface SampledText {
  /** Tokens of the prompt, and of all. */
  readonly nPrompt: number
  readonly nTokens: number
  tokenAt(position: number): number
}

/** Mirostat's mu stays within what the device accepts. */
const MAX_MU = 1e6

export class SamplerState {
  /** Mirostat's greatest surprise, in bits. */
  mu: number
  /** [ceil(nVocab / 32)] bits of the tokens that may be chosen; `undefined`: all. */
  readonly allowed: Uint32Array | undefined
  readonly #text: SampledText
  readonly #request: GenerateRequest
  /** Occurrences in the output; 0 for tokens of the prompt alone. `undefined` where no penalty needs them, or a window moves. */
  readonly #counts: Map<number, number> | undefined
  /** Tokens that the penalties look back at, where these are not all. */
  readonly #window: number | undefined
  /** The biases that apply at every token: those of the request, and words of one token that must not occur. */
  readonly #constant: ReadonlyMap<number, number>
  /** Longer words that must not occur. */
  readonly #badWords: readonly (readonly number[])[]
  /** The last biases, and the output that they are for. */
  #biases: { counter: number; byToken: ReadonlyMap<number, number> } | undefined

  constructor(request: GenerateRequest, text: SampledText, nVocab: number) {
    this.#request = request
    this.#text = text
    const { sampling, tokens } = request
    const { repetitionPenalty, frequencyPenalty, presencePenalty, repeatLastN, badWords, allowedTokens } = sampling
    this.mu = 2 * sampling.mirostatTau
    const penalised = repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0
    if (penalised && repeatLastN > 0) this.#window = repeatLastN
    else if (penalised && repeatLastN < 0) {
      this.#counts = new Map()
      // The other penalties count the output alone.
      if (repetitionPenalty !== 1) for (const token of tokens) this.#counts.set(token, 0)
    }
    this.#badWords = badWords.filter(({ length }) => length > 1)
    const single = badWords.filter(({ length }) => length === 1)
    this.#constant =
      single.length === 0
        ? sampling.logitBias
        : new Map([...sampling.logitBias, ...single.map(([token]) => excluded(token))])
    if (allowedTokens !== undefined) {
      this.allowed = new Uint32Array(Math.ceil(nVocab / 32))
      for (const token of allowedTokens)
        this.allowed[token >> 5] = (this.allowed[token >> 5] as number) | (1 << (token & 31))
    }
  }

  /** Whether several tokens can be verified in one step: what applies to each of them follows from the constant parts alone. */
  get draftable(): boolean {
    const { mirostat, dryMultiplier } = this.#request.sampling
    return mirostat === 0 && dryMultiplier === 0 && this.#window === undefined && this.#badWords.length === 0
  }

  /** How often each token counts for the penalties: its occurrences in the output; 0 for tokens of the prompt alone. */
  get counts(): ReadonlyMap<number, number> | undefined {
    return this.#window === undefined ? this.#counts : this.#countWindow(this.#window)
  }

  /** Records a chosen token. @param surprise -log2 of its probability, where Mirostat is on. */
  accept(token: number, surprise: number): void {
    if (this.#counts) this.#counts.set(token, (this.#counts.get(token) ?? 0) + 1)
    const { mirostat, mirostatTau, mirostatEta } = this.#request.sampling
    if (mirostat === 0) return
    this.mu = Math.max(-MAX_MU, Math.min(MAX_MU, this.mu - mirostatEta * (surprise - mirostatTau)))
  }

  /** What is added to the logits of output number `counter`: biases, DRY's penalties, and -Infinity for what is excluded there. */
  biases(counter: number): ReadonlyMap<number, number> {
    if (this.#biases?.counter !== counter) this.#biases = { counter, byToken: this.#biasesOf(counter) }
    return this.#biases.byToken
  }

  #biasesOf(counter: number): ReadonlyMap<number, number> {
    const { sampling, stopTokens, stopTokenIds = [], minTokens = 0 } = this.#request
    const dry = sampling.dryMultiplier > 0 && sampling.dryPenaltyLastN !== 0
    if (counter >= minTokens && !dry && this.#badWords.length === 0) return this.#constant
    const biases = new Map(this.#constant)
    if (dry) {
      const text = this.#text
      for (const [token, penalty] of dryPenalties((position) => text.tokenAt(position), text.nTokens, sampling))
        biases.set(token, (biases.get(token) ?? 0) - penalty)
    }
    for (const word of this.#badWords) if (this.#endsBefore(word)) biases.set(...excluded(word.at(-1)))
    if (counter < minTokens) for (const token of [...stopTokens, ...stopTokenIds]) biases.set(...excluded(token))
    return biases
  }

  /** Whether the output ends with all tokens of a word but the last one. */
  #endsBefore(word: readonly number[]): boolean {
    const { nTokens, nPrompt } = this.#text
    const first = nTokens - (word.length - 1)
    return (
      first >= nPrompt && word.every((token, i) => i === word.length - 1 || this.#text.tokenAt(first + i) === token)
    )
  }

  #countWindow(size: number): Map<number, number> {
    const counts = new Map<number, number>()
    const { nTokens, nPrompt } = this.#text
    const { repetitionPenalty } = this.#request.sampling
    for (let position = Math.max(0, nTokens - size); position < nTokens; position++) {
      const token = this.#text.tokenAt(position)
      const generated = position >= nPrompt
      if (generated || repetitionPenalty !== 1) counts.set(token, (counts.get(token) ?? 0) + (generated ? 1 : 0))
    }
    return counts
  }
}

const excluded = (token: number | undefined): [number, number] => [token ?? 0, Number.NEGATIVE_INFINITY]
