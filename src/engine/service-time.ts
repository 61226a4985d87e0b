/** How long requests take, from their first step to their end, to tell one that is refused when to come again. */
export class ServiceTime {
  /** Milliseconds; recent requests weigh more. */
  #mean: number | undefined

  record(ms: number): void {
    this.#mean = this.#mean === undefined ? ms : this.#mean + (ms - this.#mean) / 8
  }

  /** Seconds until `n_waiting` requests have begun, when `n_places` run together: 1 to 600. */
  retryAfter(nWaiting: number, nPlaces: number): number {
    const seconds = ((this.#mean ?? 0) * (nWaiting + 1)) / nPlaces / 1000
    return Math.min(600, Math.max(1, Math.ceil(seconds)))
  }
}
