/**
 * The HTTP server as a library, `rocmforge/server`:
 *
 *     await using model = await loadModel("model.gguf")
 *     const server = await startServer({ models: [model], port: 8080 })
 */

import type { Server } from "bun"
import { createServer, type ServerOptions } from "./app.ts"
import { checkTls, type Tls } from "./http/tls.ts"
import { ModelPool } from "./pool/pool.ts"

export { ResponseStoreError } from "./apis/responses/database.ts"
export { createServer, type ServerOptions } from "./app.ts"
export { type ApiKey, parseKeyFile } from "./http/keys.ts"
export { checkTls, type Tls, TlsError } from "./http/tls.ts"
export { createLog, type LogOptions } from "./observe/log.ts"
export { openTracing, type Tracing } from "./observe/tracing.ts"
export type { ModelOpener, ModelSpec } from "./pool/entry.ts"
export { BudgetError, ModelLoadError, UnknownModelError } from "./pool/errors.ts"
export type { ModelLease } from "./pool/lease.ts"
export { ModelPool, type ModelPoolOptions } from "./pool/pool.ts"
export { type ModelState, type ModelStatus, statusOf } from "./pool/status.ts"

export interface StartOptions extends ServerOptions {
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Default 8080; 0 takes any free port. */
  readonly port?: number
  /** Speaks HTTPS, and only that. Default: HTTP. */
  readonly tls?: Tls
}

export interface RunningServer {
  /** Where it listens, without a trailing slash. */
  readonly url: string
  /** Requests that run, or wait for their model. */
  readonly requests: number
  /**
   * Admits no generation any more (503, and `/health` says `draining`), lets those that run end within `timeoutMs`, ends what is left
   * with an error that its client gets, and stops.
   */
  drain(timeoutMs: number): Promise<void>
  /** Stops listening and drops open connections, which cancels what they generate. Safe twice. */
  stop(): Promise<void>
}

/** What requests that were cancelled may take to end, and what was written may take to leave. */
const LAST_WORDS_MS = 2000

/**
 * Serves the models over HTTP; resolves once it listens.
 * @throws Error when the address is in use or not this machine's; the message names it. TlsError, ResponseStoreError
 */
export async function startServer({
  host = "127.0.0.1",
  port = 8080,
  tls,
  ...options
}: StartOptions): Promise<RunningServer> {
  if (tls !== undefined) checkTls(tls)
  const models = options.models instanceof ModelPool ? options.models : ModelPool.of(options.models)
  const app = createServer({ ...options, models })
  let server: Server<undefined>
  try {
    server = Bun.serve({
      hostname: host,
      port,
      // Two servers that share a port would each get half of the requests.
      reusePort: false,
      idleTimeout: options.idleTimeout ?? 60,
      // Bun's own limit answers with an empty body, so it stands far above the one that `readJson` enforces.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      ...(tls !== undefined && { tls: { cert: tls.cert, key: tls.key } }),
      fetch: (request, server) => app.handle(request, server),
    })
  } catch (cause) {
    await app.close()
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`Cannot listen on ${host}:${port} (${reason}); choose another --port or --host.`, { cause })
  }
  const stop = async () => {
    await server.stop(true)
    await app.close()
  }
  return {
    url: `http${tls === undefined ? "" : "s"}://${host.includes(":") ? `[${host}]` : host}:${server.port}`,
    get requests() {
      return models.requests
    },
    drain: async (timeoutMs) => {
      const left = await models.drain(timeoutMs)
      if (left > 0) {
        models.cancelAll()
        await models.drain(LAST_WORDS_MS)
      }
      // Answers that are made are still on their way out.
      const deadline = performance.now() + LAST_WORDS_MS
      while (server.pendingRequests > 0 && performance.now() < deadline) await Bun.sleep(5)
      await stop()
    },
    stop,
  }
}
