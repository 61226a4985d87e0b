import type { Server } from "bun"
import { type Observers, RequestRecord, requestIdOf, serveAs } from "../observe/record.ts"
import type { Tracing } from "../observe/tracing.ts"
import { Auth } from "./auth.ts"
import { Cors } from "./cors.ts"
import { type ErrorShape, errorResponse, reportUnexpected, toApiError } from "./errors.ts"
import type { ApiKey } from "./keys.ts"

/** Paths that monitors poll. They are logged at level `debug`, also with status 503, but not with status 500. */
const POLLED: ReadonlySet<string> = new Set(["/health", "/ready", "/metrics"])
/** Characters of a path that a log line shows. */
const LONGEST_PATH = 200

interface HttpFrontOptions {
  readonly keys: readonly ApiKey[]
  readonly corsOrigins: readonly string[]
  readonly observers: Observers
  /** Refuse unknown keys in requests. */
  readonly strict: boolean
  readonly tracing: Tracing | undefined
  /** The pattern of the route that serves a path. Metrics count by pattern, since clients can invent any number of paths. */
  readonly routeOf: (path: string) => string
  /** The error shape of the API that a path belongs to, for requests that reach no route. */
  readonly errorShapeOf: (path: string) => ErrorShape
  /** Routes and answers an admitted request. */
  readonly app: (request: Request, server: Server<unknown> | undefined) => Response | Promise<Response>
  readonly close: () => Promise<void>
}

/**
 * The entry of every HTTP request, before any route: assigns the request id, checks CORS and the API key, and records the request for
 * metrics, log and trace.
 */
export class HttpFront {
  readonly #auth: Auth
  readonly #cors: Cors

  constructor(readonly options: HttpFrontOptions) {
    this.#auth = new Auth(options.keys)
    this.#cors = new Cors(options.corsOrigins)
  }

  /** Answers a request. Never rejects: every failure becomes an error response. */
  async handle(original: Request, server?: Server<unknown>): Promise<Response> {
    const { observers, strict, tracing } = this.options
    const request = withAbsoluteUrl(original)
    const path = pathOf(request.url)
    const record = new RequestRecord(
      requestIdOf(request.headers),
      request.method,
      path,
      observers,
      strict,
      this.#report,
    )
    record.span = tracing?.start(record, request.headers)
    const response = await serveAs(record, () => this.#answer(request, record, server))
    const { headers } = response
    headers.set("x-request-id", record.id)
    this.#cors.mark(request, headers)
    record.answered(response.status)
    return response
  }

  /** Ends background work and closes the response store. May be called more than once. */
  close(): Promise<void> {
    return this.options.close()
  }

  async #answer(request: Request, record: RequestRecord, server: Server<unknown> | undefined): Promise<Response> {
    try {
      const preflight = this.#cors.preflight(request)
      if (preflight !== undefined) return preflight
      record.key = this.#auth.admit(request, record.path)
      return await this.options.app(request, server)
    } catch (error) {
      reportUnexpected(error)
      return errorResponse(toApiError(error), this.options.errorShapeOf(record.path))
    }
  }

  /** Reports a complete request to metrics, trace and log. */
  readonly #report = (record: RequestRecord): void => {
    const { method, path, status, elapsedMs, observers } = record
    observers.metrics.request(method, this.options.routeOf(path), status, elapsedMs / 1000)
    record.span?.end()
    const { log } = observers
    if (log === undefined) return
    // 501 is no failure: the model or the server has no such ability.
    const failed = status >= 500 && status !== 501
    const level = POLLED.has(path) && status !== 500 ? "debug" : failed ? "error" : "info"
    if (!log.isLevelEnabled(level)) return
    const { id, model, key, promptTokens, completionTokens, ttftMs } = record
    log[level](
      {
        method,
        path: path.slice(0, LONGEST_PATH),
        status,
        ms: tenths(elapsedMs),
        ...(model !== undefined && { model, prompt_tokens: promptTokens, tokens: completionTokens }),
        ...(ttftMs !== undefined && { ttft_ms: tenths(ttftMs) }),
        ...(key !== undefined && { key }),
        request_id: id,
      },
      "request",
    )
  }
}

/**
 * Works around how Elysia finds a request's path: it searches `request.url` from a fixed position that assumes `http://HOST/…`. An
 * `https:` URL is therefore rewritten to `http:`, and a bare path (Bun's URL of a request without a usable Host header) gets a host.
 * The property of Bun's own request object is redefined, instead of creating a new request, because Bun sets timeouts and reports
 * disconnects only for that object.
 */
function withAbsoluteUrl(request: Request): Request {
  const { url } = request
  if (url.startsWith("http:")) return request
  const value = url.startsWith("/") ? `http://localhost${url}` : url.replace(/^https:/, "http:")
  return Object.defineProperty(request, "url", { value })
}

const tenths = (ms: number): number => Math.round(ms * 10) / 10

/** The path of an absolute URL, not decoded or normalized, because Elysia matches routes against the same text. */
function pathOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3)
  if (start < 0) return "/"
  const query = url.indexOf("?", start)
  return query < 0 ? url.slice(start) : url.slice(start, query)
}
