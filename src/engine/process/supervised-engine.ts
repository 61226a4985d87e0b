import { type Clock, realClock } from "../../async.ts"
import { EngineError, OverloadedError, queueFull, RequestError } from "../../errors.ts"
import { checkRequest } from "../check-request.ts"
import { startDeadline } from "../event-queue.ts"
import {
  type Engine,
  type EngineEvent,
  type EngineHealth,
  type EngineLimits,
  type EngineStats,
  type GenerateRequest,
  NO_STATS,
} from "../types.ts"
import type { EngineFacts, StepMessage } from "./protocol.ts"
import { RequestTable } from "./request-table.ts"
import { SupervisedRequest } from "./supervised-request.ts"
import { Supervisor, type SupervisorOptions } from "./supervisor.ts"
import { fromWire } from "./wire-error.ts"

export interface SupervisedEngineOptions extends SupervisorOptions {
  /** Requests that wait to begin, here or in the engine process; more are refused. Default 512. */
  maxHeld?: number
}

/** Engine processes that may die with one request before it is taken for the cause. */
const MAX_ATTEMPTS = 3
/** Statistics that count up from the opening of an engine. */
const COUNTERS = [
  "steps",
  "nPreemptions",
  "prefixQueryTokens",
  "prefixHitTokens",
  "promptTokens",
  "generatedTokens",
  "draftedTokens",
  "acceptedTokens",
] as const satisfies (keyof EngineStats)[]

/**
 * The engine in a process of its own, which is started again when it dies, hangs or fails. Requests come and go while it is down:
 * they wait here, and those that it had and that had streamed nothing go to the next process.
 */
export class SupervisedEngine implements Engine {
  readonly #clock: Clock
  readonly #requests = new RequestTable()
  readonly #maxQueued: number
  readonly #supervisor: Supervisor
  readonly #started = Promise.withResolvers<EngineFacts>()
  #limits: EngineLimits = { contextLength: 0, nVocab: 0, maxSeqs: 0, batchTokens: 0, chunkTokens: 0 }
  /** Of the running process. */
  #stats: EngineStats = NO_STATS
  /** What the processes before it counted. */
  readonly #before: EngineStats = { ...NO_STATS }
  #failure: Error | undefined
  /** The suspect that the running process was given, until it turns out well. */
  #onTrial: SupervisedRequest | undefined
  /** What the running process said when its queue had no place for a request that waits here since; then `#places` counts. */
  #noPlace: OverloadedError | undefined
  /** Requests of the running process that have ended since. */
  #places = 0
  #draining = false
  #closing: Promise<void> | undefined

