/**
 * Fair scheduling between the owners of requests: the owner that got the fewest tokens is next. An owner that returns after a pause starts
 * level with the present owner that got least, so a pause earns nothing (virtual token counters: Sheng et al., "Fairness in serving large
 * language models", OSDI 2024).
 */
export class FairShare {
  /** Tokens charged to each owner. */
  readonly #served = new Map<string, number>()
  /** Number of unfinished sequences, for each owner that has any. */
  readonly #present = new Map<string, number>()

  enter(owner: string): void {
    const count = this.#present.get(owner) ?? 0
    if (this.#present.size === 0) this.#served.clear()
    else if (count === 0) {
      let least = Number.POSITIVE_INFINITY
      for (const present of this.#present.keys()) least = Math.min(least, this.served(present))
      this.#evict(least)
      this.#served.set(owner, Math.max(this.served(owner), least))
    }
    this.#present.set(owner, count + 1)
  }

  leave(owner: string): void {
    const count = (this.#present.get(owner) ?? 0) - 1
    if (count > 0) this.#present.set(owner, count)
    else this.#present.delete(owner)
  }

  charge(owner: string, tokens: number): void {
    this.#served.set(owner, this.served(owner) + tokens)
  }

  served(owner: string): number {
    return this.#served.get(owner) ?? 0
  }

  /** Number of owners with a counter. */
  get nRemembered(): number {
    return this.#served.size
  }

  /** Drops counters of absent owners that would be raised to `least` on their return anyway. */
  #evict(least: number): void {
    if (this.#served.size <= 2 * this.#present.size + 16) return
    for (const [owner, served] of this.#served) {
      if (served <= least && !this.#present.has(owner)) this.#served.delete(owner)
    }
  }
}
