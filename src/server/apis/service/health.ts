import { Elysia } from "elysia"
import { version } from "../../../../package.json"
import type { ServerState } from "../../http/context.ts"
import { responseBody } from "../../http/documented.ts"
import { ApiError, answerErrors } from "../../http/errors.ts"
import { endpoint, failures } from "../../http/openapi.ts"
import { METRICS_TYPE, type Metrics } from "../../observe/metrics.ts"
import type { ModelPool } from "../../pool/pool.ts"
import { type ModelStatus, statusOf } from "../../pool/status.ts"
import { openAiError } from "../openai/wire.ts"
import { type Health, health, type Ready, ready } from "./health-schema.ts"

/** `Retry-After` of a server that is not ready, in seconds. */
const RETRY_S = "1"

/**
 * `GET /health`: whether the first model serves, and the load of every model; `GET /ready`: the first part alone. Neither requires an API
 * key. `GET /metrics`: the server in numbers, in the text format of Prometheus.
 */
export const healthRoutes = ({ models, metrics, startedAt, llama }: ServerState) =>
  new Elysia()
    .onError(answerErrors(openAiError))
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
          others: { 503: { description: "The first model is not ready; `reason` says why.", schema: health } },
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
          others: { 503: { description: "The first model is not ready; `reason` says why.", schema: ready } },
          open: true,
        }),
      },
    )
    .get("/metrics", () => (llama.hidden.has("metrics") ? noMetrics() : scrape(metrics, startedAt)), {
      detail: {
        tags: ["Service"],
        summary: "Metrics for Prometheus",
        description:
          "Series named `vllm:…` mean what vLLM's mean, so that dashboards and inference routers made for it work; `rocmforge_…` are this server's own.",
        responses: {
          200: { description: "Success", content: { "text/plain": { schema: { type: "string" as const } } } },
          ...failures({}),
        },
      },
    })

const noMetrics = (): never => {
  throw new ApiError(501, "server_error", "This server was started without /metrics.", null, "not_implemented")
}

const scrape = async (metrics: Metrics, startedAt: Date): Promise<Response> =>
  new Response(await metrics.render(), {
    // Scrapers of llama-server read when its counters began.
    headers: { "content-type": METRICS_TYPE, "Process-Start-Time-Unix": String(startedAt.getTime() / 1000) },
  })

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
