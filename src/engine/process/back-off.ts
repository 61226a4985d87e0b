export interface BackOffOptions {
  /** Before the first restart; it doubles with every further one. */
  firstMs: number
  maxMs: number
  /** A process that lived this long begins a new count. */
  healthyMs: number
}

export const BACK_OFF: BackOffOptions = { firstMs: 100, maxMs: 30_000, healthyMs: 30_000 }

/** How long to wait before something that ended is started again. */
export class BackOff {
  #failures = 0

  constructor(readonly options: BackOffOptions) {}

  /** @param livedMs how long it had worked; 0 when it did not even start. */
  next(livedMs: number): number {
    const { firstMs, maxMs, healthyMs } = this.options
    if (livedMs > 0 && livedMs >= healthyMs) this.#failures = 0
    return Math.min(maxMs, firstMs * 2 ** this.#failures++)
  }
}
