import type { Clock } from "../async.ts"
import type { Matcher } from "../grammar/matcher.ts"
import { BLOCK_SIZE } from "../native/abi.ts"
import { type BlockPool, BlockTable } from "./blocks.ts"
import { EventQueue } from "./event-queue.ts"
import { MersenneTwister } from "./mersenne.ts"
import { blockKey } from "./prefix-cache.ts"
import { SamplerState } from "./sampler-state.ts"
import { Speculator } from "./speculator.ts"
import type {
  EngineLimits,
  FinishReason,
  GenerateRequest,
  PrefillOnlyResult,
  SamplingParams,
  TokenLogprobs,
  Usage,
} from "./types.ts"

type RequestLimits = Pick<EngineLimits, "contextLength" | "nVocab">

/** The shortest time that decoding takes, so that a rate can always be computed: a microsecond. */
const LEAST_MS = 1e-3

/** One completion of a request: its tokens, its blocks and its state. */
export class Sequence {
  readonly request: GenerateRequest
  readonly sampling: SamplingParams
  readonly output: number[] = []
  /** Tokens to generate at most: `maxTokens`, or what the context length leaves. */
  readonly maxOutput: number
  readonly sampler: SamplerState
  /** The random numbers of the draws, where the device does not make them. */
  readonly draws: MersenneTwister | undefined
  readonly blocks: BlockTable
  /** Log-probabilities of the request's targets so far, by position. */
  readonly scores: TokenLogprobs[] = []
  /** Tokens whose K and V are in the blocks; 0 unless the sequence runs. */
  nCached = 0
  /** The greatest `nCached` so far. Tokens before it were computed, if perhaps preempted since. */
  nComputed = 0
  /** Prompt tokens that came from the prefix cache. */
  cachedTokens = 0
  /** `waiting` for its first step, or for the next one after a preemption. */
  state: "waiting" | "running" | "ended" = "waiting"
  /** Gives the token masks, where the request has a constraint. */
  matcher: Matcher | undefined

  readonly #keys: string[] = []
  #speculator: Speculator | undefined
  #first: number | undefined
  #last: number | undefined
  /** Computed tokens of the prompt that were reported. */
  #reported = -1

  /** @param index Which of the request's `n` sequences. @param arrival Number in the order of arrival. */
  constructor(
    readonly owner: ActiveRequest,
    readonly index: number,
    pool: BlockPool,
    { contextLength, nVocab }: RequestLimits,
    readonly arrival: number,
  ) {
    const { request } = owner
    this.request = request
    this.blocks = new BlockTable(pool)
    this.maxOutput = Math.min(request.maxTokens, contextLength - request.tokens.length)
    const { seed } = request.sampling
    this.sampling =
      index === 0 ? request.sampling : { ...request.sampling, seed: BigInt.asUintN(64, seed + BigInt(index)) }
    this.sampler = new SamplerState(request, this, nVocab)
    this.draws = this.sampling.generator === "mersenne" ? new MersenneTwister(this.sampling.seed) : undefined
    const salt = pool.prefixes.keep ? (request.cacheSalt ?? "") : request.id
    this.keyOf = (block) => {
      this.#keys[block] ??= blockKey((position) => this.tokenAt(position), block, salt)
      return this.#keys[block]
    }
  }

  /** Cache key of block `i`; all its tokens must be known. With the prefix cache off, keys are salted per request. */
  readonly keyOf: (block: number) => string

  /** The request asks for an embedding. */
  get isEmbedding(): boolean {
    return this.request.pooling !== undefined
  }

  /** The request asks for an embedding or for scores: every token is computed here, and none is generated. */
  get isPrefillOnly(): boolean {
    return this.isEmbedding || this.request.targets !== undefined
  }

  /** Created on first use. */
  get speculator(): Speculator {
    this.#speculator ??= new Speculator((position) => this.tokenAt(position))
    return this.#speculator
  }

  /** Whether the next token can be chosen: there is no constraint, or its mask is here. */
  get ready(): boolean {
    return this.matcher === undefined || this.matcher.mask !== undefined
  }

  get priority(): number {
    return this.request.priority ?? 0
  }

  /** The owner that is charged for the tokens. */
  get key(): string {
    return this.request.key ?? ""
  }

  get nPrompt(): number {
    return this.request.tokens.length
  }

  /** Prompt and output together. */
  get nTokens(): number {
    return this.request.tokens.length + this.output.length
  }

