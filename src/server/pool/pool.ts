import { LONGEST_TIMER_MS } from "../../engine/deadline.ts"
import type { LoadedModel } from "../../engine/types.ts"
import { EngineError, OverloadedError } from "../../errors.ts"
import { Budget } from "./budget.ts"
import { type ModelOpener, type ModelSpec, PoolEntry } from "./entry.ts"
import { ModelLoadError, UnknownModelError } from "./errors.ts"
import { Lease, type ModelLease } from "./lease.ts"

export interface ModelPoolOptions {
  /** At least one; the first is the default model. Names are unique. */
  readonly models: readonly ModelSpec[]
  readonly open: ModelOpener
  /** Bytes that all models together may take; default: no bound. */
  readonly budget?: number
  /** Milliseconds that a model stays in memory without a request; default: for ever. */
  readonly keepAliveMs?: number
  /** Milliseconds after a failed load in which the model is not tried again; default 5 s. */
  readonly retryMs?: number
}

/** When a request that found no room for its model may come again, in seconds. */
const NO_ROOM_RETRY_S = 2
const DRAINING_RETRY_S = 5

const cancelled = () => new EngineError("the request was cancelled before it ended")
const shuttingDown = () => new OverloadedError("the server is shutting down", "unavailable", DRAINING_RETRY_S)

/**
 * Owns the models that are served: brings each into memory when a request needs it, and takes idle ones out, when they have been idle
 * for long or when another needs their room. A model that a request uses, or waits for, stays.
 */
export class ModelPool implements AsyncDisposable {
  readonly #models = new Map<string, PoolEntry>()
  readonly #open: ModelOpener
  readonly #budget: Budget
  readonly #keepAliveMs: number
  readonly #retryMs: number
  readonly #leases = new Set<Lease>()
  /** Loads happen one after another, so that each sees what the ones before it have taken. */
  #turn: Promise<unknown> = Promise.resolve()
  #uses = 0
  #draining = false
  readonly #closed = new AbortController()
  #onIdle = () => {}

  /** @throws Error when two models have one name; BudgetError when one could never be loaded. */
  constructor({ models, open, budget, keepAliveMs, retryMs }: ModelPoolOptions) {
    this.#open = open
    this.#budget = new Budget(budget ?? Number.POSITIVE_INFINITY, models)
    this.#keepAliveMs = keepAliveMs ?? Number.POSITIVE_INFINITY
    this.#retryMs = retryMs ?? 5000
    for (const spec of models) this.#add(new PoolEntry(spec))
  }

  /** A pool of models that are in memory and stay there: they are the caller's to close. */
  static of(models: readonly LoadedModel[]): ModelPool {
    const pool = new ModelPool({ models: [], open: () => Promise.reject(new Error("every model is loaded")) })
    for (const model of models) {
      const { weights, cache } = model.memory
      const entry = new PoolEntry(
        { name: model.name, path: model.path, arch: model.config.arch, weights, cache },
        false,
      )
      pool.#add(entry)
      pool.#enter(entry, model)
    }
    return pool
  }

