import {
  type Engine,
  type EngineEvent,
  type EngineHealth,
  type EngineLimits,
  type EngineStats,
  type FinishReason,
  type GenerateRequest,
  NO_STATS,
} from "../../../src/engine/types.ts"
import { EngineError } from "../../../src/errors.ts"

export interface Script {
  /** The tokens of every answer, repeated if a request needs more. */
  readonly tokens: ArrayLike<number>
  /** Milliseconds between tokens. */
  readonly stepMs?: number
  /** Awaited before the token with this index, so that a test controls when the engine continues. */
  readonly before?: (index: number) => Promise<unknown> | undefined
  /** A request fails with an EngineError after this many tokens. */
  readonly failAfter?: number
  /** Whether requests produce no token and run until they are cancelled. */
  readonly hang?: boolean
  /** Thrown for every request. */
  readonly refusal?: Error
}

/**
 * An engine without a model: it produces the tokens of its script, and counts its requests. For tests of the HTTP side with an engine
 * that is slow, hangs or fails, since a real engine rarely does.
 */
export class ScriptEngine implements Engine {
  readonly limits: EngineLimits
  readonly requests: GenerateRequest[] = []
  running = 0
  /** Highest number of choices that ran at once. */
  peak = 0
  cancelled = 0
  closed = 0
  /** The result of `health`; a test may change it. */
  state: EngineHealth = { state: "ready" }
  #steps = 0
  /** Choices that are to end, by request id. */
  readonly #ending = new Map<string, Set<number>>()

  constructor(
    readonly script: Script,
    limits: Partial<EngineLimits> = {},
  ) {
    this.limits = { contextLength: 1024, nVocab: 300, maxSeqs: 4, batchTokens: 128, chunkTokens: 16, ...limits }
  }

  async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent> {
    const { tokens, stepMs = 0, before, failAfter = Number.POSITIVE_INFINITY, hang = false, refusal } = this.script
    this.requests.push(request)
    if (refusal !== undefined) throw refusal
    let choices = Array.from({ length: request.n ?? 1 }, (_, index) => index)
    this.running += choices.length
    this.peak = Math.max(this.peak, this.running)
    const ending = new Set<number>()
    this.#ending.set(request.id, ending)
    let made = 0
    const usage = () => ({
      promptTokens: request.tokens.length,
      completionTokens: made,
      cachedTokens: 0,
      prefillMs: 1,
      decodeMs: 1,
    })
    const ends = (reason: FinishReason, of: readonly number[] = choices) =>
      of.map((index): EngineEvent => ({ type: "end", index, reason, usage: usage() }))
    const aborted = new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }))
    try {
      while (made < request.maxTokens) {
        if (hang) await aborted
        else await Promise.race([Promise.all([Bun.sleep(stepMs), before?.(made)]), aborted])
        if (signal?.aborted) {
          this.cancelled += choices.length
          yield* ends("cancelled")
          return
        }
        if (made >= failAfter) throw new EngineError("the device was lost")
        if (ending.size > 0) {
          yield* ends("cancelled", [...ending])
          choices = choices.filter((index) => !ending.has(index))
          this.running -= ending.size
          this.cancelled += ending.size
          ending.clear()
          if (choices.length === 0) return
        }
        const token = tokens[made % tokens.length] ?? 0
        made++
        this.#steps++
        const scores = { logprob: -0.5, top: [{ token, logprob: -0.5 }] }
        for (const index of choices) {
          const scored = request.sampling.logprobs === undefined ? {} : { logprobs: scores }
          yield { type: "token", index, token, ...scored }
        }
        if (request.stopTokens.has(token) || request.stopTokenIds?.has(token)) {
          yield* ends("stop")
          return
        }
      }
      yield* ends("length")
    } finally {
      this.#ending.delete(request.id)
      this.running -= choices.length
    }
  }

  endSequence(id: string, index: number): void {
    this.#ending.get(id)?.add(index)
  }

  stats(): EngineStats {
    const { running } = this
    return { ...NO_STATS, running, blocksTotal: 64, blocksFree: 64 - running, steps: this.#steps }
  }

  health(): EngineHealth {
    return this.state
  }

  async close(): Promise<void> {
    this.closed++
  }
}
