import { Elysia } from "elysia"
import { version } from "../../../../package.json"
import type { ServerState } from "../../http/context.ts"
import { responseBody } from "../../http/documented.ts"
import { endpoint } from "../../http/openapi.ts"
import type { ModelPool } from "../../pool/pool.ts"
import { type ModelStatus, statusOf } from "../../pool/status.ts"
import { type Health, health, type Ready, ready } from "./schema.ts"

/** When a monitor may ask a server again that is not well, in seconds. */
const RETRY_S = "1"

/** `GET /health`: whether the default model serves, and how busy each one is; `GET /ready`: the first half of it alone. Neither wants an API key. */
export const healthRoutes = ({ models, startedAt }: ServerState) =>
  new Elysia()
    .get(
      "/health",
      ({ set }): Health => {
        const statuses = models.models.map(statusOf)
        const verdict = judge(models, statuses[0])
        if (verdict.status !== "ok") {
          set.status = 503
          set.headers["retry-after"] = RETRY_S
        }
        return {
          ...verdict,
          version,
          uptime_seconds: Math.round((Date.now() - startedAt.getTime()) / 100) / 10,
          models: statuses.map(describe),
        }
      },
      {
        response: { 200: responseBody(health), 503: responseBody(health) },
        detail: endpoint({
          tag: "Service",
          summary: "Health and load",
          response: health,
          errors: {},
          others: { 503: { description: "The first model does not serve now; `reason` says why.", schema: health } },
          open: true,
        }),
      },
    )
    .get(
      "/ready",
      ({ set }): Ready => {
        const [first] = models.models
        const verdict = judge(models, first && statusOf(first))
        if (verdict.status !== "ok") {
          set.status = 503
          set.headers["retry-after"] = RETRY_S
        }
        return verdict
      },
      {
        response: { 200: responseBody(ready), 503: responseBody(ready) },
        detail: endpoint({
          tag: "Service",
          summary: "Whether requests can be sent here",
          response: ready,
          errors: {},
          others: { 503: { description: "The first model does not serve now; `reason` says why.", schema: ready } },
          open: true,
        }),
      },
    )

function judge({ draining }: ModelPool, first: ModelStatus | undefined): Pick<Health, "status" | "reason"> {
  if (draining) return { status: "draining", reason: "the server is shutting down" }
  if (first === undefined) return { status: "failed", reason: "no model is served" }
  if (first.usable) return { status: "ok", reason: null }
  const because = (what: string) => `the model '${first.id}' ${what}${first.reason === null ? "" : `: ${first.reason}`}`
  if (first.state === "restarting") return { status: "restarting", reason: because("is being restarted") }
  if (first.state === "draining") return { status: "draining", reason: because("is draining") }
  if (first.state === "failed") return { status: "failed", reason: because("failed") }
  return { status: "starting", reason: because("is being loaded") }
}

function describe({ id, state, reason, arch, loaded }: ModelStatus): Health["models"][number] {
  const stats = loaded?.stats
  return {
    id,
    state,
    reason,
    arch,
    device: loaded?.device ?? null,
    context_length: loaded?.context_length ?? null,
    max_seqs: loaded?.max_seqs ?? 0,
    running: stats?.running ?? 0,
    waiting: stats?.waiting ?? 0,
    kv_blocks: { total: stats?.blocksTotal ?? 0, free: stats?.blocksFree ?? 0 },
    steps: stats?.steps ?? 0,
  }
}
