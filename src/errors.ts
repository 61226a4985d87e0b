/** The errors that the engine, the server, the library and the command line share. */

/** A request that cannot be served as asked; `param` names the field at fault in OpenAI's terms. */
export class RequestError extends Error {
  override readonly name = "RequestError"
  constructor(
    message: string,
    readonly param: string,
    readonly code: string,
  ) {
    super(message)
  }
}

/** Too much is asked for right now; the same request can be served later. */
export class OverloadedError extends Error {
  override readonly name = "OverloadedError"
  constructor(
    message: string,
    /** `queue_full` is HTTP's 429; `deadline` and `unavailable` (the engine is starting, restarting or draining) are 503. */
    readonly code: "queue_full" | "deadline" | "unavailable",
    /** When to try again, in seconds, at least 1. */
    readonly retryAfter: number,
  ) {
    super(message)
  }
}

/** The refusal of a request that would have to wait behind `n_queued` others. */
export const queueFull = (nQueued: number, retryAfter: number): OverloadedError => {
  const message = `${nQueued} requests are waiting, which is the most that may; try again later`
  return new OverloadedError(message, "queue_full", retryAfter)
}

/** The engine itself failed; the request was valid. */
export class EngineError extends Error {
  override readonly name = "EngineError"
}
