import { nextTurn } from "../async.ts"
import { EngineError, queueFull, RequestError } from "../errors.ts"
import type { Constraint } from "../grammar/constraint.ts"
import type { Grammars } from "../grammar/grammars.ts"
import { BLOCK_SIZE } from "../native/abi.ts"
import type { NativeContext } from "../native/library.ts"
import { readStepResult, STEP_RESULT_WORDS, Words } from "../native/step-structs.ts"
import { outputsOf, StepBuffer } from "./batch.ts"
import { BlockPool } from "./blocks.ts"
import { checkRequest } from "./check-request.ts"
import { StepCost } from "./cost.ts"
import { startDeadline } from "./deadline.ts"
import { type HiddenStates, Pooler } from "./embedding.ts"
import { ActiveRequest } from "./request.ts"
import { Scheduler, type SchedulerLimits, type Slice } from "./scheduler.ts"
import type { Sequence } from "./sequence.ts"
import { ServiceTime } from "./service-time.ts"
import type {
  Engine,
  EngineEvent,
  EngineHealth,
  EngineLimits,
  EngineStats,
  FinishReason,
  GenerateRequest,
  Pooling,
  Reading,
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
  rowCost?: (context: number) => number
  /** `context_length` is lowered to what the blocks hold. */
  limits: EngineLimits
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
  grammars?: Pick<Grammars, "open" | "close">
}

/** The part of a step's time that the next one waits at most for masks of some sequences, while others could go on. */
const MASK_PATIENCE = 0.1

/** The engine in this process. Its loop alone owns the native context, the block tables and the sequences. */
export class LocalEngine implements Engine {
  readonly limits: EngineLimits
  readonly #context: StepContext
  readonly #pool: BlockPool
  readonly #scheduler: Scheduler
  readonly #requests = new Map<string, ActiveRequest>()
  readonly #step = new StepBuffer()
  readonly #results: Words
  readonly #service = new ServiceTime()
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
  readonly #grammars: Pick<Grammars, "open" | "close"> | undefined
  /** Milliseconds of the last step. */
  #stepMs = 0
  /** Called when what there is to do may have changed, and masks are waited for. */
  #onChange = () => {}

  /** Takes over the context, and closes it in `close`. */
  constructor(context: StepContext, options: LocalEngineOptions) {
    const { nBlocks, limits, maxTokens, chunkTokens = maxTokens, rowCost = () => 1 } = options
    const { maxQueue = 512, prefixCache = true, maxDrafted = 0, stepCost = new StepCost() } = options
    const { maxSeqs } = limits
    // A request that has the pool to itself always has room, so that there is always one that goes on.
    this.limits = { ...limits, contextLength: Math.min(limits.contextLength, nBlocks * BLOCK_SIZE) }
    this.#context = context
    this.#pool = new BlockPool(nBlocks, prefixCache)
    const ofStep: SchedulerLimits = {
      maxTokens,
      chunkTokens: Math.max(1, chunkTokens),
      rowCost,
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
      clearTimeout(timer)
      this.#drop(active)
      this.#requests.delete(request.id)
    }
  }