  /** Every model, the default one first. */
  get models(): readonly PoolEntry[] {
    return [...this.#models.values()]
  }

  /** Requests that use a model, or wait for one. */
  get requests(): number {
    return this.#leases.size
  }

  get draining(): boolean {
    return this.#draining
  }

  /** @throws UnknownModelError */
  get(name: string): PoolEntry {
    const entry = this.#models.get(name)
    if (entry === undefined) throw new UnknownModelError(name, [...this.#models.keys()])
    return entry
  }

  /**
   * Holds a model for a request, and brings it into memory first where need be. Aborting `signal` stops the wait, and later the request.
   * @throws UnknownModelError; OverloadedError when there is no room that could be made, or the server is draining; ModelLoadError;
   * EngineError when the signal fires.
   */
  async lease(name: string, signal?: AbortSignal): Promise<ModelLease> {
    const entry = this.get(name)
    if (this.#draining) throw shuttingDown()
    if (signal?.aborted) throw cancelled()
    // From here on the model counts as used, so that it cannot go between its loading and this request.
    const lease = new Lease(name, () => {
      signal?.removeEventListener("abort", stop)
      this.#leases.delete(lease)
      this.#release(entry)
    })
    const stop = () => lease.controller.abort(cancelled())
    signal?.addEventListener("abort", stop, { once: true })
    this.#leases.add(lease)
    this.#use(entry)
    try {
      return await lease.wait(this.#ready(entry))
    } catch (error) {
      lease[Symbol.dispose]()
      throw error
    }
  }

  /** Brings a model into memory ahead of any request. @throws what its opener throws, or OverloadedError when there is no room. */
  async load(name: string): Promise<void> {
    await this.#ready(this.get(name)).catch((error: unknown) => {
      throw error instanceof ModelLoadError ? error.cause : error
    })
  }

  /**
   * Milliseconds that the model stays in memory without a request, in place of the pool's own time, until it leaves: Infinity is for
   * ever, and 0 takes it out as soon as nobody uses it. One that is the caller's to close stays.
   */
  keepAlive(entry: PoolEntry, ms: number): void {
    entry.keepAliveMs = ms
    this.#watchIdle(entry)
  }

  /** When the model leaves memory if no request comes before; `undefined`: it stays. */
  expiry(entry: PoolEntry): Date | undefined {
    const ms = this.#idleMs(entry)
    if (!entry.owned || ms === Number.POSITIVE_INFINITY) return undefined
    const since = entry.idle ? (entry.lastUsed ?? entry.loadedAt) : undefined
    return new Date((since?.getTime() ?? Date.now()) + ms)
  }

  /**
   * Admits no request any more, and waits for those that run.
   * @returns how many still run after `timeoutMs`.
   */
  async drain(timeoutMs: number): Promise<number> {
    this.#draining = true
    if (this.#leases.size === 0) return 0
    const idle = Promise.withResolvers<void>()
    this.#onIdle = idle.resolve
    const timer = setTimeout(idle.resolve, timeoutMs)
    await idle.promise
    clearTimeout(timer)
    return this.#leases.size
  }

  /** Stops every request; each ends with the reason as its error. */
  cancelAll(reason: Error = shuttingDown()): void {
    for (const lease of this.#leases) lease.controller.abort(reason)
  }

  /** Closes every model that it opened. Safe twice. */
  async close(): Promise<void> {
    this.#draining = true
    this.#closed.abort()
    this.cancelAll()
    await this.#turn
    for (const entry of this.#models.values()) {
      if (entry.owned && entry.state === "ready") this.#unload(entry)
      await entry.unloading
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #add(entry: PoolEntry): void {
    if (this.#models.has(entry.name))
      throw new Error(`Two models are named '${entry.name}'; load each under a name of its own.`)
    this.#models.set(entry.name, entry)
  }

  #use(entry: PoolEntry): void {
    entry.leases++
    entry.lastUse = ++this.#uses
    entry.lastUsed = new Date()
  }

  #release(entry: PoolEntry): void {
    entry.leases--
    entry.lastUse = ++this.#uses
    entry.lastUsed = new Date()
    this.#watchIdle(entry)
    if (this.#leases.size === 0) this.#onIdle()
  }

  #watchIdle(entry: PoolEntry): void {
    clearTimeout(entry.idleTimer)
    const ms = this.#idleMs(entry)
    if (!entry.idle || ms === Number.POSITIVE_INFINITY) return
    entry.idleTimer = setTimeout(() => {
      if (entry.idle) this.#unload(entry)
    }, ms)
    entry.idleTimer.unref()
  }

  /** What no timer can wait for is for ever. */
  #idleMs({ keepAliveMs = this.#keepAliveMs }: PoolEntry): number {
    return keepAliveMs <= LONGEST_TIMER_MS ? keepAliveMs : Number.POSITIVE_INFINITY
  }

  /** The model in memory; however many ask, it is loaded once. */
  async #ready(entry: PoolEntry): Promise<LoadedModel> {
    if (entry.model !== undefined && !this.#hasGivenUp(entry)) return entry.model
    const { failure } = entry
    if (failure !== undefined) {
      const wait = failure.at + this.#retryMs - performance.now()
      if (wait > 0) throw new ModelLoadError(entry.name, failure.error, Math.max(1, Math.ceil(wait / 1000)))
    }
    entry.loading ??= this.#inTurn(() => this.#load(entry))
    if (entry.state !== "unloading") entry.state = "loading"
    return entry.loading
  }

  /** An engine that will not come back is closed; its requests have ended. The model is loaded anew like one that failed to load. */
  #hasGivenUp(entry: PoolEntry): boolean {
    const health = entry.model?.engine.health()
    if (!entry.owned || health?.state !== "failed") return false
    entry.failure = { error: new EngineError(health.reason), at: performance.now() }
    void this.#unload(entry)
    return true
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => {})
    return turn
  }

  async #load(entry: PoolEntry): Promise<LoadedModel> {
    const { need, limit } = this.#budget.share(entry.spec)
    try {
      await entry.unloading
      entry.state = "loading"
      await this.#makeRoom(entry, need)
      if (this.#closed.signal.aborted) throw new EngineError("the server was closed")
      const model = await this.#openModel(entry, limit)
      this.#enter(entry, model)
      return model
    } catch (error) {
      entry.state = error instanceof ModelLoadError ? "failed" : "unloaded"
      throw error
    } finally {
      entry.loading = undefined
    }
  }

  /** @throws ModelLoadError, which is kept as the model's failure. */
  async #openModel(entry: PoolEntry, memoryLimit: number | undefined): Promise<LoadedModel> {
    try {
      return await this.#open(entry.spec, { memoryLimit, signal: this.#closed.signal })
    } catch (cause) {
      const error = cause instanceof Error ? cause : new Error(String(cause))
      entry.failure = { error, at: performance.now() }
      throw new ModelLoadError(entry.name, error, Math.max(1, Math.ceil(this.#retryMs / 1000)))
    }
  }

  #enter(entry: PoolEntry, model: LoadedModel): void {
    entry.model = model
    entry.bytes = model.memory.weights + model.memory.cache
    entry.state = "ready"
    entry.served = true
    entry.failure = undefined
    entry.loadedAt = new Date()
    this.#watchIdle(entry)
  }

  /** Unloads idle models, the one whose last use is longest ago first, until `need` bytes are free of the budget. */
  async #makeRoom(wanted: PoolEntry, need: number): Promise<void> {
    for (;;) {
      const others = this.models.filter((other) => other !== wanted)
      const taken = others.reduce((sum, { bytes }) => sum + bytes, 0)
      if (taken + need <= this.#budget.total) return
      const [oldest] = others.filter(({ idle }) => idle).sort((a, b) => a.lastUse - b.lastUse)
      const leaving = others.find(({ unloading }) => unloading !== undefined)
      if (leaving !== undefined) await leaving.unloading
      else if (oldest !== undefined) await this.#unload(oldest)
      else {
        const busy = others.filter(({ bytes }) => bytes > 0).map(({ name }) => `'${name}'`)
        const message = `there is no memory for the model '${wanted.name}' while ${busy.join(", ")} ${busy.length > 1 ? "serve" : "serves"} requests`
        throw new OverloadedError(message, "unavailable", NO_ROOM_RETRY_S)
      }
    }
  }

  #unload(entry: PoolEntry): Promise<void> {
    const { model } = entry
    clearTimeout(entry.idleTimer)
    entry.keepAliveMs = undefined
    entry.model = undefined
    entry.state = "unloading"
    entry.unloading = (async () => {
      try {
        await model?.close()
      } catch (error) {
        console.error(`rocmforge: the model '${entry.name}' did not close cleanly:`, error)
      }
      entry.bytes = 0
      entry.loadedAt = undefined
      entry.state = entry.failure === undefined ? "unloaded" : "failed"
      entry.unloading = undefined
    })()
    return entry.unloading
  }
}
