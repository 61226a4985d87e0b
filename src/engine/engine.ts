/** The engine in this process: accepts requests, runs steps, and turns their results into events. */

import { type Clock, nextTurn, realClock } from "../async.ts"
import { EngineError, queueFull, RequestError } from "../errors.ts"
import type { Constraint } from "../grammar/constraint.ts"
import type { GrammarWorker } from "../grammar/worker.ts"
import { BLOCK_SIZE } from "../native/abi.ts"
import type { NativeContext } from "../native/library.ts"
import { readStepResult, STEP_RESULT_WORDS, Words } from "../native/step-structs.ts"
import { outputsOf, StepBuffer } from "./batch.ts"
import { BlockPool } from "./blocks.ts"
import { checkRequest } from "./check-request.ts"
import { ServiceTime, StepCost } from "./cost.ts"
import { startDeadline } from "./event-queue.ts"
import { type HiddenStates, Pooler } from "./pooling.ts"
import { type ScheduledChunk, Scheduler, type SchedulerLimits } from "./scheduler.ts"
import { ActiveRequest, type Sequence } from "./sequence.ts"
import type {
  Engine,
  EngineEvent,
  EngineHealth,
  EngineLimits,
  EngineStats,
  FinishReason,
  GenerateRequest,
  PrefillOnlyResult,
} from "./types.ts"

/** The part of a native context that the engine uses. `close` frees the context and its model. */
export type StepContext = Pick<NativeContext, "step" | "close">

export interface LocalEngineOptions {
  /** Blocks of the K/V cache. */
  nBlocks: number
  /** Tokens of one step at most. At least `limits.maxSeqs`. */
  maxTokens: number
  /** Prompt tokens of one step at most while other requests decode. Default: `maxTokens`. */
  chunkTokens?: number
  /** See `SchedulerLimits`. Default: 1 for every token. */
  tokenCost?: (context: number) => number
  /** `contextLength` is lowered to the tokens that all blocks hold. */
  limits: Pick<EngineLimits, "contextLength" | "nVocab" | "maxSeqs">
  /** Requests that wait to begin, at most. Default 512. */
  maxQueue?: number
  /** Keep full blocks for later prompts that begin alike. Default true. */
  prefixCache?: boolean
  /** Drafted tokens of one step at most (see `Speculator`). Default 0. */
  maxDrafted?: number
  /** Decides when a drafted token pays. Default: measured from the steps. */
  stepCost?: Pick<StepCost, "record" | "leastAcceptance">
  /** Access to hidden states. Without it, embeddings are refused. */
  hidden?: HiddenStates
  /** Computes token masks. Without it, constraints are refused. The engine closes it. */
  grammars?: Pick<GrammarWorker, "open" | "close">
  clock?: Clock
}

/** While some sequences could run, the next step waits for the masks of others at most this share of the last step's time. */
const MASK_PATIENCE = 0.1

/** Runs requests on one native context. Its loop is the only user of the context, the block tables and the sequences. */
export class LocalEngine implements Engine {
  readonly limits: EngineLimits
  readonly #clock: Clock
  readonly #context: StepContext
  readonly #pool: BlockPool
  readonly #scheduler: Scheduler
  readonly #requests = new Map<string, ActiveRequest>()
  readonly #step = new StepBuffer()
  readonly #results: Words
  readonly #serviceTime = new ServiceTime()
  readonly #maxQueue: number
  readonly #cost: Pick<StepCost, "record" | "leastAcceptance">
  readonly #hidden: HiddenStates | undefined
  readonly #poolers = new WeakMap<Sequence, Pooler>()
  #arrivals = 0
  #steps = 0
  #generated = 0
  #drafts = 0
  #drafted = 0
  #accepted = 0
  #looping = false
  #closed = false
  readonly #grammars: Pick<GrammarWorker, "open" | "close"> | undefined
  /** Milliseconds of the last step. */
  #stepMs = 0
  /** Wakes the loop where it waits for masks, because the work may have changed. */
  #onChange = () => {}

