import { Elysia } from "elysia"
import type { LoadedModel } from "../engine/types.ts"
import { ANTHROPIC_ERRORS } from "./apis/anthropic/errors.ts"
import { messageRoutes } from "./apis/anthropic/routes.ts"
import { llamaChatRoutes } from "./apis/llama-server/chat.ts"
import { llamaCompletionRoutes } from "./apis/llama-server/completion.ts"
import { llamaEmbeddingRoutes } from "./apis/llama-server/embedding.ts"
import { LLAMA_ERRORS } from "./apis/llama-server/errors.ts"
import { llamaInfoRoutes } from "./apis/llama-server/info.ts"
import { Slots, slotRoutes } from "./apis/llama-server/slots.ts"
import { OLLAMA_ERRORS } from "./apis/ollama/errors.ts"
import { ollamaRoutes } from "./apis/ollama/routes.ts"
import { chatRoutes } from "./apis/openai/chat.ts"
import { completionRoutes } from "./apis/openai/completions.ts"
import { embeddingRoutes } from "./apis/openai/embeddings.ts"
import { modelRoutes } from "./apis/openai/models.ts"
import { openAiError } from "./apis/openai/wire.ts"
import { Responses } from "./apis/responses/responses.ts"
import { responseRoutes } from "./apis/responses/routes.ts"
import { docsRoutes } from "./apis/service/docs.ts"
import { healthRoutes } from "./apis/service/health.ts"
import { tokenizationRoutes } from "./apis/service/tokenization.ts"
import { vllmRoutes } from "./apis/vllm/routes.ts"
import type { Feature, ModelFinder, ServerState } from "./http/context.ts"
import { errorResponse, errorShapes, unknownRoute } from "./http/errors.ts"
import { HttpFront } from "./http/front.ts"
import type { ApiKey } from "./http/keys.ts"
import type { Logger } from "./observe/log.ts"
import { Metrics } from "./observe/metrics.ts"
import type { Tracing } from "./observe/tracing.ts"
import { ModelPool } from "./pool/pool.ts"
import { statusOf } from "./pool/status.ts"
import { createUi, noPages } from "./ui/app.tsx"

export interface ServerOptions {
  /** The models to serve: loaded ones, or a pool that loads them on demand. The caller closes them. */
  readonly models: readonly LoadedModel[] | ModelPool
  /** Largest request body, in bytes. Default 32 MiB, more than a prompt of a million tokens needs. */
  readonly maxBodyBytes?: number
  /** Milliseconds without an event after which a stream sends a comment. Default 10,000. */
  readonly pingMs?: number
  /** Seconds after which an idle connection is closed. Connections that wait for a generation are exempt. Default 60. */
  readonly idleTimeout?: number
  /** Milliseconds after which a request that has not ended fails. Default: no limit. */
  readonly deadlineMs?: number
  /** Requests share cached prompt prefixes only with requests of the same API key. Default false. */
  readonly cacheByKey?: boolean
  /** Refuse requests that have unknown keys, where by default these keys are ignored. Default false. */
  readonly strict?: boolean
  /** Fields that requests to llama-server's own routes have where they do not give them. Default: llama-server's defaults. */
  readonly llamaDefaults?: Readonly<Record<string, unknown>>
  /** A folder, created if missing, in which requests may save llama-server's slots as files. Default: slots are not saved. */
  readonly slotFolder?: string
  /** Parts of the server that are left out. */
  readonly hidden?: readonly Feature[]
  /** Every request except `/health` and `/ready` must send one of these keys. Default: no key is required. */
  readonly apiKeys?: readonly ApiKey[]
  /** Origins whose web pages may use the server, as `https://chat.example`; `*` allows any origin. Default: none. */
  readonly corsOrigins?: readonly string[]
  /** Receives a line per request, and unexpected errors. Default: unexpected errors go to standard error, requests are not logged. */
  readonly log?: Logger
  /** Finds models that requests ask the server to serve as well (Ollama's `/api/pull`). Default: requests cannot change what is served. */
  readonly findModel?: ModelFinder
  /** SQLite file that stores responses; created if missing. Default: in memory, until the server ends. */
  readonly responsesPath?: string
  /** Exports a trace span per request. The caller closes it. Default: no traces. */
  readonly tracing?: Tracing
}

