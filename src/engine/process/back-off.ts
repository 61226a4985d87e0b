export interface BackOffOptions {
  /** Before the first restart; it doubles with every further one. */
  first_ms: number
  max_ms: number
  /** A process that lived this long begins a new count. */
  healthy_ms: number
}

export const BACK_OFF: BackOffOptions = { first_ms: 100, max_ms: 30_000, healthy_ms: 30_000 }

/** How long to wait before something that ended is started again. */
export class BackOff {
  #failures = 0

  constructor(readonly options: BackOffOptions) {}

  /** @param lived_ms how long it had worked; 0 when it did not even start. */
  next(lived_ms: number): number {
    const { first_ms, max_ms, healthy_ms } = this.options
    if (lived_ms > 0 && lived_ms >= healthy_ms) this.#failures = 0
    return Math.min(max_ms, first_ms * 2 ** this.#failures++)
  }
}
