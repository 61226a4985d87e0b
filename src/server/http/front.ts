import type { Server } from "bun"
import { type Observers, RequestRecord, serveAs } from "../observe/record.ts"
import { requestIdOf } from "../observe/request-id.ts"
import type { Tracing } from "../observe/tracing.ts"
import { Gate } from "./auth.ts"
import { Cors } from "./cors.ts"
import { type ErrorShape, errorResponse, reportUnexpected, toApiError } from "./errors.ts"
import type { ApiKey } from "./keys.ts"

/** Asked so often that they are worth a line only to those who look for it, also where the answer is that nothing is ready yet. */
const ROUTINE: ReadonlySet<string> = new Set(["/health", "/ready", "/metrics"])
/** What a log line holds of a path. */
const LONGEST_PATH = 200

export interface FrontOptions {
  readonly keys: readonly ApiKey[]
  readonly corsOrigins: readonly string[]
  readonly observers: Observers
  readonly tracing: Tracing | undefined
  /** The pattern of the route that a path belongs to: metrics must not grow with what clients make up. */
  readonly routeOf: (path: string) => string
  /** The error shape of the API that a path belongs to, for requests that reach no route. */
  readonly errorShapeOf: (path: string) => ErrorShape
  readonly app: (request: Request, server: Server<unknown> | undefined) => Response | Promise<Response>
  readonly close: () => Promise<void>
}

/** In front of every route, known or not: who may come in, under which id, and what is kept of it. */
export class Front {
  readonly #gate: Gate
  readonly #cors: Cors

  constructor(readonly options: FrontOptions) {
    this.#gate = new Gate(options.keys)
    this.#cors = new Cors(options.corsOrigins)
  }

  /** Never rejects. */
  async handle(sent: Request, server?: Server<unknown>): Promise<Response> {
    const { observers, tracing } = this.options
    const request = routable(sent)
    const path = pathOf(request.url)
    const record = new RequestRecord(requestIdOf(request.headers), request.method, path, observers, this.#over)
    record.span = tracing?.start(record, request.headers)
    const response = await serveAs(record, () => this.#answer(request, record, server))
    const { headers } = response
    headers.set("x-request-id", record.id)
    this.#cors.mark(request, headers)
    record.answered(response.status)
    return response
  }

  /** Ends what runs without a connection, and closes what the server keeps. Safe twice. */
  close(): Promise<void> {
    return this.options.close()
  }

  async #answer(request: Request, record: RequestRecord, server: Server<unknown> | undefined): Promise<Response> {
    try {
      const preflight = this.#cors.preflight(request)
      if (preflight !== undefined) return preflight
      record.key = this.#gate.admit(request, record.path)
      return await this.options.app(request, server)
    } catch (error) {
      reportUnexpected(error)
      return errorResponse(toApiError(error), this.options.errorShapeOf(record.path))
    }
  }

  readonly #over = (record: RequestRecord): void => {
    const { method, path, status, elapsedMs, observers } = record
    observers.metrics.request(method, this.options.routeOf(path), status, elapsedMs / 1000)
    record.span?.end()
    const { log } = observers
    if (log === undefined) return
    const level = ROUTINE.has(path) && status !== 500 ? "debug" : status >= 500 ? "error" : "info"
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
 * Elysia looks for the path where it stands in `http://HOST/…`, so TLS's URLs, and those that are a path alone for want of a usable Host
 * header, are made such. The request stays the object that Bun knows: its timeout can be set, and its client's end is heard.
 */
function routable(request: Request): Request {
  const { url } = request
  if (url.startsWith("http:")) return request
  const value = url.startsWith("/") ? `http://localhost${url}` : url.replace(/^https:/, "http:")
  return Object.defineProperty(request, "url", { value })
}

const tenths = (ms: number): number => Math.round(ms * 10) / 10

/** The path of a whole URL, as it stands there: routes are found by the same text. */
function pathOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3)
  if (start < 0) return "/"
  const query = url.indexOf("?", start)
  return query < 0 ? url.slice(start) : url.slice(start, query)
}
