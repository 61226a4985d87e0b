import type { Matcher } from "../grammar/matcher.ts"
import { BLOCK_SIZE } from "../native/abi.ts"
import { type BlockPool, BlockTable } from "./blocks.ts"
import { blockKey } from "./prefix-cache.ts"
import type { ActiveRequest } from "./request.ts"
import { Speculator } from "./speculator.ts"
import type { FinishReason, GenerateRequest, Reading, SamplingParams, TokenLogprobs, Usage } from "./types.ts"

/** One choice of a request on its way through the engine: its tokens and its blocks. */
export class Sequence {
  readonly request: GenerateRequest
  readonly sampling: SamplingParams
  readonly output: number[] = []
  /** What it may generate: `max_tokens`, or what the context leaves. */
  readonly maxOutput: number
  /** Occurrences in the output, and 0 for tokens of the prompt alone; kept only when a penalty asks for them. */
  readonly counts: Map<number, number> | undefined
  readonly blocks: BlockTable
  /** Log-probabilities of its targets so far, by their places. */
  readonly scores: TokenLogprobs[] = []
  /** Tokens whose K and V are in its blocks; 0 unless it runs. */
  nCached = 0
  /** The greatest `n_cached` there was: what is computed below it was computed before. */
  nSeen = 0
  /** Prompt tokens that came from the prefix cache. */
  cachedTokens = 0
  /** `waiting` for its first step, or for the next one after a preemption. */
  state: "waiting" | "running" | "ended" = "waiting"
  /** Follows its text, where that must keep to a constraint. */
  matcher: Matcher | undefined

  readonly #keys: string[] = []
  #speculator: Speculator | undefined
  #first: number | undefined
  #last: number | undefined

  /** @param arrival Its number in the order of arrival. */
  constructor(
    readonly owner: ActiveRequest,
    readonly index: number,
    pool: BlockPool,
    contextLength: number,
    readonly arrival: number,
  ) {
    const { request } = owner
    this.request = request
    this.blocks = new BlockTable(pool)
    this.maxOutput = Math.min(request.maxTokens, contextLength - request.tokens.length)
    const { seed, repetitionPenalty, frequencyPenalty, presencePenalty } = request.sampling
    this.sampling =
      index === 0 ? request.sampling : { ...request.sampling, seed: BigInt.asUintN(64, seed + BigInt(index)) }
    if (repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0) this.counts = new Map()
    // The other penalties do not ask for the prompt's tokens.
    if (repetitionPenalty !== 1) for (const token of request.tokens) this.counts?.set(token, 0)
    const salt = pool.prefixes.keep ? (request.cacheSalt ?? "") : request.id
    this.keyOf = (block) => {
      this.#keys[block] ??= blockKey((position) => this.tokenAt(position), block, salt)
      return this.#keys[block]
    }
  }

  /** Names its i-th block, whose tokens must all be known. Without a prefix cache a request finds its own blocks alone. */
  readonly keyOf: (block: number) => string

  /** An embedding is wanted. */
  get embeds(): boolean {
    return this.request.pooling !== undefined
  }

  /** It is only read, for an embedding or for scores: each of its rows has to be computed, and none gives a token. */
  get reads(): boolean {
    return this.embeds || this.request.targets !== undefined
  }

  /** Made when it is first asked for a draft. */
  get speculator(): Speculator {
    this.#speculator ??= new Speculator((position) => this.tokenAt(position))
    return this.#speculator
  }

  /** It is known which tokens may come next. */
  get ready(): boolean {
    return this.matcher === undefined || this.matcher.mask !== undefined
  }

  get priority(): number {
    return this.request.priority ?? 0
  }

  /** The owner to whom its tokens are charged. */
  get key(): string {
    return this.request.key ?? ""
  }

  /** Prompt and output together. */
  get nTokens(): number {
    return this.request.tokens.length + this.output.length
  }

  /** Tokens that the model has not seen; one more of them gives the next. */
  get nPending(): number {
    return this.nTokens - this.nCached
  }

  tokenAt(position: number): number {
    const { tokens } = this.request
    return (position < tokens.length ? tokens[position] : this.output[position - tokens.length]) ?? 0
  }

  /**
   * Takes what is cached of its tokens, all but the last one, whose logits are needed. Choices of one request share its prompt in this
   * way: what stands in the prompt's last, partly filled block (16 tokens at most) is computed by each of them, because a block
   * that one of them goes on writing cannot be shared, and there is no operation that copies one.
   */
  adopt(): void {
    if (this.reads) return
    this.blocks.adopt(this.keyOf, Math.floor((this.nTokens - 1) / BLOCK_SIZE))
  }

  /** Counts what `adopt` found as computed, and returns the prompt tokens that it saved. */
  skipAdopted(): number {
    const { nShared } = this.blocks
    const nPrompt = this.request.tokens.length
    const saved = Math.max(0, Math.min(nShared, nPrompt) - this.nSeen)
    this.cachedTokens += saved
    this.nCached = Math.max(this.nCached, nShared)
    this.nSeen = Math.max(this.nSeen, nShared)
    return saved
  }

  /** A step computed `n` more tokens. Returns how many of them never were before. */
  advance(n: number): number {
    this.nCached += n
    const fresh = Math.max(0, this.nCached - this.nSeen)
    this.nSeen += fresh
    return fresh
  }

  /** Lets others find the blocks that are full. Those of a text that is only embedded would cost prompts their place. */
  seal(): void {
    if (this.embeds) return
    this.blocks.seal(this.keyOf, this.nCached)
  }

  /** Appends a generated token and says whether it ends the choice. */
  accept(token: number, logprobs: TokenLogprobs | undefined): FinishReason | undefined {
    this.#last = performance.now()
    this.#first ??= this.#last
    this.output.push(token)
    if (this.counts) this.counts.set(token, (this.counts.get(token) ?? 0) + 1)
    const { index } = this
    this.owner.events.push(logprobs ? { type: "token", index, token, logprobs } : { type: "token", index, token })
    if (this.request.stopTokens.has(token)) return "stop"
    if (this.output.length >= this.maxOutput) return "length"
    this.matcher?.accept(token)
    return undefined
  }

  finish(reason: FinishReason, reading: Reading = {}): void {
    this.owner.events.push({ type: "end", index: this.index, reason, usage: this.#usage(), ...reading })
  }

  #usage(): Usage {
    const now = performance.now()
    return {
      promptTokens: this.request.tokens.length,
      completionTokens: this.output.length,
      // What the first choice found: the others find what it computed.
      cachedTokens: this.owner.choices[0]?.cachedTokens ?? 0,
      prefillMs: (this.#first ?? now) - this.owner.submitted,
      decodeMs: (this.#last ?? now) - (this.#first ?? now),
    }
  }
}
