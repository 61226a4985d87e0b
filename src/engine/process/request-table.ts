import type { SupervisedRequest } from "./supervised-request.ts"

/** The requests that have not ended, in the order of their arrival: which engine process's attempt is whose, and which wait here. */
export class RequestTable {
  readonly #byId = new Map<string, SupervisedRequest>()
  readonly #byHandle = new Map<number, SupervisedRequest>()
  /** Those that no engine process has. */
  readonly #held = new Set<SupervisedRequest>()
  #handles = 0
  /** Attempts that the running engine process was sent, and those that it says it has. */
  #sent = 0
  #received = 0
  #onEmpty: (() => void)[] = []

  has(id: string): boolean {
    return this.#byId.has(id)
  }

  all(): SupervisedRequest[] {
    return [...this.#byId.values()]
  }

  /** Those that no engine process has. */
  held(): SupervisedRequest[] {
    // One that comes back from an engine process has come before those that wait already.
    return [...this.#held].sort((a, b) => a.arrival - b.arrival)
  }

  get nHeld(): number {
    return this.#held.size
  }

  /** Requests that an engine process was given, and that have not ended. */
  get inProcess(): number {
    return this.#byHandle.size
  }

  /** Requests that the engine process does not count: held here, or still on their way to it. */
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

  /** A new handle, under which the request goes to the engine process. */
  dispatch(entry: SupervisedRequest): number {
    const handle = ++this.#handles
    this.#byHandle.set(handle, entry)
    this.#held.delete(entry)
    this.#sent++
    return handle
  }

  /** The engine process does not have it any more, and it waits here. */
  hold(entry: SupervisedRequest): void {
    if (entry.handle !== undefined) this.#byHandle.delete(entry.handle)
    entry.handle = undefined
    entry.accepted = true
    this.#held.add(entry)
  }

  /** Forgets it; false when it was forgotten before. */
  delete(entry: SupervisedRequest): boolean {
    if (this.#byId.get(entry.request.id) !== entry) return false
    this.#byId.delete(entry.request.id)
    this.#held.delete(entry)
    if (entry.handle !== undefined) this.#byHandle.delete(entry.handle)
    if (this.#byId.size === 0) for (const resolve of this.#onEmpty.splice(0)) resolve()
    return true
  }

  /** The engine process says how many attempts have come. */
  acknowledge(received: number): void {
    this.#received = received
  }

  /** Another engine process: nothing was sent to it. */
  reset(): void {
    this.#sent = 0
    this.#received = 0
  }

  async empty(): Promise<void> {
    if (this.#byId.size > 0) await new Promise<void>((resolve) => this.#onEmpty.push(resolve))
  }
}