  endChoice(id: string, index: number): void {
    const choice = this.#requests.get(id)?.choices[index]
    if (choice !== undefined && this.#scheduler.remove(choice)) choice.finish("cancelled")
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
      blocksFree: this.#pool.free,
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
    const active = new ActiveRequest(request, this.#pool, this.limits.contextLength, this.#arrivals)
    this.#arrivals += active.choices.length
    this.#requests.set(request.id, active)
    for (const choice of active.choices) this.#scheduler.add(choice)
    if (request.constraint) this.#constrain(active, request.constraint)
    return active
  }

  /** Has each choice's text followed; a choice takes part in steps once it is known what may come next. */
  #constrain(active: ActiveRequest, constraint: Constraint): void {
    const events = {
      onMask: () => void this.#wake(),
      onFailure: (error: Error) => this.#fail(active, error),
    }
    for (const choice of active.choices) {
      choice.matcher = this.#grammars?.open(constraint, active.request.stopTokens, events)
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
        await this.#masks()
        const slices = this.#scheduler.schedule()
        if (slices.length === 0) break
        this.#run(slices)
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
  async #masks(): Promise<void> {
    const until = performance.now() + MASK_PATIENCE * this.#stepMs
    for (;;) {
      const { masks } = this.#scheduler
      const left = masks === "some" ? until - performance.now() : 0
      if (this.#closed || masks === "all" || (masks === "some" && left <= 0)) return
      await new Promise<void>((resolve) => {
        const timer = masks === "some" ? setTimeout(resolve, left) : undefined
        this.#onChange = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  #run(slices: readonly Slice[]): void {
    const start = performance.now()
    try {
      this.#step.pack(slices)
      this.#context.step(this.#step.words.u32, this.#step.length, this.#results.u32)
    } catch (cause) {
      const error = new EngineError(`the step failed: ${messageOf(cause)}`, { cause })
      for (const { sequence } of slices) this.#fail(sequence.owner, error)
      return
    }
    this.#steps++
    this.#stepMs = performance.now() - start
    if (slices.every(({ nRows }) => nRows === 1)) {
      const rows = slices.reduce((sum, { draft }) => sum + 1 + draft.length, 0)
      this.#cost.record(rows, performance.now() - start)
    }
    let result = 0
    let row = 0
    for (const slice of slices) {
      const first = result
      const firstRow = row
      row += slice.nRows + slice.draft.length
      result += outputsOf(slice)
      // Its request may have failed with a choice before it.
      if (slice.sequence.state !== "running") continue
      if (slice.samples) this.#publish(slice, first)
      else if (slice.sequence.embeds) this.#addRows(slice, firstRow)
      else if (slice.sequence.reads) this.#addScores(slice, first)
      else {
        this.#scheduler.advance(slice.sequence, slice.nRows)
        slice.sequence.seal()
      }
    }
  }

  /**
   * The token after the slice, and one for every guess that came true: each was drawn with the numbers and counts of its own place, so
   * that they are those of one step each. What was computed for the other guesses is not counted as cached, and written over.
   */
  #publish({ sequence, nRows, draft }: Slice, first: number): void {
    const { owner, sampling } = sequence
    owner.promptDone = true
    let reason: FinishReason | undefined
    let nTrue = 0
    for (;;) {
      const { token, logprob, top } = readStepResult(this.#results, first + nTrue)
      if (token < 0) {
        this.#refuse(sequence)
        return
      }
      this.#generated++
      reason = sequence.accept(token, sampling.logprobs === undefined ? undefined : { logprob, top })
      if (reason || token !== draft[nTrue]) break
      nTrue++
    }
    this.#scheduler.advance(sequence, nRows + nTrue)
    if (draft.length > 0) {
      sequence.speculator.record(draft.length, nTrue)
      this.#drafted += draft.length
      this.#accepted += nTrue
    }
    sequence.seal()
    if (reason) this.#finish(sequence, reason)
  }

  /** Adds a slice's rows, from row `row` of the step on, to its text's embedding, and ends it with the last of them. */
  #addRows({ sequence, nRows }: Slice, row: number): void {
    const { request, nCached, nTokens } = sequence
    const pooler =
      this.#poolers.get(sequence) ??
      new Pooler(this.#hidden as HiddenStates, request.pooling as Pooling, request.tokens.length)
    this.#poolers.set(sequence, pooler)
    try {
      pooler.add(row, nRows, nCached)
      this.#scheduler.advance(sequence, nRows)
      if (nCached + nRows === nTokens) this.#finish(sequence, "stop", { embedding: pooler.result() })
    } catch (cause) {
      this.#fail(sequence.owner, cause instanceof EngineError ? cause : new EngineError(messageOf(cause), { cause }))
    }
  }

  /** Keeps the scores of a slice's rows, whose results begin with number `first`, and ends its request with the last of them. */
  #addScores({ sequence, nRows }: Slice, first: number): void {
    const { request, nCached, nTokens, scores } = sequence
    for (let i = 0; i < nRows; i++) {
      const { token, logprob, top } = readStepResult(this.#results, first + i)
      // Only a broken model rules a token out altogether.
      if (token !== request.targets?.[nCached + i]) {
        this.#refuse(sequence)
        return
      }
      scores[nCached + i] = { logprob, top }
    }
    this.#scheduler.advance(sequence, nRows)
    sequence.seal()
    if (sequence.nCached === nTokens) this.#finish(sequence, "stop", { scores })
  }

  #refuse(sequence: Sequence): void {
    sequence.blocks.disown()
    const message = sequence.matcher
      ? "no token may come next: the constraint and the model's vocabulary (or a NaN in the logits) leave none"
      : "the model gave no usable distribution (NaN in the logits); the weights or the input are broken"
    this.#fail(sequence.owner, new EngineError(message))
  }

  #finish(sequence: Sequence, reason: FinishReason, reading?: Reading): void {
    if (!this.#scheduler.remove(sequence)) return
    const { started, choices } = sequence.owner
    if (started !== undefined && choices.every(({ state }) => state === "ended")) {
      this.#service.record(performance.now() - started)
    }
    sequence.finish(reason, reading)
  }

  #cancel(active: ActiveRequest): void {
    for (const choice of active.choices) if (this.#scheduler.remove(choice)) choice.finish("cancelled")
    this.#onChange()
  }

  #fail(active: ActiveRequest, error: Error): void {
    if (this.#drop(active)) active.events.fail(error)
  }

  /** Frees what a request holds; false when all of it had ended before. */
  #drop(active: ActiveRequest): boolean {
    let dropped = false
    for (const choice of active.choices) dropped = this.#scheduler.remove(choice) || dropped
    this.#onChange()
    return dropped
  }

  #retryAfter(): number {
    return this.#service.retryAfter(this.#scheduler.nQueued, this.limits.maxSeqs)
  }
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))
