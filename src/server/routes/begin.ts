import type { Server } from "bun"
import type { LoadedModel } from "../../engine/load.ts"

/** What every response and event of one generation carries, and what stops it. */
export interface Head {
  readonly id: string
  /** Unix time in seconds. */
  readonly created: number
  readonly model: string
  readonly controller: AbortController
}

/** Starts a generation: a client that goes away aborts it, and no idle timeout does. */
export function begin(prefix: string, model: LoadedModel, request: Request, server: Server<unknown> | null): Head {
  // A long prompt is silent for longer than any sensible idle timeout; the client's own disconnect is what ends it.
  server?.timeout(request, 0)
  const controller = new AbortController()
  if (request.signal.aborted) controller.abort()
  request.signal.addEventListener("abort", () => controller.abort(), { once: true })
  return {
    id: `${prefix}-${crypto.randomUUID().replaceAll("-", "")}`,
    created: Math.floor(Date.now() / 1000),
    model: model.name,
    controller,
  }
}
