/** An engine in a child process, with requests that outlive the process. */

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
  /** Requests that wait to begin, here or in the engine process, at most. Default 512. */
  maxHeld?: number
}

/** A request that was in this many engine processes when they died is taken for the cause, and fails. */
const MAX_ATTEMPTS = 3
/** Statistics that count up from the start of an engine. */
const COUNTERS = [
  "steps",
  "nPreemptions",
  "prefixQueryTokens",
  "prefixHitTokens",
  "promptTokens",
  "generatedTokens",
  "drafts",
  "draftedTokens",
  "acceptedTokens",
] as const satisfies (keyof EngineStats)[]

/**
 * Runs the engine in a child process and restarts it when it dies, hangs or fails. While it is down, requests are held here. Requests
 * that had streamed nothing when it went down go to the next process.
 */
export class SupervisedEngine implements Engine {
  readonly #clock: Clock
  readonly #requests = new RequestTable()
  readonly #maxQueued: number
  readonly #supervisor: Supervisor
  readonly #started = Promise.withResolvers<EngineFacts>()
  #limits: EngineLimits = { contextLength: 0, nVocab: 0, maxSeqs: 0, batchTokens: 0, chunkTokens: 0 }
  /** Last statistics of the running process. */
  #stats: EngineStats = NO_STATS
  /** Sums of the counters of earlier processes. */
  readonly #before: EngineStats = { ...NO_STATS }
  #failure: Error | undefined
  /** The suspect that the running process has alone, until its answer has begun. */
  #onTrial: SupervisedRequest | undefined
  /** Set when the child's queue was full; held requests wait until `#freeSlots` > 0. */
  #queueFull: OverloadedError | undefined
  /** Requests of the running process that have ended since its queue was full. */
  #freeSlots = 0
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
        this.#queueFull = undefined
        this.#sendHeld()
        this.#started.resolve(facts)
      },
      onStep: (message) => this.#onStep(message),
      onDown: (reason) => this.#onDown(reason),
      onFailed: (error) => this.#onFailed(error),
    })
    // Callers that do not await the start get its error with their first request.
    this.#started.promise.catch(() => {})
    this.#supervisor.start()
  }

  /** Resolves when the first process is ready. @throws the errors of `loadModel`; a first start that fails is not repeated. */
  get started(): Promise<EngineFacts> {
    return this.#started.promise
  }

  /** Limits of the running process; all 0 before `started`. */
  get limits(): EngineLimits {
    return this.#limits
  }

  /** Process id of the engine process; `undefined` while there is none. */
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

  /** Only a request that is in the child can have produced output. */
  endSequence(id: string, index: number): void {
    const handle = this.#requests.byId(id)?.handle
    if (handle !== undefined) this.#supervisor.send({ type: "cancel", handle, index })
  }

  /** The engine process's last statistics, plus the requests that are held here. */
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

  /** Refuses further requests, and resolves when the admitted ones have ended. After `limitMs`, the rest fail with an OverloadedError. */
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
    if (this.#queueFull) throw this.#queueFull
    // Decided here at once: the engine process reads messages only between two steps.
    const { queued, retryAfter } = this.stats()
    if (queued < this.#maxQueued) return
    if (health.state === "ready") throw queueFull(queued, retryAfter)
    throw new OverloadedError(
      `${health.reason}; too many requests are waiting already, so try again later`,
      "unavailable",
      1,
    )
  }

  /**
   * Sends held requests. A request that was in several processes when they died is a suspect: it is sent alone, and the others wait until its
   * answer has begun, so that it cannot fail with them once more.
   */
  #sendHeld(): void {
    if (this.#requests.nHeld === 0) this.#queueFull = undefined
    if (!this.#ready || this.#onTrial || this.#requests.nHeld === 0) return
    if (this.#queueFull && this.#freeSlots === 0) return
    const held = this.#requests.held()
    this.#onTrial = held.find(({ attempts }) => attempts === MAX_ATTEMPTS - 1)
    const next = this.#onTrial ? [this.#onTrial] : held.slice(0, this.#queueFull ? this.#freeSlots : held.length)
    for (const entry of next) this.#send(entry)
    this.#freeSlots = Math.max(0, this.#freeSlots - next.length)
  }

  #send(entry: SupervisedRequest): void {
    const handle = this.#requests.dispatch(entry)
    this.#supervisor.send({ type: "generate", handle, request: entry.forProcess(handle) })
    this.#supervisor.expectSteps(true)
  }

  #onStep({ received, stats, progress = [], tokens, logprobs, ends, failures }: StepMessage): void {
    this.#stats = stats
    this.#requests.acknowledge(received)
    // Requests that were cancelled or failed meanwhile are not in the table any more.
    for (const { handle, ...done } of progress) this.#requests.byHandle(handle)?.progress(done)
    for (let i = 0; i < tokens.length; i += 3) {
      const entry = this.#requests.byHandle(tokens[i] ?? 0)
      entry?.token(tokens[i + 1] ?? 0, tokens[i + 2] ?? 0, logprobs?.[i / 3])
    }
    for (const { handle, index, reason, usage, ...result } of ends) {
      const entry = this.#requests.byHandle(handle)
      entry?.end(index, reason, usage, result)
      if (entry?.over && this.#requests.delete(entry)) this.#freeSlots++
    }
    for (const { handle, error } of failures) this.#onFailure(handle, fromWire(error))
    if (this.#onTrial?.begun || this.#onTrial?.over) this.#onTrial = undefined
    this.#sendHeld()
    this.#supervisor.expectSteps(this.#requests.inProcess > 0)
  }

  #onFailure(handle: number, error: Error): void {
    const entry = this.#requests.byHandle(handle)
    if (!entry) return
    const isQueueFull = error instanceof OverloadedError && error.code === "queue_full"
    // An accepted request is not refused later. It is held while others in the child will still free a slot.
    if (isQueueFull && entry.accepted && this.#requests.inProcess > 1) {
      this.#queueFull = error
      this.#freeSlots = 0
      if (this.#onTrial === entry) this.#onTrial = undefined
      this.#requests.hold(entry)
    } else {
      if (this.#requests.delete(entry) && !isQueueFull) this.#freeSlots++
      entry.fail(error)
    }
  }

  /** Handles the end of the process: each of its requests fails, or is held for the next process. @returns a clause for the report. */
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

  /** Cancels a request: through the engine process where that has it, which then reports the end; otherwise at once. */
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

  /** Removes a request here and in the engine process. */
  #drop(entry: SupervisedRequest): void {
    if (!this.#requests.delete(entry) || entry.handle === undefined) return
    this.#supervisor.send({ type: "cancel", handle: entry.handle })
    if (this.#onTrial === entry) this.#onTrial = undefined
    this.#freeSlots++
    this.#sendHeld()
    this.#supervisor.expectSteps(this.#requests.inProcess > 0)
  }
}
