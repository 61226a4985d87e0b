/** Bookkeeping of the supervised requests. */

import type { SupervisedRequest } from "./supervised-request.ts"

/** The unfinished requests, in the order of arrival: those that the engine process has, by handle, and those that are held here. */
export class RequestTable {
  readonly #byId = new Map<string, SupervisedRequest>()
  readonly #byHandle = new Map<number, SupervisedRequest>()
  /** Requests that no engine process has. */
  readonly #held = new Set<SupervisedRequest>()
  #handles = 0
  /** Attempts sent to the running engine process, and those it has acknowledged. */
  #sent = 0
  #received = 0
  #onEmpty: (() => void)[] = []

  has(id: string): boolean {
    return this.#byId.has(id)
  }

  all(): SupervisedRequest[] {
    return [...this.#byId.values()]
  }

  /** The held requests, in the order of arrival. */
  held(): SupervisedRequest[] {
    // A request that returns from an engine process arrived before those that are held already.
    return [...this.#held].sort((a, b) => a.arrival - b.arrival)
  }

  get nHeld(): number {
    return this.#held.size
  }

  /** Number of unfinished requests that were sent to an engine process. */
  get inProcess(): number {
    return this.#byHandle.size
  }

  /** Number of requests that the engine process does not count yet: held here, or sent and not acknowledged. */
  get waiting(): number {
    return this.nHeld + Math.min(this.#byHandle.size, this.#sent - this.#received)
  }

  byId(id: string): SupervisedRequest | undefined {
    return this.#byId.get(id)
  }

  byHandle(handle: number): SupervisedRequest | undefined {
    return this.#byHandle.get(handle)
  }

  add(entry: SupervisedRequest): void {
    this.#byId.set(entry.request.id, entry)
    this.#held.add(entry)
  }

  /** Moves a request to the engine process. @returns the handle of this attempt. */
  dispatch(entry: SupervisedRequest): number {
    const handle = ++this.#handles
    this.#byHandle.set(handle, entry)
    this.#held.delete(entry)
    this.#sent++
    return handle
  }

  /** Holds a request that no engine process has, or has any more. */
  hold(entry: SupervisedRequest): void {
    if (entry.handle !== undefined) this.#byHandle.delete(entry.handle)
    entry.handle = undefined
    entry.accepted = true
    this.#held.add(entry)
  }

  /** Removes a request. @returns false when it was removed before. */
  delete(entry: SupervisedRequest): boolean {
    if (this.#byId.get(entry.request.id) !== entry) return false
    this.#byId.delete(entry.request.id)
    this.#held.delete(entry)
    if (entry.handle !== undefined) this.#byHandle.delete(entry.handle)
    if (this.#byId.size === 0) for (const resolve of this.#onEmpty.splice(0)) resolve()
    return true
  }

  /** Records how many attempts the engine process has received. */
  acknowledge(received: number): void {
    this.#received = received
  }

  /** Starts the counts for a new engine process. */
  reset(): void {
    this.#sent = 0
    this.#received = 0
  }

  async empty(): Promise<void> {
    if (this.#byId.size > 0) await new Promise<void>((resolve) => this.#onEmpty.push(resolve))
  }
}
