import { AsyncLocalStorage } from "node:async_hooks"
import type { Logger } from "pino"
import type { Metrics } from "./metrics.ts"
import type { RequestSpan } from "./tracing.ts"

/** Who watches the requests of one server; what is `undefined` is not wanted. */
export interface Observers {
  readonly metrics: Metrics
  readonly log: Logger | undefined
}

/**
 * What is known of one HTTP request while it is served. Whatever works for the request finds it with {@link currentRequest}. It is
 * over when its answer was made and nothing is held for it any more: the last event of a stream comes long after the answer's head.
 */
export class RequestRecord {
  readonly startedAt = performance.now()
  /** The model that it uses, once it is known. */
  model: string | undefined
  /** The name of the API key that it came with. */
  key: string | undefined
  status = 0
  promptTokens = 0
  completionTokens = 0
  /** Milliseconds from the request's arrival to its first token. */
  ttftMs: number | undefined
  span: RequestSpan | undefined
  readonly #onOver: (record: RequestRecord) => void
  #held = 0
  #answered = false

  constructor(
    readonly id: string,
    readonly method: string,
    readonly path: string,
    readonly observers: Observers,
    onOver: (record: RequestRecord) => void,
  ) {
    this.#onOver = onOver
  }

  /** Milliseconds since it came. */
  get elapsedMs(): number {
    return performance.now() - this.startedAt
  }

  /** Something works for it; `release` says when it is done. */
  hold(): void {
    this.#held++
  }

  release(): void {
    this.#held--
    this.#over()
  }

  /** The answer's head is made. */
  answered(status: number): void {
    this.status = status
    this.#answered = true
    this.#over()
  }

  firstToken(): void {
    if (this.ttftMs !== undefined) return
    this.ttftMs = this.elapsedMs
    this.span?.firstToken()
  }

  #over(): void {
    if (this.#answered && this.#held === 0) this.#onOver(this)
  }
}

const requests = new AsyncLocalStorage<RequestRecord>()

/** The request that the caller works for; `undefined` outside of a server. */
export const currentRequest = (): RequestRecord | undefined => requests.getStore()

/** Runs `work`, and all that it starts, for a request. */
export const serveAs = <T>(record: RequestRecord, work: () => T): T => requests.run(record, work)