  /** Starts the first process at once. */
  constructor(options: SupervisedEngineOptions) {
    this.#clock = options.clock ?? realClock
    this.#maxQueued = options.maxHeld ?? 512
    this.#supervisor = new Supervisor(options, {
      onReady: ({ limits, facts, stats }) => {
        this.#limits = limits
        this.#stats = stats
        this.#requests.reset()
        this.#noPlace = undefined
        this.#sendHeld()
        this.#started.resolve(facts)
      },
      onStep: (message) => this.#onStep(message),
      onDown: (reason) => this.#onDown(reason),
      onFailed: (error) => this.#onFailed(error),
    })
    // Whoever does not wait for the start hears of its failure with the first request.
    this.#started.promise.catch(() => {})
    this.#supervisor.start()
  }

  /** Resolves when the first process is ready. @throws what `loadModel` throws when it cannot be; there is no second try. */
  get started(): Promise<EngineFacts> {
    return this.#started.promise
  }

  /** As the running process says; all 0 before `started`. */
  get limits(): EngineLimits {
    return this.#limits
  }

  /** Of the engine process; `undefined` while there is none. */
  get pid(): number | undefined {
    return this.#supervisor.pid
  }

  async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent, void, void> {
    this.#refuseWhenDown()
    checkRequest(request, this.#limits)
    if (this.#requests.has(request.id)) {
      throw new RequestError(`a request with the id ${request.id} is running; ids are unique`, "id", "duplicate_id")
    }
    const entry = new SupervisedRequest(request, this.#clock)
    const cancel = () => this.#cancel(entry)
    signal?.addEventListener("abort", cancel, { once: true })
    const deadline = startDeadline(
      this.#clock,
      request,
      () => this.#stats.retryAfter,
      (error) => this.#fail(entry, error),
    )
    try {
      this.#requests.add(entry)
      if (signal?.aborted) cancel()
      else {
        this.#sendHeld()
        if (entry.handle === undefined) this.#requests.hold(entry)
      }
      yield* entry.events()
    } finally {
      this.#clock.clearTimeout(deadline)
      signal?.removeEventListener("abort", cancel)
      this.#drop(entry)
    }
  }

  /** A choice that has said something has its request in an engine process. */
  endSequence(id: string, index: number): void {
    const handle = this.#requests.byId(id)?.handle
    if (handle !== undefined) this.#supervisor.send({ type: "cancel", handle, index })
  }

  /** As the engine process last said, and what waits on this side of it. */
  stats(): EngineStats {
    const stats = { ...this.#stats }
    stats.waiting += this.#requests.waiting
    stats.queued += this.#requests.waiting
    for (const name of COUNTERS) stats[name] += this.#before[name]
    return stats
  }

  health(): EngineHealth {
    const health = this.#supervisor.health
    if (!this.#draining || health.state === "closed" || health.state === "failed") return health
    return { state: "draining", reason: "the server is shutting down" }
  }

  /**
   * Admits no further request, and resolves when those that were admitted have ended. What has not ended after `limit_ms` ends then,
   * with an OverloadedError.
   */
  async drain(limitMs: number): Promise<void> {
    this.#draining = true
    const limit = this.#clock.setTimeout(() => {
      const message = `the server is shutting down, and the request did not end within ${limitMs / 1000} s`
      for (const entry of this.#requests.all()) this.#fail(entry, new OverloadedError(message, "unavailable", 1))
    }, limitMs)
    await this.#requests.empty()
    this.#clock.clearTimeout(limit)
  }

  close(): Promise<void> {
    this.#closing ??= this.#supervisor.close()
    const error = new EngineError("the engine was closed")
    this.#started.reject(error)
    for (const entry of this.#requests.all()) this.#fail(entry, error)
    return this.#closing
  }

  get #ready(): boolean {
    return this.#supervisor.health.state === "ready"
  }

  #refuseWhenDown(): void {
    if (this.#closing) throw new EngineError("the engine is closed")
    if (this.#failure) throw this.#failure
    const health = this.health()
    if (health.state === "draining") {
      throw new OverloadedError("the server is shutting down", "unavailable", 1)
    }
    if (this.#noPlace) throw this.#noPlace
    // Decided here, at once: the engine process hears of a request only between two steps.
    const { queued, retryAfter } = this.stats()
    if (queued < this.#maxQueued) return
    if (health.state === "ready") throw queueFull(queued, retryAfter)
    throw new OverloadedError(`${health.reason}; too many requests wait for it already`, "unavailable", 1)
  }

  /**
   * Sends what waits here. A request that several processes died with is a suspect: it goes alone, and the others wait until its
   * answer has begun, so that it cannot take them along once more.
   */
  #sendHeld(): void {
    if (this.#requests.nHeld === 0) this.#noPlace = undefined
    if (!this.#ready || this.#onTrial || this.#requests.nHeld === 0) return
    if (this.#noPlace && this.#places === 0) return
    const held = this.#requests.held()
    this.#onTrial = held.find(({ attempts }) => attempts === MAX_ATTEMPTS - 1)
    const next = this.#onTrial ? [this.#onTrial] : held.slice(0, this.#noPlace ? this.#places : held.length)
    for (const entry of next) this.#send(entry)
    this.#places = Math.max(0, this.#places - next.length)
  }

  #send(entry: SupervisedRequest): void {
    const handle = this.#requests.dispatch(entry)
    this.#supervisor.send({ type: "generate", handle, request: entry.forProcess(handle) })
    this.#supervisor.expectSteps(true)
  }

  #onStep({ received, stats, tokens, logprobs, ends, failures }: StepMessage): void {
    this.#stats = stats
    this.#requests.acknowledge(received)
    // Who has left, or got an error meanwhile, is not found any more.
    for (let i = 0; i < tokens.length; i += 3) {
      const entry = this.#requests.byHandle(tokens[i] ?? 0)
      entry?.token(tokens[i + 1] ?? 0, tokens[i + 2] ?? 0, logprobs?.[i / 3])
    }
    for (const { handle, index, reason, usage, ...result } of ends) {
      const entry = this.#requests.byHandle(handle)
      entry?.end(index, reason, usage, result)
      if (entry?.over && this.#requests.delete(entry)) this.#places++
    }
    for (const { handle, error } of failures) this.#onFailure(handle, fromWire(error))
    if (this.#onTrial?.begun || this.#onTrial?.over) this.#onTrial = undefined
    this.#sendHeld()
    this.#supervisor.expectSteps(this.#requests.inProcess > 0)
  }

  #onFailure(handle: number, error: Error): void {
    const entry = this.#requests.byHandle(handle)
    if (!entry) return
    const noPlace = error instanceof OverloadedError && error.code === "queue_full"
    // Accepted once is accepted: it waits here for a place, as long as there are others that will leave one.
    if (noPlace && entry.accepted && this.#requests.inProcess > 1) {
      this.#noPlace = error
      this.#places = 0
      if (this.#onTrial === entry) this.#onTrial = undefined
      this.#requests.hold(entry)
    } else {
      if (this.#requests.delete(entry) && !noPlace) this.#places++
      entry.fail(error)
    }
  }

  /** The process is gone: each of its requests ends, or waits for the next one. */
  #onDown(reason: string): string {
    const { blocksTotal } = this.#stats
    for (const name of COUNTERS) this.#before[name] += this.#stats[name]
    this.#stats = { ...NO_STATS, blocksTotal, blocksFree: blocksTotal }
    this.#onTrial = undefined
    let replayed = 0
    let failed = 0
    for (const entry of this.#requests.all()) {
      if (entry.handle === undefined) continue
      if (entry.cancelled) {
        this.#requests.delete(entry)
        entry.endCancelled()
      } else if (entry.begun || entry.attempts >= MAX_ATTEMPTS) {
        failed++
        this.#requests.delete(entry)
        const again = entry.begun ? "" : `, as did ${MAX_ATTEMPTS - 1} before it that had this request`
        entry.fail(new EngineError(`the engine process ${reason}${again}`))
      } else {
        replayed++
        this.#requests.hold(entry)
      }
    }
    const counts = [
      replayed > 0 && `${replayed} of its requests begin anew`,
      failed > 0 && `${failed} ended with an error`,
    ]
    return counts
      .filter(Boolean)
      .map((text) => `${text}; `)
      .join("")
  }

  #onFailed(error: Error): void {
    this.#failure = error
    this.#started.reject(error)
    for (const entry of this.#requests.all()) this.#fail(entry, error)
  }

  /** Nobody wants the rest of it. The engine process says when it has let go; without one that is at once. */
  #cancel(entry: SupervisedRequest): void {
    if (entry.over) return
    entry.cancelled = true
    if (entry.handle !== undefined) {
      this.#supervisor.send({ type: "cancel", handle: entry.handle })
    } else {
      this.#requests.delete(entry)
      entry.endCancelled()
    }
  }

  #fail(entry: SupervisedRequest, error: Error): void {
    entry.fail(error)
    this.#drop(entry)
  }

  /** Forgets a request, and has the engine process forget it. */
  #drop(entry: SupervisedRequest): void {
    if (!this.#requests.delete(entry) || entry.handle === undefined) return
    this.#supervisor.send({ type: "cancel", handle: entry.handle })
    if (this.#onTrial === entry) this.#onTrial = undefined
    this.#places++
    this.#sendHeld()
    this.#supervisor.expectSteps(this.#requests.inProcess > 0)
  }
}
