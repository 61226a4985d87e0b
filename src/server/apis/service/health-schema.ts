/** `GET /health` and `GET /ready`. */

import { z } from "zod"
import { modelBody } from "../openai/models-schema.ts"

const { id, state, reason, arch, device, context_length } = modelBody.shape

const status = z
  .enum(["ok", "starting", "restarting", "draining", "failed"])
  .describe("ok (200): the first model is ready, or the next request loads it. Every other status is a 503.")
const statusReason = z.string().nullable().describe("Why the status is not ok.")

export const ready = z.object({ status, reason: statusReason })
export type Ready = z.output<typeof ready>

export const health = z.object({
  status,
  reason: statusReason,
  version: z.string(),
  uptime_seconds: z.number(),
  models: z.array(
    z.object({
      id,
      state,
      reason,
      arch,
      device,
      context_length,
      max_seqs: z
        .int()
        .describe(
          "Most sequences that are decoded together. This and all counts below are 0 while the model is not in memory.",
        ),
      running: z.int(),
      waiting: z.int(),
      kv_blocks: z.object({ total: z.int(), free: z.int() }),
      steps: z.int().describe("Engine steps since the model was loaded."),
    }),
  ),
})
export type Health = z.output<typeof health>
