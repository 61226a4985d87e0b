/** `GET /v1/models`. */

import { z } from "zod"
import type { ModelState } from "../../pool/status.ts"
import { listed } from "../ollama/models-schema.ts"

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
    "unloaded: the next request loads it; loading: requests wait for it; ready: it serves; unloading: it is being removed from " +
      "memory; restarting: its engine failed and is being restarted; draining: it finishes the requests that it has; failed: it could " +
      "not be loaded, or its engine could not be restarted.",
  )
const reason = z.string().nullable().describe("Why the model is not ready, if there is a reason to report.")
const device = z
  .object({ backend: z.string(), name: z.string() })
  .nullable()
  .describe("null while the model is not in memory.")
const contextLength = z
  .int()
  .nullable()
  .describe("Most tokens of prompt and completion together; null while the model is not in memory.")

export const modelBody = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: z.int().describe("When the server started, Unix time in seconds."),
  owned_by: z.literal("rocmforge"),
  root: z.string().describe("The model's own name, where the id is a further name of it."),
  parent: z.null(),
  max_model_len: contextLength.describe("The same as context_length, as vLLM calls it."),
  type: z.literal("model").describe("This and the next two are fields of Anthropic's API."),
  display_name: z.string(),
  created_at: z.string().describe("The same as created, as RFC 3339."),
  state: modelState,
  reason,
  arch: z.string().describe("Model family."),
  device,
  context_length: contextLength,
  memory: z
    .object({ weights: z.int(), cache: z.int() })
    .nullable()
    .describe("Bytes of the device's memory that the model uses; null while it is not in memory."),
  loaded: z.int().nullable().describe("When the model was loaded, Unix time in seconds."),
  last_used: z.int().nullable().describe("When a request last used the model, Unix time in seconds."),
})
export type ModelBody = z.output<typeof modelBody>

export const modelList = z.object({
  object: z.literal("list"),
  data: z.array(modelBody).describe("A model has an entry for each of its names."),
  has_more: z
    .literal(false)
    .describe("This and the next two are fields of Anthropic's API, whose pages are never needed here."),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  models: z
    .array(listed)
    .describe("The same models as Ollama's API lists them; those whose file cannot be read are left out."),
})
export type ModelList = z.output<typeof modelList>
