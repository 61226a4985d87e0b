/** The pool has no model of the requested name. */
export class UnknownModelError extends Error {
  override readonly name = "UnknownModelError"
  constructor(model: string, served: readonly string[]) {
    const names = served.map((name) => `'${name}'`).join(", ")
    super(`The model '${model}' is not served here. Available models: ${names || "none"}.`)
  }
}

/** The requested model is not in memory, and requests do not load models here. */
export class NotLoadedError extends Error {
  override readonly name = "NotLoadedError"
  constructor(model: string) {
    super(`The model '${model}' is not loaded, and requests load no models here. Load it with POST /models/load.`)
  }
}

/** A model of the pool could not be loaded. The cause is the reason. */
export class ModelLoadError extends Error {
  override readonly name = "ModelLoadError"
  constructor(
    model: string,
    override readonly cause: Error,
    /** Seconds until a request may load the model again. */
    readonly retryAfter: number,
  ) {
    super(`the model '${model}' could not be loaded: ${cause.message}`, { cause })
  }
}

/** A model can never be loaded, because its weights exceed the memory budget. */
export class BudgetError extends Error {
  override readonly name = "BudgetError"
  constructor(model: string, weights: number, budget: number) {
    const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`
    super(
      `the weights of '${model}' (${mib(weights)}) exceed the memory budget (${mib(budget)}); raise --memory-budget`,
    )
  }
}

/** Two models would have the same name. */
export class NameTakenError extends Error {
  override readonly name = "NameTakenError"
  constructor(model: string) {
    super(`Two models are named '${model}'. Give each model a name of its own.`)
  }
}
