import type { LoadedModel } from "../../engine/types.ts"
import { currentRequest } from "../observe/record.ts"

/** A request's hold on a model: until it is disposed of, the model stays in memory. Dispose of it in any case; twice is safe. */
export interface ModelLease extends Disposable {
  readonly model: LoadedModel
  /** Stops the request: aborted when its client goes away, or by the server when it shuts down (the reason is then an error). */
  readonly controller: AbortController
}

/** What a pool keeps of a lease; its model is there once it was loaded. */
export class Lease implements ModelLease {
  readonly controller = new AbortController()
  #model: LoadedModel | undefined
  #release: (() => void) | undefined
  readonly #record = currentRequest()

  /** @param name What requests call the model. */
  constructor(name: string, release: () => void) {
    this.#release = release
    this.#record?.hold()
    if (this.#record !== undefined) this.#record.model ??= name
  }

  get model(): LoadedModel {
    if (this.#model === undefined) throw new Error("the lease has no model yet")
    return this.#model
  }

  /** Settles as `loading` does, or rejects with the reason when the request is stopped first. */
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
    if (this.#release === undefined) return
    this.#release()
    this.#release = undefined
    this.#record?.release()
  }
}