  /** Tokens that are not computed yet. */
  get nPending(): number {
    return this.nTokens - this.nCached
  }

  tokenAt(position: number): number {
    const { tokens } = this.request
    return (position < tokens.length ? tokens[position] : this.output[position - tokens.length]) ?? 0
  }

  /**
   * Acquires cached blocks of this sequence's tokens, but never the last token's, whose logits are needed. The sequences of one request share
   * its prompt in this way. Each of them computes the prompt's last, partly filled block (16 tokens at most) itself: a block that is still
   * written cannot be shared, and no operation copies a block.
   */
  matchPrefix(): void {
    if (this.isPrefillOnly) return
    this.blocks.match(this.keyOf, Math.floor((this.nTokens - 1) / BLOCK_SIZE))
  }

  /** Counts the tokens of matched blocks as computed. @returns how many prompt tokens that saved. */
  skipMatched(): number {
    const { nShared } = this.blocks
    const nPrompt = this.request.tokens.length
    const saved = Math.max(0, Math.min(nShared, nPrompt) - this.nComputed)
    this.cachedTokens += saved
    this.nCached = Math.max(this.nCached, nShared)
    this.nComputed = Math.max(this.nComputed, nShared)
    return saved
  }

  /** Records that a step computed `n` more tokens. @returns how many of them were computed for the first time. */
  advance(n: number): number {
    this.nCached += n
    const fresh = Math.max(0, this.nCached - this.nComputed)
    this.nComputed += fresh
    return fresh
  }

  /** Publishes full blocks to the prefix cache. Embedding-only requests are skipped: they would evict reusable prompts. */
  publish(): void {
    if (this.isEmbedding) return
    this.blocks.publish(this.keyOf, this.nCached)
  }

  /**
   * Appends a generated token.
   * @param surprise Of the step's result.
   * @returns why the sequence ends with it, or `undefined`.
   */
  accept(token: number, logprobs: TokenLogprobs | undefined, surprise: number): FinishReason | undefined {
    this.#last = this.owner.clock.now()
    this.#first ??= this.#last
    this.output.push(token)
    this.sampler.accept(token, surprise)
    const { index } = this
    this.owner.events.push(logprobs ? { type: "token", index, token, logprobs } : { type: "token", index, token })
    if (this.request.stopTokens.has(token) || this.request.stopTokenIds?.has(token)) return "stop"
    if (this.output.length >= this.maxOutput) return "length"
    this.matcher?.accept(token)
    return undefined
  }

  /** Reports that `processed` tokens of the prompt are computed, if the request asks for it and they are more than before. */
  reportProgress(processed: number): void {
    if (!this.request.progress || this.index > 0 || processed <= this.#reported) return
    this.#reported = processed
    this.owner.events.push({ type: "progress", index: this.index, processed, cached: this.cachedTokens })
  }

  finish(reason: FinishReason, result: PrefillOnlyResult = {}): void {
    this.owner.events.push({ type: "end", index: this.index, reason, usage: this.#usage(), ...result })
  }

  #usage(): Usage {
    const now = this.owner.clock.now()
    return {
      promptTokens: this.request.tokens.length,
      completionTokens: this.output.length,
      // Of the first sequence: what the others found in the cache, it had computed.
      cachedTokens: this.owner.sequences[0]?.cachedTokens ?? 0,
      prefillMs: (this.#first ?? now) - this.owner.submitted,
      decodeMs: this.#first === undefined ? 0 : Math.max((this.#last ?? now) - this.#first, LEAST_MS),
    }
  }
}

/** A request in flight: its sequences and their events. */
export class ActiveRequest {
  readonly events: EventQueue
  readonly sequences: readonly Sequence[]
  readonly submitted: number
  /** When the first sequence began to run, by the clock. */
  started: number | undefined
  /** The prompt was computed once: the other sequences find it in the cache. */
  promptDone = false

  /**
   * @param firstArrival Number of the first sequence in the order of arrival; the others follow.
   */
  constructor(
    readonly request: GenerateRequest,
    readonly clock: Clock,
    pool: BlockPool,
    limits: RequestLimits,
    firstArrival: number,
  ) {
    const n = request.n ?? 1
    this.submitted = clock.now()
    this.events = new EventQueue(n)
    this.sequences = Array.from({ length: n }, (_, i) => new Sequence(this, i, pool, limits, firstArrival + i))
  }
}