/**
 * The HTTP application with all its APIs and pages, but without a socket. Pass its `handle` to `Bun.serve` or call it directly, and
 * call `close` at the end.
 * @throws ResponseStoreError
 */
export function createServer(options: ServerOptions): HttpFront {
  const models = options.models instanceof ModelPool ? options.models : ModelPool.of(options.models)
  const metrics = new Metrics(() => models.models.map(statusOf))
  const slots = new Slots(options.slotFolder)
  const responses = new Responses(options.responsesPath)
  const state: ServerState = {
    models,
    metrics,
    startedAt: new Date(),
    maxBodyBytes: options.maxBodyBytes ?? 32 * 2 ** 20,
    pingMs: options.pingMs ?? 10_000,
    deadlineMs: options.deadlineMs,
    cacheByKey: options.cacheByKey ?? false,
    llama: { defaults: options.llamaDefaults ?? {}, hidden: new Set(options.hidden) },
    findModel: options.findModel,
    locked: (options.apiKeys?.length ?? 0) > 0,
  }
  const app = new Elysia({
    // With native static responses, Bun would serve the Swagger plugin's own page, and never our page, which replaces it on the same
    // route (apis/service/docs.ts).
    nativeStaticResponse: false,
    // Elysia's shortcut to the path assumes a host name of at least a few characters, and misses the path of `http://x/…`.
    handler: { standardHostname: false },
  })
    .use(docsRoutes(state))
    .use(healthRoutes(state))
    .use(modelRoutes(state))
    .use(chatRoutes(state))
    .use(completionRoutes(state))
    .use(embeddingRoutes(state))
    .use(tokenizationRoutes(state))
    .use(responseRoutes({ ...state, responses }))
    .use(messageRoutes(state))
    .use(ollamaRoutes(state))
    .use(llamaChatRoutes(state))
    .use(llamaCompletionRoutes({ ...state, slots }))
    .use(llamaEmbeddingRoutes(state))
    .use(llamaInfoRoutes(state))
    .use(slotRoutes({ ...state, slots }))
    .use(vllmRoutes(state))
  const { routes } = app
  const errorShapeOf = errorShapes([ANTHROPIC_ERRORS, OLLAMA_ERRORS, ...LLAMA_ERRORS], openAiError)
  // The pages are mounted at the root, so every request that matches no API route arrives here, also for paths that do not exist.
  const unknown = (request: Request): Response => {
    // The URL of a request without a Host header is only a path.
    const path = new URL(request.url, "http://localhost").pathname
    return errorResponse(unknownRoute(request.method, path, methodsOf(known, path)), errorShapeOf(path))
  }
  const ui = state.llama.hidden.has("pages") ? noPages(unknown) : createUi(unknown, options.corsOrigins ?? [])
  const known = [...routes, ...ui.routes]
  const plain = new Set(known.map(({ path }) => path))
  app.mount("/", ui.fetch)
  return new HttpFront({
    keys: options.apiKeys ?? [],
    corsOrigins: options.corsOrigins ?? [],
    observers: { metrics, log: options.log },
    strict: options.strict ?? false,
    tracing: options.tracing,
    errorShapeOf,
    routeOf: (path) => (plain.has(path) ? path : (known.find((route) => matches(route.path, path))?.path ?? "unknown")),
    app: (request, server) => {
      if (server !== undefined) app.server = server
      return app.fetch(request)
    },
    close: () => responses.close(),
  })
}

/** The methods that a path supports, for the `Allow` header of a 405. */
const methodsOf = (routes: readonly { method: string; path: string }[], path: string): string[] => [
  ...new Set(routes.filter((route) => matches(route.path, path)).map(({ method }) => method)),
]

/** Whether a path matches a route's pattern, which may contain `:parameters` or end in `*`. */
function matches(pattern: string, path: string): boolean {
  if (pattern === path) return true
  if (pattern.endsWith("/*")) return path.startsWith(pattern.slice(0, -1))
  if (!pattern.includes(":")) return false
  const segments = path.split("/")
  const parts = pattern.split("/")
  return parts.length === segments.length && parts.every((part, i) => part.startsWith(":") || part === segments[i])
}
