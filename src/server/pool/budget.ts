import type { ModelSpec } from "./entry.ts"
import { BudgetError } from "./errors.ts"

/** Largest fraction of the budget for the weights of models that stay in memory together. The rest is for their K/V caches. */
const WEIGHTS_SHARE = 0.8

/** One model's part of the budget, in bytes. */
interface Share {
  /** Memory to free before the load: the weights and the cache that the model will have. */
  need: number
  /** Upper bound for weights and cache; `undefined`: no limit. */
  limit: number | undefined
}

/**
 * Divides a memory budget among models that need not all fit at once. It counts how many models fit together in the worst case, that
 * is starting from the largest, and gives each of them an equal part of the memory that those weights leave for caches. A model's
 * cache therefore does not depend on which models were loaded before it.
 */
export class Budget {
  readonly #cache: number

  /**
   * @param total Bytes; Infinity: no limit.
   * @throws BudgetError when the weights of one model alone exceed the budget.
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

  /** @returns the part of the budget for one model. */
  share({ weights, cache }: Pick<ModelSpec, "weights" | "cache">): Share {
    if (this.total === Number.POSITIVE_INFINITY) return { need: 0, limit: undefined }
    return { need: weights + Math.min(cache, this.#cache), limit: weights + this.#cache }
  }
}
