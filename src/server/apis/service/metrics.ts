import { Elysia } from "elysia"
import type { ServerState } from "../../http/context.ts"
import { failures } from "../../http/openapi.ts"
import { METRICS_TYPE } from "../../observe/metrics.ts"

/** `GET /metrics`: the server in numbers, in the text format of Prometheus. */
export const metricsRoutes = ({ metrics }: ServerState) =>
  new Elysia().get(
    "/metrics",
    async () => new Response(await metrics.render(), { headers: { "content-type": METRICS_TYPE } }),
    {
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
    },
  )