  /** Takes over the context, and closes it in `close`. */
  constructor(context: StepContext, options: LocalEngineOptions) {
    const { nBlocks, limits, maxTokens, chunkTokens = maxTokens, tokenCost = () => 1 } = options
    const { maxQueue = 512, prefixCache = true, maxDrafted = 0, stepCost = new StepCost() } = options
    const { maxSeqs } = limits
    // One request alone always fits into the pool, so at least one can always go on.
    this.limits = {
      ...limits,
      contextLength: Math.min(limits.contextLength, nBlocks * BLOCK_SIZE),
      batchTokens: maxTokens,
      chunkTokens,
    }
    this.#clock = options.clock ?? realClock
    this.#context = context
    this.#pool = new BlockPool(nBlocks, prefixCache)
    const ofStep: SchedulerLimits = {
      maxTokens,
      chunkTokens,
      tokenCost,
      maxSeqs,
      maxDrafted,
    }
    this.#scheduler = new Scheduler(ofStep, this.#pool, stepCost)
    this.#results = new Words((maxSeqs + maxDrafted) * STEP_RESULT_WORDS)
    this.#maxQueue = maxQueue
    this.#cost = stepCost
    this.#hidden = options.hidden
    this.#grammars = options.grammars
  }

  async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent, void, void> {
    const active = this.#accept(request)
    const cancel = () => this.#cancel(active)
    const timer = startDeadline(
      this.#clock,
      request,
      () => this.#retryAfter(),
      (error) => this.#fail(active, error),
    )
    signal?.addEventListener("abort", cancel, { once: true })
    try {
      if (signal?.aborted) cancel()
      else this.#wake()
      yield* active.events.read()
    } finally {
      signal?.removeEventListener("abort", cancel)
      this.#clock.clearTimeout(timer)
      this.#release(active)
      this.#requests.delete(request.id)
    }
  }

