/** No model of that name is served here. */
export class UnknownModelError extends Error {
  override readonly name = "UnknownModelError"
  constructor(model: string, served: readonly string[]) {
    const names = served.map((name) => `'${name}'`).join(", ")
    super(`The model '${model}' is not served here; this server has ${names || "none"}.`)
  }
}

/** A model that is served could not be brought into memory; the cause says why. */
export class ModelLoadError extends Error {
  override readonly name = "ModelLoadError"
  constructor(
    model: string,
    override readonly cause: Error,
    /** When it will be tried again, in seconds. */
    readonly retryAfter: number,
  ) {
    super(`the model '${model}' could not be loaded: ${cause.message}`, { cause })
  }
}

/** A model that could never be loaded, because the memory budget is smaller than its weights. */
export class BudgetError extends Error {
  override readonly name = "BudgetError"
  constructor(model: string, weights: number, budget: number) {
    const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`
    super(
      `the weights of '${model}' take ${mib(weights)}, and the memory budget is ${mib(budget)}; raise --memory-budget`,
    )
  }
}
