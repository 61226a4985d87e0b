import type { LoadedModel } from "../../engine/types.ts"

/** A request's hold on a model. The model stays in memory until the lease is disposed of; disposing twice is safe. */
export interface ModelLease extends Disposable {
  readonly model: LoadedModel
  /** Aborted when the request's client disconnects, or with an error as the reason when the server shuts down. */
  readonly controller: AbortController
}

/** Follows the leases of one request. The record of an HTTP request implements it, so that the pool need not know of HTTP. */
export interface RequestWatch {
  /** The request now uses the model of this name, or waits for it. */
  onHold(model: string): void
  onRelease(): void
}

/** The pool's side of a lease. */
export class Lease implements ModelLease {
  readonly controller = new AbortController()
  #model: LoadedModel | undefined
  #release: (() => void) | undefined

  /** @param release Called once, when the lease is disposed of. */
  constructor(release: () => void) {
    this.#release = release
  }

  /** @throws Error before {@link wait} has resolved. */
  get model(): LoadedModel {
    if (this.#model === undefined) throw new Error("the lease has no model yet")
    return this.#model
  }

  /** Waits for the load. Rejects with its error, or with the controller's reason when that is aborted first. */
  async wait(loading: Promise<LoadedModel>): Promise<this> {
    const { signal } = this.controller
    const stopped = Promise.withResolvers<never>()
    const stop = () => stopped.reject(signal.reason)
    signal.addEventListener("abort", stop, { once: true })
    try {
      if (signal.aborted) stop()
      this.#model = await Promise.race([stopped.promise, loading])
      return this
    } finally {
      signal.removeEventListener("abort", stop)
    }
  }

  [Symbol.dispose](): void {
    this.#release?.()
    this.#release = undefined
  }
}
