import { EventQueue } from "../../../src/engine/event-queue.ts"
import {
  type Engine,
  type EngineEvent,
  type EngineHealth,
  type EngineLimits,
  type EngineStats,
  type GenerateRequest,
  NO_STATS,
} from "../../../src/engine/types.ts"

interface Running {
  readonly request: GenerateRequest
  readonly events: EventQueue
  made: number
}

/**
 * An engine that computes nothing: every step gives each request the next token of a fixed text. One step follows another at every turn
 * of the event loop, as in the real engine, so the measured time is the cost of everything but the model.
 */
export class NullEngine implements Engine {
  readonly limits: EngineLimits
  readonly #running = new Set<Running>()
  #looping = false
  #steps = 0

  /** @param tokens The token ids that every answer repeats. */
  constructor(
    readonly tokens: ArrayLike<number>,
    nVocab: number,
  ) {
    this.limits = { contextLength: 1 << 20, nVocab, maxSeqs: 1024, batchTokens: 1024, chunkTokens: 1024 }
  }

  async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent, void, void> {
    const running: Running = { request, events: new EventQueue(1), made: 0 }
    const cancel = () => this.#end(running, "cancelled")
    signal?.addEventListener("abort", cancel, { once: true })
    this.#running.add(running)
    try {
      void this.#loop()
      yield* running.events.read()
    } finally {
      signal?.removeEventListener("abort", cancel)
      this.#running.delete(running)
    }
  }

  endSequence(id: string): void {
    for (const running of this.#running) if (running.request.id === id) this.#end(running, "cancelled")
  }

  stats(): EngineStats {
    return { ...NO_STATS, running: this.#running.size, steps: this.#steps }
  }

  health(): EngineHealth {
    return { state: "ready" }
  }

  async close(): Promise<void> {
    for (const running of this.#running) this.#end(running, "cancelled")
  }

  async #loop(): Promise<void> {
    if (this.#looping) return
    this.#looping = true
    while (this.#running.size > 0) {
      await new Promise<void>((resolve) => setImmediate(resolve))
      this.#steps++
      for (const running of this.#running) {
        const token = this.tokens[running.made++ % this.tokens.length] ?? 0
        running.events.push({ type: "token", index: 0, token })
        if (running.made === running.request.maxTokens) this.#end(running, "length")
      }
    }
    this.#looping = false
  }

  #end(running: Running, reason: "length" | "cancelled"): void {
    if (!this.#running.delete(running)) return
    const usage = {
      promptTokens: running.request.tokens.length,
      completionTokens: running.made,
      cachedTokens: 0,
      prefillMs: 1,
      decodeMs: 1,
    }
    running.events.push({ type: "end", index: 0, reason, usage })
  }
}
