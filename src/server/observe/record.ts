import { AsyncLocalStorage } from "node:async_hooks"
import type { Logger } from "pino"
import type { Metrics } from "./metrics.ts"

/** What a server reports its requests to. */
export interface Observers {
  readonly metrics: Metrics
  /** `undefined`: requests are not logged. */
  readonly log: Logger | undefined
}

/** The trace span of one request; see `tracing.ts`. */
export interface RequestSpan {
  firstToken(): void
  end(): void
}

/**
 * What the server records of one HTTP request. Code that works for the request finds the record with {@link currentRequest}. The
 * request is complete when its response head is made and every lease on a model has ended: a stream ends long after its head.
 */
export class RequestRecord {
  readonly startedAt = performance.now()
  /** The name of the model that the request uses, once that is known. */
  model: string | undefined
  /** The name of the request's API key. */
  key: string | undefined
  status = 0
  promptTokens = 0
  completionTokens = 0
  /** Milliseconds from the request's arrival to its first token. */
  ttftMs: number | undefined
  span: RequestSpan | undefined
  readonly #onComplete: (record: RequestRecord) => void
  /** Leases that have not ended. */
  #leases = 0
  #answered = false

  /** @param onComplete Called when the request is complete. */
  constructor(
    readonly id: string,
    readonly method: string,
    readonly path: string,
    readonly observers: Observers,
    /** Unknown keys of the request's body are refused. */
    readonly strict: boolean,
    onComplete: (record: RequestRecord) => void,
  ) {
    this.#onComplete = onComplete
  }

  /** Milliseconds since the request arrived. */
  get elapsedMs(): number {
    return performance.now() - this.startedAt
  }

  /** The request holds a model; `onRelease` follows. With both, a record is a `RequestWatch` of the model pool. */
  onHold(model: string): void {
    this.#leases++
    this.model ??= model
  }

  onRelease(): void {
    this.#leases--
    this.#completeIfDone()
  }

  /** The response head is made. */
  answered(status: number): void {
    this.status = status
    this.#answered = true
    this.#completeIfDone()
  }

  firstToken(): void {
    if (this.ttftMs !== undefined) return
    this.ttftMs = this.elapsedMs
    this.span?.firstToken()
  }

  #completeIfDone(): void {
    if (this.#answered && this.#leases === 0) this.#onComplete(this)
  }
}

/** A client's request id that can stand unquoted in headers, logs and traces. */
const PLAIN_ID = /^[\w.:=+/@-]{1,128}$/

/** The client's `X-Request-Id` if it is plain and at most 128 characters long, else a new id. */
export function requestIdOf(headers: Headers): string {
  const given = headers.get("x-request-id")
  return given !== null && PLAIN_ID.test(given) ? given : `req_${crypto.randomUUID().replaceAll("-", "")}`
}

const requests = new AsyncLocalStorage<RequestRecord>()

/** The request that the calling code works for; `undefined` outside a server. */
export const currentRequest = (): RequestRecord | undefined => requests.getStore()

/** Runs `work`, and everything that it starts, as part of the request. */
export const serveAs = <T>(record: RequestRecord, work: () => T): T => requests.run(record, work)

/** Most names that the log shows. Clients can invent any number of them. */
const MAX_LOGGED = 1000
/** Characters of a name that the log shows. */
const LONGEST_NAME = 100
const logged = new Set<string>()

/**
 * Notes that a part of the current request has no effect.
 * @param name Where it is in the body, as `tools[].type=web_search`.
 * @param known The server's own name for something; not one that the client chose.
 */
export function noteIgnored(name: string, known = true): void {
  const record = currentRequest()
  if (record === undefined) return
  const { metrics, log } = record.observers
  metrics.ignored(known ? name : "unknown")
  const shown = name.slice(0, LONGEST_NAME)
  if (logged.has(shown) || logged.size >= MAX_LOGGED || !log?.isLevelEnabled("debug")) return
  logged.add(shown)
  log.debug({ field: shown, path: record.path }, "a field of the request has no effect")
}
