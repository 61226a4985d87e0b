import { Elysia } from "elysia"
import type { LoadedModel } from "../engine/types.ts"
import { ANTHROPIC_ERRORS } from "./apis/anthropic/errors.ts"
import { messageRoutes } from "./apis/anthropic/routes.ts"
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
import type { ServerState } from "./http/context.ts"
import { errorResponse, errorShapes, unknownRoute } from "./http/errors.ts"
import { Front } from "./http/front.ts"
import type { ApiKey } from "./http/keys.ts"
import type { Logger } from "./observe/log.ts"
import { Metrics } from "./observe/metrics.ts"
import type { Tracing } from "./observe/tracing.ts"
import { ModelManager } from "./pool/index.ts"
import { createUi } from "./ui/app.tsx"

export interface ServerOptions {
  /** The models to serve, by their names, or what loads them; they stay the caller's to close. */
  readonly models: readonly LoadedModel[] | ModelManager
  /** Largest request body in bytes. Default 32 MiB: a prompt that fills a context of a million tokens, with room. */
  readonly maxBodyBytes?: number
  /** Quiet milliseconds on a stream before a comment is sent. Default 10 s. */
  readonly pingMs?: number
  /** Seconds after which a connection with nothing to do is closed; generations are exempt. Default 60. */
  readonly idleTimeout?: number
  /** Milliseconds after which a request must have ended, or be refused. Default: as long as it takes. */
  readonly deadlineMs?: number
  /** Prompts find each other's cached beginnings only under the same API key. Default false. */
  readonly cacheByKey?: boolean
  /** Keys of which every request must show one, but for `/health` and `/ready`. Default: none is wanted. */
  readonly apiKeys?: readonly ApiKey[]
  /** Origins whose pages may use the server from a browser, as `https://chat.example`; `*` for all. Default: none. */
  readonly corsOrigins?: readonly string[]
  /** Takes a line for every request, and failures that nobody expected. Default: failures go to stderr, requests nowhere. */
  readonly log?: Logger
  /** File in which responses are kept, made where it is missing. Default: in memory, as long as the server runs. */
  readonly responsesPath?: string
  /** Default: no traces. Whoever made it closes it. */
  readonly tracing?: Tracing
}

/**
 * The HTTP application: OpenAI's API under `/v1`, `/health`, `/metrics`, `/swagger`, and the pages of `src/ui`. Give its `handle` to
 * `Bun.serve`, or call it; `close` it in the end.
 * @throws ResponseStoreError
 */
export function createServer(options: ServerOptions): Front {
  const models = options.models instanceof ModelManager ? options.models : ModelManager.of(options.models)
  const metrics = new Metrics(models)
  const responses = new Responses(options.responsesPath)
  const state: ServerState = {
    models,
    metrics,
    responses,
    startedAt: new Date(),
    maxBodyBytes: options.maxBodyBytes ?? 32 * 2 ** 20,
    pingMs: options.pingMs ?? 10_000,
    deadlineMs: options.deadlineMs,
    cacheByKey: options.cacheByKey ?? false,
    locked: (options.apiKeys?.length ?? 0) > 0,
  }
  // Bun would serve a plugin's fixed page ahead of the route that takes its place (see routes/docs.ts): no native static responses.
  const app = new Elysia({
    nativeStaticResponse: false,
    // A host may have a name of one letter, which Elysia's shortcut to the path does not expect.
    handler: { standardHostname: false },
  })
    .use(docsRoutes(state))
    .use(healthRoutes(state))
    .use(modelRoutes(state))
    .use(chatRoutes(state))
    .use(completionRoutes(state))
    .use(embeddingRoutes(state))
    .use(tokenizationRoutes(state))
    .use(responseRoutes(state))
    .use(messageRoutes(state))
    .use(ollamaRoutes(state))
  const { routes } = app
  const errorShapeOf = errorShapes([ANTHROPIC_ERRORS, OLLAMA_ERRORS], openAiError)
  // Mounted at the root, the UI receives every request that no route above takes, and hands back what it does not know.
  const ui = createUi((request) => {
    // Without a Host header the URL is a path alone.
    const path = new URL(request.url, "http://localhost").pathname
    return errorResponse(unknownRoute(request.method, path, methodsOf(known, path)), errorShapeOf(path))
  })
  const known = [...routes, ...ui.routes]
  const plain = new Set(known.map(({ path }) => path))
  app.mount("/", ui.fetch)
  return new Front({
    keys: options.apiKeys ?? [],
    corsOrigins: options.corsOrigins ?? [],
    observers: { metrics, log: options.log },
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

/** The methods that a path answers to, for 405's `Allow`. */
const methodsOf = (routes: readonly { method: string; path: string }[], path: string): string[] => [
  ...new Set(routes.filter((route) => matches(route.path, path)).map(({ method }) => method)),
]

/** Whether a path is one of a route's, whose pattern may hold `:parameters`, or end in `*`. */
function matches(pattern: string, path: string): boolean {
  if (pattern === path) return true
  if (pattern.endsWith("/*")) return path.startsWith(pattern.slice(0, -1))
  if (!pattern.includes(":")) return false
  const segments = path.split("/")
  const parts = pattern.split("/")
  return parts.length === segments.length && parts.every((part, i) => part.startsWith(":") || part === segments[i])
}
