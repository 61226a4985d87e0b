/** `GET /health` and `GET /v1/models`. */

import { z } from "zod"

export const modelBody = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: z.int().describe("When the model was loaded, Unix time in seconds."),
  owned_by: z.literal("rocmforge"),
  context_length: z.int().describe("Longest prompt and completion together, in tokens."),
})
export type ModelBody = z.output<typeof modelBody>

export const modelList = z.object({ object: z.literal("list"), data: z.array(modelBody) })

export const health = z.object({
  status: z.literal("ok"),
  version: z.string(),
  uptime_seconds: z.number(),
  models: z.array(
    z.object({
      id: z.string(),
      arch: z.string(),
      device: z.object({ backend: z.string(), name: z.string() }),
      context_length: z.int(),
      max_seqs: z.int().describe("Sequences that decode together."),
      running: z.int(),
      waiting: z.int(),
      kv_blocks: z.object({ total: z.int(), free: z.int() }),
      steps: z.int().describe("Engine steps since the model was loaded."),
    }),
  ),
})
export type Health = z.output<typeof health>
