/** `GET /health` and `GET /v1/models`. */

import { z } from "zod"
import type { ModelState } from "../../pool/status.ts"

const MODEL_STATES = [
  "unloaded",
  "loading",
  "ready",
  "unloading",
  "restarting",
  "draining",
  "failed",
] as const satisfies readonly ModelState[]

const modelState = z
  .enum(MODEL_STATES)
  .describe(
    "unloaded: the next request loads it; loading: requests wait for it; ready: it serves; unloading: it is being taken out of " +
      "memory; restarting: its engine failed and is being started again; draining: it ends what it has begun; failed: it could " +
      "not be loaded, or its engine could not be restarted.",
  )
const reason = z.string().nullable().describe("Why the model is not ready, where there is more to say.")
const device = z
  .object({ backend: z.string(), name: z.string() })
  .nullable()
  .describe("null while it is not in memory.")
const contextLength = z
  .int()
  .nullable()
  .describe("Longest prompt and completion together, in tokens; null while it is not in memory.")

export const modelBody = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: z.int().describe("When the server started, Unix time in seconds."),
  owned_by: z.literal("rocmforge"),
  state: modelState,
  reason,
  arch: z.string().describe("Model family."),
  device,
  context_length: contextLength,
  memory: z
    .object({ weights: z.int(), cache: z.int() })
    .nullable()
    .describe("Bytes that it takes of the device's memory; null while it is not in memory."),
  loaded: z.int().nullable().describe("When it was brought into memory, Unix time in seconds."),
  last_used: z.int().nullable().describe("When a request last used it, Unix time in seconds."),
})
export type ModelBody = z.output<typeof modelBody>

export const modelList = z.object({ object: z.literal("list"), data: z.array(modelBody) })

const status = z
  .enum(["ok", "starting", "restarting", "draining", "failed"])
  .describe("ok (200): the first model serves, or is loaded for the next request. Everything else is 503.")
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
      id: z.string(),
      state: modelState,
      reason,
      arch: z.string(),
      device,
      context_length: contextLength,
      max_seqs: z
        .int()
        .describe("Sequences that decode together; 0 while the model is not in memory, as all counts below."),
      running: z.int(),
      waiting: z.int(),
      kv_blocks: z.object({ total: z.int(), free: z.int() }),
      steps: z.int().describe("Engine steps since the model was loaded."),
    }),
  ),
})
export type Health = z.output<typeof health>