  endSequence(id: string, index: number): void {
    const sequence = this.#requests.get(id)?.sequences[index]
    if (sequence !== undefined && this.#scheduler.remove(sequence)) sequence.finish("cancelled")
  }

  stats(): EngineStats {
    const { running, waiting, nQueued, nPreemptions, prefixQueryTokens, prefixHitTokens, promptTokens } =
      this.#scheduler
    return {
      running: running.length,
      waiting: waiting.length,
      queued: nQueued,
      retryAfter: this.#retryAfter(),
      blocksTotal: this.#pool.total,
      blocksFree: this.#pool.nFree,
      blocksCached: this.#pool.prefixes.nIdle,
      steps: this.#steps,
      nPreemptions,
      prefixQueryTokens,
      prefixHitTokens,
      promptTokens,
      generatedTokens: this.#generated,
      drafts: this.#drafts,
      draftedTokens: this.#drafted,
      acceptedTokens: this.#accepted,
    }
  }

  health(): EngineHealth {
    return this.#closed ? { state: "closed", reason: "the engine was closed" } : { state: "ready" }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const active of this.#requests.values()) this.#fail(active, new EngineError("the engine was closed"))
    this.#grammars?.close()
    this.#context.close()
  }

  /** Checks a request and queues its sequences. */
  #accept(request: GenerateRequest): ActiveRequest {
    if (this.#closed) throw new EngineError("the engine is closed")
    checkRequest(request, this.limits)
    if (request.pooling !== undefined && !this.#hidden)
      throw new RequestError(
        "this engine does not compute embeddings; leave pooling out",
        "pooling",
        "unsupported_parameter",
      )
    if (this.#requests.has(request.id)) {
      throw new RequestError(`a request with the id ${request.id} is running; ids are unique`, "id", "duplicate_id")
    }
    if (request.constraint && !this.#grammars) {
      const message =
        "this engine was opened without a vocabulary and does not support constraints; leave the constraint out"
      throw new RequestError(message, request.constraint.param, "unsupported_parameter")
    }
    const { nQueued } = this.#scheduler
    if (nQueued >= this.#maxQueue) {
      throw queueFull(nQueued, this.#retryAfter())
    }
    const active = new ActiveRequest(request, this.#clock, this.#pool, this.limits, this.#arrivals)
    this.#arrivals += active.sequences.length
    this.#requests.set(request.id, active)
    for (const sequence of active.sequences) this.#scheduler.add(sequence)
    if (request.constraint) this.#constrain(active, request.constraint)
    return active
  }

  /** Opens a matcher for each sequence. A sequence takes part in steps once its mask is here. */
  #constrain(active: ActiveRequest, constraint: Constraint): void {
    const events = {
      onMask: () => void this.#wake(),
      onFailure: (error: Error) => this.#fail(active, error),
    }
    for (const sequence of active.sequences) {
      sequence.matcher = this.#grammars?.open(constraint, active.request.stopTokens, events)
    }
  }

  /** Runs steps while there is work. Between two steps it yields to everything else in this process. */
  async #wake(): Promise<void> {
    this.#onChange()
    if (this.#looping) return
    this.#looping = true
    // Requests that arrive in the same turn start in the same step.
    await nextTurn()
    try {
      while (!this.#closed) {
        await this.#waitForMasks()
        const chunks = this.#scheduler.schedule()
        if (chunks.length === 0) break
        this.#run(chunks)
        await nextTurn()
      }
    } catch (cause) {
      // A fault of the engine itself: no request must wait for a step that never runs.
      const error = new EngineError(`the engine failed: ${messageOf(cause)}`, { cause })
      for (const active of this.#requests.values()) this.#fail(active, error)
    } finally {
      this.#looping = false
    }
  }

  /** Waits for masks: without a limit where no sequence can run, otherwise for a short time, so that fewer sequences miss the step. */
  async #waitForMasks(): Promise<void> {
    const until = this.#clock.now() + MASK_PATIENCE * this.#stepMs
    for (;;) {
      const { masks } = this.#scheduler
      const left = masks === "some" ? until - this.#clock.now() : 0
      if (this.#closed || masks === "all" || (masks === "some" && left <= 0)) return
      await new Promise<void>((resolve) => {
        const timer = masks === "some" ? this.#clock.setTimeout(resolve, left) : undefined
        this.#onChange = () => {
          this.#clock.clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  #run(chunks: readonly ScheduledChunk[]): void {
    const start = this.#clock.now()
    for (const { sequence } of chunks) if (sequence.output.length === 0) sequence.reportProgress(sequence.nCached)
    try {
      this.#step.pack(chunks)
      this.#context.step(this.#step.words.u32, this.#step.length, this.#results.u32)
    } catch (cause) {
      const error = new EngineError(`the step failed: ${messageOf(cause)}`, { cause })
      for (const { sequence } of chunks) this.#fail(sequence.owner, error)
      return
    }
    this.#steps++
    this.#stepMs = this.#clock.now() - start
    if (chunks.every(({ length }) => length === 1)) {
      const nTokens = chunks.reduce((sum, { draft }) => sum + 1 + draft.length, 0)
      this.#cost.record(nTokens, this.#stepMs)
    }
    let result = 0
    let row = 0
    for (const chunk of chunks) {
      const first = result
      const firstRow = row
      row += chunk.length + chunk.draft.length
      result += outputsOf(chunk)
      // The request may have failed with one of its other sequences.
      if (chunk.sequence.state !== "running") continue
      if (chunk.samples) this.#acceptTokens(chunk, first)
      else if (chunk.sequence.isEmbedding) this.#addHiddenStates(chunk, firstRow)
      else if (chunk.sequence.isPrefillOnly) this.#addScores(chunk, first)
      else {
        this.#scheduler.advance(chunk.sequence, chunk.length)
        chunk.sequence.publish()
      }
    }
  }

  /**
   * Accepts the token after the chunk, and one more for every accepted drafted token. Each was drawn with the random numbers and counts of
   * its own position, so the result is the same as one step each. K and V of rejected tokens are not counted as cached, and overwritten.
   */
  #acceptTokens({ sequence, length, draft }: ScheduledChunk, first: number): void {
    const { owner, sampling } = sequence
    owner.promptDone = true
    sequence.reportProgress(sequence.request.tokens.length)
    let reason: FinishReason | undefined
    let nAccepted = 0
    for (;;) {
      const { token, logprob, surprise, top } = readStepResult(this.#results, first + nAccepted)
      if (token < 0) {
        this.#refuse(sequence)
        return
      }
      this.#generated++
      reason = sequence.accept(token, sampling.logprobs === undefined ? undefined : { logprob, top }, surprise)
      if (reason || token !== draft[nAccepted]) break
      nAccepted++
    }
    this.#scheduler.advance(sequence, length + nAccepted)
    if (draft.length > 0) {
      sequence.speculator.record(draft.length, nAccepted)
      this.#drafts++
      this.#drafted += draft.length
      this.#accepted += nAccepted
    }
    sequence.publish()
    if (reason) this.#finish(sequence, reason)
  }

  /** Pools a chunk's hidden states, which start at row `row` of the step, and ends the request after its last token. */
  #addHiddenStates({ sequence, length }: ScheduledChunk, row: number): void {
    const { request, nCached, nTokens } = sequence
    const { pooling = "mean", tokens } = request
    const pooler = this.#poolers.get(sequence) ?? new Pooler(this.#hidden as HiddenStates, pooling, tokens.length)
    this.#poolers.set(sequence, pooler)
    try {
      pooler.add(row, length, nCached)
      this.#scheduler.advance(sequence, length)
      if (nCached + length === nTokens) this.#finish(sequence, "stop", { embedding: pooler.result() })
    } catch (cause) {
      this.#fail(sequence.owner, cause instanceof EngineError ? cause : new EngineError(messageOf(cause), { cause }))
    }
  }

  /** Keeps the scores of a chunk's tokens, results `first` and following, and ends the request after its last token. */
  #addScores({ sequence, length }: ScheduledChunk, first: number): void {
    const { request, nCached, nTokens, scores } = sequence
    for (let i = 0; i < length; i++) {
      const { token, logprob, top } = readStepResult(this.#results, first + i)
      // The forced token is missing only where its logit is NaN or -∞.
      if (token !== request.targets?.[nCached + i]) {
        this.#refuse(sequence)
        return
      }
      scores[nCached + i] = { logprob, top }
    }
    this.#scheduler.advance(sequence, length)
    sequence.publish()
    if (sequence.nCached === nTokens) this.#finish(sequence, "stop", { scores })
  }

  #refuse(sequence: Sequence): void {
    sequence.blocks.invalidate()
    const { allowedTokens, badWords, logitBias } = sequence.sampling
    const excludes = allowedTokens !== undefined || badWords.length > 0 || logitBias.size > 0
    const message = sequence.matcher
      ? "no token is possible: none in the vocabulary fits the constraint, or the logits hold NaN; simplify the constraint"
      : excludes
        ? "no token is possible: the request's biases, bad words and allowed tokens exclude all, or the logits hold NaN; allow more tokens"
        : "the model's logits hold NaN; the weights or the input are broken, so check the model file"
    this.#fail(sequence.owner, new EngineError(message))
  }

  #finish(sequence: Sequence, reason: FinishReason, result?: PrefillOnlyResult): void {
    if (!this.#scheduler.remove(sequence)) return
    const { started, sequences } = sequence.owner
    if (started !== undefined && sequences.every(({ state }) => state === "ended")) {
      this.#serviceTime.record(this.#clock.now() - started)
    }
    sequence.finish(reason, result)
  }

  #cancel(active: ActiveRequest): void {
    for (const sequence of active.sequences) if (this.#scheduler.remove(sequence)) sequence.finish("cancelled")
    this.#onChange()
  }

  #fail(active: ActiveRequest, error: Error): void {
    if (this.#release(active)) active.events.fail(error)
  }

  /** Removes a request's sequences and releases their blocks. @returns false when all had ended before. */
  #release(active: ActiveRequest): boolean {
    let released = false
    for (const sequence of active.sequences) released = this.#scheduler.remove(sequence) || released
    this.#onChange()
    return released
  }

  #retryAfter(): number {
    return this.#serviceTime.retryAfter(this.#scheduler.nQueued, this.limits.maxSeqs)
  }
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))
