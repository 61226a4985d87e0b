import type { Timer } from "../../async.ts"
import type { LoadedModel } from "../../engine/types.ts"

/** A model that can be served, described from its file's header alone. */
export interface ModelSpec {
  /** The name that requests use, and that answers have. */
  readonly name: string
  /** Further names that requests can use from the start. */
  readonly aliases?: readonly string[]
  /** Words that describe it in llama-server's list of models. */
  readonly tags?: readonly string[]
  readonly path: string
  readonly arch: string
  /** Bytes of its weights. */
  readonly weights: number
  /** Bytes of a K/V cache that holds a full context for every request that may run at once. The budget may grant less. */
  readonly cache: number
}

interface OpenLimits {
  /** Bytes that weights and K/V cache may take together; `undefined`: as much as the device has. */
  readonly memoryLimit: number | undefined
  /** Aborted when the pool closes before the model is loaded. */
  readonly signal: AbortSignal
}

/** Loads a model into memory, in this process or in a child process. The pool closes the result. */
export type ModelOpener = (spec: ModelSpec, limits: OpenLimits) => Promise<LoadedModel>

/**
 * `unloaded`: on disk; `loading`: being loaded, or waiting for memory; `ready`: serves requests; `unloading`: being closed;
 * `failed`: the last load failed, and the next request after the retry time loads it again.
 */
export type EntryState = "unloaded" | "loading" | "ready" | "unloading" | "failed"

/** One model of a pool. Only the pool changes it. */
export class PoolEntry {
  state: EntryState = "unloaded"
  /** Set while `ready`. */
  model: LoadedModel | undefined
  /** Requests that use the model or wait for it. */
  leases = 0
  /** Bytes that it takes of the budget. */
  bytes = 0
  /** Settles when the current load ends; all requests for the model wait for this promise. */
  loading: Promise<LoadedModel> | undefined
  /** Resolves when the model is closed. */
  unloading: Promise<void> | undefined
  /** Why the model is `failed`, and the clock's time of the failure in milliseconds. */
  failure: { error: Error; at: number } | undefined
  /** The model has been `ready` at least once. */
  served = false
  loadedAt: Date | undefined
  /** When a request last acquired or released the model. */
  lastUsed: Date | undefined
  /** A counter that orders the models by their last use. */
  lastUse = 0
  /** The keep-alive time that a request set in place of the pool's own, until the model is unloaded. */
  keepAliveMs: number | undefined
  /** Runs while the model is idle. */
  idleTimer: Timer | undefined

  /** Further names that requests can use. */
  readonly aliases: string[]

  /** @param owned False for a model that the caller loaded and closes. */
  constructor(
    readonly spec: ModelSpec,
    readonly owned = true,
  ) {
    this.aliases = [...(spec.aliases ?? [])]
  }

  get name(): string {
    return this.spec.name
  }

  /** No request uses the model or waits for it, so it may be unloaded. */
  get idle(): boolean {
    return this.owned && this.state === "ready" && this.leases === 0
  }
}
