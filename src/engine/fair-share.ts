/**
 * Who is next among the owners of requests: the one that got least. An owner that comes back after a pause begins level with the one
 * that got least of those present, so that a pause earns nothing (virtual token counters: Sheng et al., "Fairness in serving large
 * language models", OSDI 2024).
 */
export class FairShare {
  /** Tokens computed for each owner. */
  readonly #served = new Map<string, number>()
  /** Sequences in flight of each owner that has any. */
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

  /** Owners of whom something is remembered. */
  get nRemembered(): number {
    return this.#served.size
  }

  /** Owners who are away and would be lifted to `least` anyway need no memory. */
  #evict(least: number): void {
    if (this.#served.size <= 2 * this.#present.size + 16) return
    for (const [owner, served] of this.#served) {
      if (served <= least && !this.#present.has(owner)) this.#served.delete(owner)
    }
  }
}
