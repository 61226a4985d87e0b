import { type Clock, LONGEST_TIMER_MS, realClock } from "../../async.ts"
import type { LoadedModel } from "../../engine/types.ts"
import { EngineError, OverloadedError } from "../../errors.ts"
import { Budget } from "./budget.ts"
import { type ModelOpener, type ModelSpec, PoolEntry } from "./entry.ts"
import { ModelLoadError, NameTakenError, NotLoadedError, UnknownModelError } from "./errors.ts"
import { Lease, type ModelLease, type RequestWatch } from "./lease.ts"

export interface ModelPoolOptions {
  /** At least one; the first is the default model. Names are unique. */
  readonly models: readonly ModelSpec[]
  readonly open: ModelOpener
  /** Bytes that all models together may take. Default: no limit. */
  readonly budget?: number
  /** Models in memory at once; a request for one more waits until one of them is idle, which is unloaded. Default: no limit. */
  readonly maxModels?: number
  /** Requests load the models that they need. Default true; otherwise only {@link ModelPool.load} loads them. */
  readonly autoload?: boolean
  /** Milliseconds after the last request when an idle model is unloaded. Default: never. */
  readonly keepAliveMs?: number
  /** Milliseconds after a failed load during which requests get that failure and no new load starts. Default 5000. */
  readonly retryMs?: number
  /** Requests with an unknown name get the first model. Default false: they are refused. */
  readonly anyModel?: boolean
  /** Measures `keepAliveMs` and `retryMs`. Default: the computer's clock. */
  readonly clock?: Clock
}

interface LeaseOptions {
  /** The request's own signal. When it is aborted, the wait for the model ends, and the lease's controller is aborted. */
  readonly signal?: AbortSignal | undefined
  /** Is told when the lease begins and ends. */
  readonly watch?: RequestWatch | undefined
}

/** The tag that a name has if it has no other, as in Ollama. */
const LATEST = ":latest"

const nameWithout = (name: string): string => (name.endsWith(LATEST) ? name.slice(0, -LATEST.length) : name)

/** Retry-After, in seconds, when there is no memory for a model. */
const NO_ROOM_RETRY_S = 2
const DRAINING_RETRY_S = 5

const cancelled = () => new EngineError("the request was cancelled before it ended")
const shuttingDown = () => new OverloadedError("the server is shutting down", "unavailable", DRAINING_RETRY_S)

/**
 * The models that a server offers, of which only some are in memory. A model is loaded when a request first needs it. An idle model is
 * unloaded after its keep-alive time, or earlier when another model needs its memory. A model that a request uses or waits for is
 * never unloaded.
 */
export class ModelPool implements AsyncDisposable {
  readonly #models = new Map<string, PoolEntry>()
  /** Every model by its name and its aliases. */
  readonly #byName = new Map<string, PoolEntry>()
  readonly #anyModel: boolean
  readonly maxModels: number
  readonly autoload: boolean
  readonly #open: ModelOpener
  #budget: Budget
  readonly #keepAliveMs: number
  readonly #retryMs: number
  readonly #clock: Clock
  readonly #leases = new Set<Lease>()
  /** The last load in the queue. Loads run one at a time, so that each one knows how much memory is left. */
  #turn: Promise<unknown> = Promise.resolve()
  #uses = 0
  #draining = false
  readonly #closed = new AbortController()
  #onIdle = () => {}
  /** Resolves at the end of the next lease. */
  #released = Promise.withResolvers<void>()

  /** @throws NameTakenError when two models have the same name; BudgetError when a model's weights exceed the budget. */
  constructor(options: ModelPoolOptions) {
    const { models, open, budget, keepAliveMs, retryMs, anyModel, clock = realClock } = options
    this.#open = open
    this.maxModels = options.maxModels ?? Number.POSITIVE_INFINITY
    this.autoload = options.autoload ?? true
    this.#budget = new Budget(budget ?? Number.POSITIVE_INFINITY, models)
    this.#keepAliveMs = keepAliveMs ?? Number.POSITIVE_INFINITY
    this.#retryMs = retryMs ?? 5000
    this.#anyModel = anyModel ?? false
    this.#clock = clock
    for (const spec of models) this.#add(new PoolEntry(spec))
  }

  /** A pool of models that the caller has loaded and will close. The pool never unloads them. */
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

