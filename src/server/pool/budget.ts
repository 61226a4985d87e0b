import type { ModelSpec } from "./entry.ts"
import { BudgetError } from "./errors.ts"

/** Of the budget, what weights may take for models to stay in memory side by side; the rest is for their K/V caches. */
const WEIGHTS_SHARE = 0.8

/** What one model may take, in bytes. */
export interface Share {
  /** Weights and the cache it will have. */
  need: number
  /** For the engine: `undefined` is no limit. */
  limit: number | undefined
}

/**
 * Divides a memory budget among models of which not all need fit at once. As many as surely fit side by side (counted from the
 * largest) get equal parts of what the largest leave for caches, so that a model's cache does not depend on who was loaded before it.
 */
export class Budget {
  readonly #cache: number

  /**
   * @param total bytes; Infinity is no budget.
   * @throws BudgetError when a model's weights alone do not fit.
   */
  constructor(
    readonly total: number,
    models: readonly Pick<ModelSpec, "name" | "weights">[],
  ) {
    for (const { name, weights } of models) if (weights >= total) throw new BudgetError(name, weights, total)
    const largest = models.map(({ weights }) => weights).sort((a, b) => b - a)
    let together = 0
    let weights = 0
    for (const next of largest) {
      if (together > 0 && weights + next > total * WEIGHTS_SHARE) break
      weights += next
      together++
    }
    this.#cache = Math.max(0, Math.floor((total - weights) / Math.max(1, together)))
  }

  share({ weights, cache }: Pick<ModelSpec, "weights" | "cache">): Share {
    if (this.total === Number.POSITIVE_INFINITY) return { need: 0, limit: undefined }
    return { need: weights + Math.min(cache, this.#cache), limit: weights + this.#cache }
  }
}
