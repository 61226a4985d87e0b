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
  Pooling,
  PrefillOnlyResult,
} from "./types.ts"

/** What the engine needs of a native context; `close` frees all that lies behind it. */
export type StepContext = Pick<NativeContext, "step" | "close">

export interface LocalEngineOptions {
  /** Blocks of the K/V cache. */
  nBlocks: number
  /** Tokens of one step at most, at least `limits.max_seqs`. */
  maxTokens: number
  /** Prompt tokens of one step at most while other requests decode; `max_tokens` by default. */
  chunkTokens?: number
  /** See `SchedulerLimits`; 1 for every row by default. */
  tokenCost?: (context: number) => number
  /** `contextLength` is lowered to what the blocks hold. */
  limits: Pick<EngineLimits, "contextLength" | "nVocab" | "maxSeqs">
  /** Requests that wait to begin at most; 512 by default. */
  maxQueue?: number
  /** Keep full blocks for prompts that begin alike; true by default. */
  prefixCache?: boolean
  /** Tokens of one step at most that are guessed from the text before them, and verified all at once; 0 by default. */
  maxDrafted?: number
  /** When a guess is worth its row; measured by default. */
  stepCost?: Pick<StepCost, "record" | "leastAcceptance">
  /** For embeddings, which are refused without it. */
  hidden?: HiddenStates
  /** For constraints, which are refused without it. The engine closes it. */
  grammars?: Pick<GrammarWorker, "open" | "close">
  clock?: Clock
}

/** The part of a step's time that the next one waits at most for masks of some sequences, while others could go on. */
const MASK_PATIENCE = 0.1

/** The engine in this process. Its loop alone owns the native context, the block tables and the sequences. */
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
  #drafted = 0
  #accepted = 0
  #looping = false
  #closed = false
  readonly #grammars: Pick<GrammarWorker, "open" | "close"> | undefined
  /** Milliseconds of the last step. */
  #stepMs = 0
  /** Called when what there is to do may have changed, and masks are waited for. */
  #onChange = () => {}

  /** Takes over the context, and closes it in `close`. */
  constructor(context: StepContext, options: LocalEngineOptions) {
    const { nBlocks, limits, maxTokens, chunkTokens = maxTokens, tokenCost = () => 1 } = options
    const { maxQueue = 512, prefixCache = true, maxDrafted = 0, stepCost = new StepCost() } = options
    const { maxSeqs } = limits
    // A request that has the pool to itself always has room, so that there is always one that goes on.
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

  /** Checks a request and puts its choices into the queue. */
  #accept(request: GenerateRequest): ActiveRequest {
    if (this.#closed) throw new EngineError("the engine is closed")
    checkRequest(request, this.limits)
    if (request.pooling !== undefined && !this.#hidden)
      throw new RequestError("this engine gives no embeddings", "pooling", "unsupported_parameter")
    if (this.#requests.has(request.id)) {
      throw new RequestError(`a request with the id ${request.id} is running; ids are unique`, "id", "duplicate_id")
    }
    if (request.constraint && !this.#grammars) {
      const message = "this engine was opened without a vocabulary, and cannot keep a text to a constraint"
      throw new RequestError(message, request.constraint.param, "unsupported_parameter")
    }
    const { nQueued } = this.#scheduler
    if (nQueued >= this.#maxQueue) {
      throw queueFull(nQueued, this.#retryAfter())
    }
    const active = new ActiveRequest(request, this.#clock, this.#pool, this.limits.contextLength, this.#arrivals)
    this.#arrivals += active.sequences.length
    this.#requests.set(request.id, active)
    for (const sequence of active.sequences) this.#scheduler.add(sequence)
    if (request.constraint) this.#constrain(active, request.constraint)
    return active
  }

  /** Has each choice's text followed; a choice takes part in steps once it is known what may come next. */
  #constrain(active: ActiveRequest, constraint: Constraint): void {
    const events = {
      onMask: () => void this.#wake(),
      onFailure: (error: Error) => this.#fail(active, error),
    }
    for (const sequence of active.sequences) {
      sequence.matcher = this.#grammars?.open(constraint, active.request.stopTokens, events)
    }
  }

  /** Steps while there is work, letting everything else in this process run between steps. */
  async #wake(): Promise<void> {
    this.#onChange()
    if (this.#looping) return
    this.#looping = true
    // Requests that arrive together start together.
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
      // A fault of the engine itself: nobody is left waiting for a step that does not come.
      const error = new EngineError(`the engine failed: ${messageOf(cause)}`, { cause })
      for (const active of this.#requests.values()) this.#fail(active, error)
    } finally {
      this.#looping = false
    }
  }

  /** Waits for masks: where nothing can go on without them, and else a moment, so that their sequences do not miss the step. */
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
      // Its request may have failed with a choice before it.
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
   * The token after the chunk, and one for every guess that came true: each was drawn with the numbers and counts of its own place, so
   * that they are those of one step each. What was computed for the other guesses is not counted as cached, and written over.
   */
  #acceptTokens({ sequence, length, draft }: ScheduledChunk, first: number): void {
    const { owner, sampling } = sequence
    owner.promptDone = true
    let reason: FinishReason | undefined
    let nAccepted = 0
    for (;;) {
      const { token, logprob, top } = readStepResult(this.#results, first + nAccepted)
      if (token < 0) {
        this.#refuse(sequence)
        return
      }
      this.#generated++
      reason = sequence.accept(token, sampling.logprobs === undefined ? undefined : { logprob, top })
      if (reason || token !== draft[nAccepted]) break
      nAccepted++
    }
    this.#scheduler.advance(sequence, length + nAccepted)
    if (draft.length > 0) {
      sequence.speculator.record(draft.length, nAccepted)
      this.#drafted += draft.length
      this.#accepted += nAccepted
    }
    sequence.publish()
    if (reason) this.#finish(sequence, reason)
  }

  /** Adds a chunk's rows, from row `row` of the step on, to its text's embedding, and ends it with the last of them. */
  #addHiddenStates({ sequence, length }: ScheduledChunk, row: number): void {
    const { request, nCached, nTokens } = sequence
    const pooler =
      this.#poolers.get(sequence) ??
      new Pooler(this.#hidden as HiddenStates, request.pooling as Pooling, request.tokens.length)
    this.#poolers.set(sequence, pooler)
    try {
      pooler.add(row, length, nCached)
      this.#scheduler.advance(sequence, length)
      if (nCached + length === nTokens) this.#finish(sequence, "stop", { embedding: pooler.result() })
    } catch (cause) {
      this.#fail(sequence.owner, cause instanceof EngineError ? cause : new EngineError(messageOf(cause), { cause }))
    }
  }

  /** Keeps the scores of a chunk's rows, whose results begin with number `first`, and ends its request with the last of them. */
  #addScores({ sequence, length }: ScheduledChunk, first: number): void {
    const { request, nCached, nTokens, scores } = sequence
    for (let i = 0; i < length; i++) {
      const { token, logprob, top } = readStepResult(this.#results, first + i)
      // Only a broken model rules a token out altogether.
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
    const message = sequence.matcher
      ? "no token may come next: the constraint and the model's vocabulary (or a NaN in the logits) leave none"
      : "the model gave no usable distribution (NaN in the logits); the weights or the input are broken"
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

  /** Frees what a request holds; false when all of it had ended before. */
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