  /** Every model; the first one is the default. */
  get models(): readonly PoolEntry[] {
    return [...this.#models.values()]
  }

  /** Number of requests that use a model or wait for one. */
  get requests(): number {
    return this.#leases.size
  }

  get draining(): boolean {
    return this.#draining
  }

  /**
   * The model of a name or an alias, with or without `:latest`. Without a name it is the first model.
   * @throws UnknownModelError, unless any name means a model here
   */
  get(name: string | null | undefined): PoolEntry {
    const [first] = this.#models.values()
    if (!name && first !== undefined) return first
    const asked = name ?? ""
    const other = asked.endsWith(LATEST) ? nameWithout(asked) : asked + LATEST
    const entry = this.#byName.get(asked) ?? this.#byName.get(other) ?? (this.#anyModel ? first : undefined)
    if (entry === undefined) throw new UnknownModelError(asked, [...this.#byName.keys()])
    return entry
  }

  /**
   * Leases a model to a request, and loads the model first if it is not in memory.
   * @throws UnknownModelError; NotLoadedError; OverloadedError when no memory can be freed, or the server is draining; ModelLoadError;
   * EngineError when the signal is aborted.
   */
  async lease(name: string | null | undefined, { signal, watch }: LeaseOptions = {}): Promise<ModelLease> {
    const entry = this.get(name)
    if (this.#draining) throw shuttingDown()
    if (signal?.aborted) throw cancelled()
    if (!this.autoload && entry.model === undefined && entry.loading === undefined) throw new NotLoadedError(entry.name)
    // Counted as used before the load, so that the model cannot be unloaded between its load and this request.
    const lease = new Lease(() => {
      signal?.removeEventListener("abort", stop)
      this.#leases.delete(lease)
      this.#release(entry)
      watch?.onRelease()
    })
    const stop = () => lease.controller.abort(cancelled())
    signal?.addEventListener("abort", stop, { once: true })
    this.#leases.add(lease)
    this.#use(entry)
    watch?.onHold(entry.name)
    try {
      return await lease.wait(this.#ready(entry))
    } catch (error) {
      lease[Symbol.dispose]()
      throw error
    }
  }

  /** Loads a model before any request needs it. @throws the opener's error, or OverloadedError when no memory can be freed. */
  async load(name: string): Promise<void> {
    const entry = this.get(name)
    entry.lastUse = ++this.#uses
    await this.#ready(entry).catch((error: unknown) => {
      throw error instanceof ModelLoadError ? error.cause : error
    })
  }

  /**
   * Replaces the pool's keep-alive time for one model, until the model is unloaded. Infinity: it is never unloaded for being idle;
   * 0: it is unloaded as soon as no request uses it. Has no effect on a model that the pool does not own.
   */
  keepAlive(entry: PoolEntry, ms: number): void {
    entry.keepAliveMs = ms
    this.#watchIdle(entry)
  }

  /** The time of day at which the model is unloaded if no further request uses it; `undefined`: never. */
  expiry(entry: PoolEntry): Date | undefined {
    const ms = this.#idleMs(entry)
    if (!entry.owned || ms === Number.POSITIVE_INFINITY) return undefined
    const since = entry.idle ? (entry.lastUsed ?? entry.loadedAt) : undefined
    return new Date((since?.getTime() ?? Date.now()) + ms)
  }

  /**
   * Refuses new requests and waits for the running ones, at most `timeoutMs` milliseconds.
   * @returns the number of requests that still run.
   */
  async drain(timeoutMs: number): Promise<number> {
    this.#draining = true
    if (this.#leases.size === 0) return 0
    const idle = Promise.withResolvers<void>()
    this.#onIdle = idle.resolve
    const timer = this.#clock.setTimeout(idle.resolve, timeoutMs)
    await idle.promise
    this.#clock.clearTimeout(timer)
    return this.#leases.size
  }

  /** Aborts every request; each one fails with `reason`. */
  cancelAll(reason: Error = shuttingDown()): void {
    for (const lease of this.#leases) lease.controller.abort(reason)
  }

  /** Aborts every request and closes every model that the pool opened. May be called more than once. */
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

  /**
   * Offers one more model.
   * @throws NameTakenError; BudgetError when its weights exceed the budget
   */
  add(spec: ModelSpec): void {
    const budget = new Budget(this.#budget.total, [...this.models.map((entry) => entry.spec), spec])
    this.#add(new PoolEntry(spec))
    this.#budget = budget
  }

  /** Gives a model one more name. @throws NameTakenError; UnknownModelError */
  alias(name: string, model: string): void {
    const entry = this.get(model)
    if (this.#byName.has(name)) throw new NameTakenError(name)
    this.#byName.set(name, entry)
    entry.aliases.push(name)
  }

  /**
   * Takes back a name: a further name of a model alone, or a model's own name with the model, which leaves memory.
   * @throws UnknownModelError; OverloadedError while requests use the model; EngineError for the only model, and for one that the pool does not own
   */
  async remove(name: string): Promise<void> {
    const entry = this.get(name)
    const alias = [name, nameWithout(name), name + LATEST].find((known) => entry.aliases.includes(known))
    if (alias !== undefined) {
      this.#byName.delete(alias)
      entry.aliases.splice(entry.aliases.indexOf(alias), 1)
      return
    }
    if (this.#models.size === 1) throw new EngineError(`'${entry.name}' is the only model that is served`)
    if (!entry.owned) throw new EngineError(`the model '${entry.name}' belongs to the program that runs this server`)
    if (entry.leases > 0)
      throw new OverloadedError(`requests use the model '${entry.name}'`, "unavailable", NO_ROOM_RETRY_S)
    for (const known of [entry.name, ...entry.aliases]) this.#byName.delete(known)
    this.#models.delete(entry.name)
    if (entry.state === "ready") await this.#unload(entry)
  }

  #add(entry: PoolEntry): void {
    const names = [entry.name, ...entry.aliases]
    const taken = names.find((name, i) => this.#byName.has(name) || names.indexOf(name) < i)
    if (taken !== undefined) throw new NameTakenError(taken)
    for (const name of names) this.#byName.set(name, entry)
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
    this.#released.resolve()
    this.#released = Promise.withResolvers()
    if (this.#leases.size === 0) this.#onIdle()
  }

  #watchIdle(entry: PoolEntry): void {
    this.#clock.clearTimeout(entry.idleTimer)
    const ms = this.#idleMs(entry)
    if (!entry.idle || ms === Number.POSITIVE_INFINITY) return
    entry.idleTimer = this.#clock.setTimeout(() => {
      if (entry.idle) this.#unload(entry)
    }, ms)
    entry.idleTimer.unref()
  }

  /** The model's keep-alive time. A time that is longer than a timer can wait counts as Infinity. */
  #idleMs({ keepAliveMs = this.#keepAliveMs }: PoolEntry): number {
    return keepAliveMs <= LONGEST_TIMER_MS ? keepAliveMs : Number.POSITIVE_INFINITY
  }

  /** Resolves to the loaded model. Requests that arrive during a load share it. */
  async #ready(entry: PoolEntry): Promise<LoadedModel> {
    if (entry.model !== undefined && !this.#hasGivenUp(entry)) return entry.model
    const { failure } = entry
    if (failure !== undefined) {
      const wait = failure.at + this.#retryMs - this.#clock.now()
      if (wait > 0) throw new ModelLoadError(entry.name, failure.error, Math.max(1, Math.ceil(wait / 1000)))
    }
    entry.loading ??= this.#inTurn(() => this.#load(entry))
    if (entry.state !== "unloading") entry.state = "loading"
    return entry.loading
  }

  /**
   * Whether the model's engine has failed for good. Its requests have ended by then, so the model is unloaded, and it is loaded again
   * after the retry time, as after a failed load.
   */
  #hasGivenUp(entry: PoolEntry): boolean {
    const health = entry.model?.engine.health()
    if (!entry.owned || health?.state !== "failed") return false
    entry.failure = { error: new EngineError(health.reason), at: this.#clock.now() }
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

  /** @throws ModelLoadError; its cause is recorded as the entry's failure. */
  async #openModel(entry: PoolEntry, memoryLimit: number | undefined): Promise<LoadedModel> {
    try {
      return await this.#open(entry.spec, { memoryLimit, signal: this.#closed.signal })
    } catch (cause) {
      const error = cause instanceof Error ? cause : new Error(String(cause))
      entry.failure = { error, at: this.#clock.now() }
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

  /**
   * Unloads idle models, the least recently used first, until `need` bytes of the budget are free and one more model is allowed. While
   * requests use as many models as are allowed, it waits for one of them, as long as a request waits for this model.
   * @throws OverloadedError when requests use all the models that would have to be unloaded.
   */
  async #makeRoom(entry: PoolEntry, need: number): Promise<void> {
    for (;;) {
      const others = this.models.filter((other) => other !== entry)
      const taken = others.reduce((sum, { bytes }) => sum + bytes, 0)
      const fits = taken + need <= this.#budget.total
      const resident = others.filter(({ state }) => state === "ready" || state === "unloading")
      if (fits && resident.length < this.maxModels) return
      const [leastRecent] = others.filter(({ idle }) => idle).sort((a, b) => a.lastUse - b.lastUse)
      const leaving = others.find(({ unloading }) => unloading !== undefined)
      if (leaving !== undefined) await leaving.unloading
      else if (leastRecent !== undefined) await this.#unload(leastRecent)
      else if (fits && entry.leases > 0) await this.#released.promise
      else {
        const busy = others.filter(({ bytes }) => bytes > 0).map(({ name }) => `'${name}'`)
        const room = fits ? "place" : "memory"
        const message = `there is no ${room} for the model '${entry.name}' while requests use ${busy.join(", ")}`
        throw new OverloadedError(message, "unavailable", NO_ROOM_RETRY_S)
      }
    }
  }

  #unload(entry: PoolEntry): Promise<void> {
    const { model } = entry
    this.#clock.clearTimeout(entry.idleTimer)
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
