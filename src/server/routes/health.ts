import { Elysia } from "elysia"
import { version } from "../../../package.json"
import { responseBody } from "../schemas/documented.ts"
import { type Health, health } from "../schemas/service.ts"
import type { ServerState } from "../state.ts"
import { endpoint } from "./openapi.ts"

/** `GET /health`: alive, and how busy each model is. */
export const healthRoutes = ({ models, startedAt }: ServerState) =>
  new Elysia().get(
    "/health",
    (): Health => ({
      status: "ok",
      version,
      uptime_seconds: Math.round((Date.now() - startedAt.getTime()) / 100) / 10,
      models: models.all().map(({ name, config, device, engine }) => {
        const stats = engine.stats()
        return {
          id: name,
          arch: config.arch,
          device: { backend: device.backend, name: device.name },
          context_length: engine.limits.context_length,
          max_seqs: engine.limits.max_seqs,
          running: stats.running,
          waiting: stats.waiting,
          kv_blocks: { total: stats.blocks_total, free: stats.blocks_free },
          steps: stats.steps,
        }
      }),
    }),
    {
      response: { 200: responseBody(health) },
      detail: endpoint({ tag: "Service", summary: "Health and load", response: health, errors: {} }),
    },
  )
