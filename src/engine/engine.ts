import type { NativeContext } from "../native/library.ts"
import { readStepResult, STEP_RESULT_WORDS, Words } from "../native/step-structs.ts"
import { StepBuffer } from "./batch.ts"
import { checkRequest } from "./check-request.ts"
import { BlockPool } from "./kv-cache.ts"
import { Scheduler, type Slice } from "./scheduler.ts"
import { Sequence } from "./sequence.ts"
import {
  type Engine,
  EngineError,
  type EngineEvent,
  type EngineHealth,
  type EngineLimits,
  type EngineStats,
  type FinishReason,
  type GenerateRequest,
  NO_STATS,
  RequestError,
} from "./types.ts"

/** What the engine needs of a native context; `close` frees all that lies behind it. */
export type StepContext = Pick<NativeContext, "step" | "close">

export interface LocalEngineOptions {
  /** Blocks of the K/V cache. */
  n_blocks: number
  /** Tokens of one step at most, at least `limits.max_seqs`. */
  max_tokens: number
  limits: EngineLimits
}

/** The engine in this process. Its loop alone owns the native context, the block tables and the sequences. */
export class LocalEngine implements Engine {
  readonly limits: EngineLimits
  readonly #context: StepContext
  readonly #pool: BlockPool
  readonly #scheduler: Scheduler
  readonly #sequences = new Map<string, Sequence>()
  readonly #step = new StepBuffer()
  readonly #results: Words
  #steps = 0
  #looping = false
  #closed = false

  /** Takes over the context, and closes it in `close`. */
  constructor(context: StepContext, { n_blocks, max_tokens, limits }: LocalEngineOptions) {
    this.limits = limits
    this.#context = context
    this.#pool = new BlockPool(n_blocks)
    this.#scheduler = new Scheduler({ max_tokens, max_seqs: limits.max_seqs }, this.#pool)
    this.#results = new Words(limits.max_seqs * STEP_RESULT_WORDS)
  }

  async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent, void, void> {
    if (this.#closed) throw new EngineError("the engine is closed")
    checkRequest(request, this.limits)
    if (this.#sequences.has(request.id)) {
      throw new RequestError(`a request with the id ${request.id} is running; ids are unique`, "id", "duplicate_id")
    }
    const sequence = new Sequence(request, this.limits.context_length)
    this.#sequences.set(request.id, sequence)
    const cancel = () => this.#finish(sequence, "cancelled")
    signal?.addEventListener("abort", cancel, { once: true })
    try {
      if (signal?.aborted) cancel()
      else {
        this.#scheduler.add(sequence)
        this.#wake()
      }
      yield* sequence.events()
    } finally {
      signal?.removeEventListener("abort", cancel)
      this.#drop(sequence)
    }
  }

  stats(): EngineStats {
    return {
      ...NO_STATS,
      running: this.#scheduler.running.length,
      waiting: this.#scheduler.waiting.length,
      blocks_total: this.#pool.total,
      blocks_free: this.#pool.free,
      steps: this.#steps,
    }
  }

  health(): EngineHealth {
    return this.#closed ? { state: "closed", reason: "the engine was closed" } : { state: "ready" }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const sequence of this.#sequences.values()) this.#fail(sequence, new EngineError("the engine was closed"))
    this.#context.close()
  }

  /** Steps while there is work, letting everything else in this process run between steps. */
  async #wake(): Promise<void> {
    if (this.#looping) return
    this.#looping = true
    // Requests that arrive together start together.
    await nextTurn()
    while (!this.#closed) {
      const slices = this.#scheduler.schedule()
      if (slices.length === 0) break
      this.#run(slices)
      await nextTurn()
    }
    this.#looping = false
  }

  #run(slices: readonly Slice[]): void {
    try {
      this.#step.pack(slices)
      this.#context.step(this.#step.words.u32, this.#step.length, this.#results.u32)
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause)
      for (const { sequence } of slices) this.#fail(sequence, new EngineError(`the step failed: ${message}`, { cause }))
      return
    }
    this.#steps++
    for (const { sequence, n_rows } of slices) sequence.n_cached += n_rows
    for (const [i, { sequence }] of slices.filter(({ samples }) => samples).entries()) this.#publish(sequence, i)
  }

  #publish(sequence: Sequence, result: number): void {
    const { token, logprob, top } = readStepResult(this.#results, result)
    if (token < 0) {
      const message = "the model gave no usable distribution (NaN in the logits); the weights or the input are broken"
      this.#fail(sequence, new EngineError(message))
      return
    }
    const wanted = sequence.request.sampling.logprobs !== undefined
    const event: EngineEvent = wanted
      ? { type: "token", index: 0, token, logprobs: { logprob, top } }
      : { type: "token", index: 0, token }
    const reason = sequence.accept(token, event)
    if (reason) this.#finish(sequence, reason)
  }

  #finish(sequence: Sequence, reason: FinishReason): void {
    if (this.#drop(sequence)) sequence.finish(reason)
  }

  #fail(sequence: Sequence, error: Error): void {
    if (this.#drop(sequence)) sequence.fail(error)
  }

  /** Frees what a request holds; false when it had ended before. */
  #drop(sequence: Sequence): boolean {
    this.#scheduler.remove(sequence)
    if (this.#sequences.get(sequence.request.id) !== sequence) return false
    return this.#sequences.delete(sequence.request.id)
  }
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
