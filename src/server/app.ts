import { Elysia } from "elysia"
import type { LoadedModel } from "../engine/load.ts"
import { createUi } from "../ui/app.tsx"
import { ApiError, errorResponse, toApiError, unknownRoute } from "./errors.ts"
import { ModelManager } from "./models/index.ts"
import { chatRoutes } from "./routes/chat.ts"
import { completionRoutes } from "./routes/completions.ts"
import { docsRoutes } from "./routes/docs.ts"
import { embeddingRoutes } from "./routes/embeddings.ts"
import { healthRoutes } from "./routes/health.ts"
import { modelRoutes } from "./routes/models.ts"
import { tokenizationRoutes } from "./routes/tokenization.ts"
import type { ServerState } from "./state.ts"

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
}

/** The HTTP application: OpenAI's API under `/v1`, `/health`, `/swagger`, and the pages of `src/ui`. Call `.listen` or `.handle`. */
export function createServer(options: ServerOptions) {
  const { models } = options
  const state: ServerState = {
    models: models instanceof ModelManager ? models : ModelManager.of(models),
    startedAt: new Date(),
    maxBodyBytes: options.maxBodyBytes ?? 32 * 2 ** 20,
    pingMs: options.pingMs ?? 10_000,
    deadlineMs: options.deadlineMs,
    cacheByKey: options.cacheByKey ?? false,
  }
  // Bun's own limit answers with an empty body, so it stands far above ours and `readJson` enforces the real one.
  // Bun would serve a plugin's fixed page ahead of the route that takes its place (see routes/docs.ts): no native static responses.
  const app = new Elysia({
    nativeStaticResponse: false,
    // A host may have a name of one letter, which Elysia's shortcut to the path does not expect.
    handler: { standardHostname: false },
    serve: { idleTimeout: options.idleTimeout ?? 60, maxRequestBodySize: Number.MAX_SAFE_INTEGER },
  })
    .onError(({ error }) => errorResponse(apiErrorOf(error)))
    .use(docsRoutes())
    .use(healthRoutes(state))
    .use(modelRoutes(state))
    .use(chatRoutes(state))
    .use(completionRoutes(state))
    .use(embeddingRoutes(state))
    .use(tokenizationRoutes(state))
  const { routes } = app
  // Mounted at the root, the UI receives every request that no route above takes, and hands back what it does not know.
  const ui = createUi((request) => {
    // Without a Host header the URL is a path alone.
    const path = new URL(request.url, "http://localhost").pathname
    return errorResponse(unknownRoute(request.method, path, methodsOf([...routes, ...ui.routes], path)))
  })
  return app.mount("/", ui.fetch)
}

/** What was thrown, taken out of what Elysia wraps around it. */
function apiErrorOf(error: unknown): ApiError {
  const cause = error instanceof Error ? error.cause : undefined
  return toApiError(cause instanceof ApiError ? cause : error)
}

/** The methods that a path answers to, for 405's `Allow`. */
function methodsOf(routes: readonly { method: string; path: string }[], path: string): string[] {
  const segments = path.split("/")
  return routes
    .filter((route) => {
      const pattern = route.path.split("/")
      return pattern.length === segments.length && pattern.every((p, i) => p.startsWith(":") || p === segments[i])
    })
    .map((route) => route.method)
}
