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
  /** Serves HTTPS only. Default: HTTP only. */
  readonly tls?: Tls
}

export interface RunningServer {
  /** The server's base URL, without a trailing slash. */
  readonly url: string
  /** Number of requests that use a model or wait for one. */
  readonly requests: number
  /**
   * Shuts down gracefully: refuses new generations with 503 (and reports `draining` at `/health`), waits up to `timeoutMs` for the
   * running ones, fails the rest with an error response, and stops.
   */
  drain(timeoutMs: number): Promise<void>
  /** Stops at once: closes all connections, which cancels their generations. May be called more than once. */
  stop(): Promise<void>
}

/** Milliseconds that cancelled requests get to end, and that responses then get to be sent. */
const LAST_RESPONSES_MS = 2000

/**
 * Serves models over HTTP. Resolves when the server listens.
 * @throws Error when the address is in use or does not belong to this machine; TlsError; ResponseStoreError
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
      // With port reuse, a second server on the same port would silently take half of the requests.
      reusePort: false,
      idleTimeout: options.idleTimeout ?? 60,
      // Effectively off: Bun answers an oversized body with an empty 413. `readJson` enforces the limit with an error message.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      ...(tls !== undefined && { tls: { cert: tls.cert, key: tls.key } }),
      fetch: (request, server) => app.handle(request, server),
    })
  } catch (cause) {
    await app.close()
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`Cannot listen on ${host}:${port} (${reason}). Choose another --port or --host.`, { cause })
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
        await models.drain(LAST_RESPONSES_MS)
      }
      // Responses may be complete but not yet sent. Bun has no event for that, so its counter is polled.
      const deadline = performance.now() + LAST_RESPONSES_MS
      while (server.pendingRequests > 0 && performance.now() < deadline) await Bun.sleep(5)
      await stop()
    },
    stop,
  }
}
