import type { LoadedModel } from "../../engine/types.ts"
import type { ModelSpec } from "./spec.ts"

/**
 * `unloaded`: on disk; `loading`: on its way into memory, or waiting for room there; `ready`: serves; `unloading`: on its way out;
 * `failed`: it could not be loaded, and will be tried again.
 */
export type ManagedState = "unloaded" | "loading" | "ready" | "unloading" | "failed"

/** One model of a manager, which alone changes it. */
export class ManagedModel {
  state: ManagedState = "unloaded"
  /** While `ready`. */
  model: LoadedModel | undefined
  /** Requests that use it or wait for it. */
  leases = 0
  /** Bytes it takes of the budget. */
  bytes = 0
  /** Settles when the load under way is over; everyone who wants the model waits for this one. */
  loading: Promise<LoadedModel> | undefined
  /** Resolves when the unloading under way is over. */
  unloading: Promise<void> | undefined
  /** Why it is `failed`, and since when (`performance.now()`). */
  failure: { error: Error; at: number } | undefined
  /** It was `ready` once. */
  served = false
  loadedAt: Date | undefined
  /** When the last request that used it came or went. */
  lastUsed: Date | undefined
  /** Orders models by their last use. */
  lastUse = 0
  /** What a request asked for in place of the manager's own time, until it leaves memory. */
  keepAliveMs: number | undefined
  /** Runs while it is idle. */
  idleTimer: ReturnType<typeof setTimeout> | undefined

  /** @param owned false for a model that its owner loaded and will close. */
  constructor(
    readonly spec: ModelSpec,
    readonly owned = true,
  ) {}

  get name(): string {
    return this.spec.name
  }

  /** May be unloaded: nobody uses it or waits for it. */
  get idle(): boolean {
    return this.owned && this.state === "ready" && this.leases === 0
  }
}
