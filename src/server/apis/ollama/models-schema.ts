/** Ollama's `/api/tags`, `/api/ps`, `/api/show`, `/api/version`, `/api/embed` and `/api/embeddings`. */

import { z } from "zod"
import { modelName, noEffect, openObject } from "../../http/lenient.ts"
import { LIMITS, list } from "../../http/limits.ts"
import { integer } from "../openai/generation-schema.ts"
import { keepAlive, ollamaOptions } from "./schema.ts"

const details = z.object({
  parent_model: z.literal(""),
  format: z.literal("gguf"),
  family: z.string(),
  families: z.array(z.string()),
  parameter_size: z.string().describe("For example 134.5M or 8.0B."),
  quantization_level: z.string().describe("For example Q4_K_M. The format of most weights if the file does not say."),
})

export const listed = z.object({
  name: z.string(),
  model: z.string().describe("The same as name."),
  modified_at: z.string(),
  size: z.int().describe("Bytes of the file."),
  digest: z.string().describe("Differs between files. It is not the hash of the file's content."),
  details,
})
export type ListedModel = z.output<typeof listed>
export const tagsResponse = z.object({ models: z.array(listed) })

export const psResponse = z.object({
  models: z.array(
    listed.extend({
      size: z.int().describe("Bytes of the device's memory that the model uses."),
      size_vram: z.int().describe("Bytes of a GPU's memory that the model uses."),
      expires_at: z
        .string()
        .describe("When the model leaves memory without another request. The year 9999 means never."),
      context_length: z.int(),
    }),
  ),
})

export const showRequest = openObject("", {
  model: modelName,
  name: z.string().nullish().describe("An older name of model."),
  verbose: z.boolean().nullish().describe("Include the tokenizer's tables and the list of tensors."),
  system: noEffect("shows a model as it would be with another system message"),
  template: noEffect("shows a model as it would be with another template"),
  options: noEffect("shows a model as it would be with other options"),
})

const capability = z.enum(["completion", "tools", "insert", "thinking", "embedding"])
export type Capability = z.output<typeof capability>

export const showResponse = z.object({
  license: z.string(),
  modelfile: z.string(),
  parameters: z.string(),
  template: z.string().describe("The chat template (Jinja); empty if there is none."),
  system: z.string(),
  details,
  model_info: z.record(z.string(), z.unknown()).describe("The file's metadata; long lists are null unless verbose."),
  tensors: z
    .array(z.object({ name: z.string(), type: z.string(), shape: z.array(z.int()) }))
    .optional()
    .describe("Only with verbose."),
  capabilities: z.array(capability),
  modified_at: z.string(),
})
export type ShowResponse = z.output<typeof showResponse>

export const versionResponse = z.object({
  version: z.string().describe("The version of Ollama whose API this is. Clients check it."),
  rocmforge: z.string().describe("The version of this server."),
})

const embedFields = {
  model: modelName,
  keep_alive: keepAlive,
  options: ollamaOptions.describe("Only num_ctx applies to embeddings."),
}
const text = z.string().min(1)

export const embedRequest = openObject("", {
  ...embedFields,
  input: z
    .union([text, list(text, LIMITS.inputs)], {
      error: `expected a text, or a list of up to ${LIMITS.inputs}, none of them empty`,
    })
    .describe("A text, or several."),
  truncate: z
    .boolean()
    .nullish()
    .describe("Cut texts that are longer than the model's context. false: refuse them. Default true."),
  dimensions: integer(1, 2 ** 20)
    .nullish()
    .describe("Keep this many leading numbers of each vector. Default: all."),
})
export type EmbedBody = Pick<
  z.output<typeof embedRequest>,
  "model" | "keep_alive" | "options" | "truncate" | "dimensions"
>
export const embedResponse = z.object({
  model: z.string(),
  embeddings: z.array(z.array(z.number())).describe("Vectors of length 1."),
  total_duration: z.int().describe("Nanoseconds."),
  load_duration: z.int().describe("Nanoseconds until the model was in memory."),
  prompt_eval_count: z.int().describe("Tokens of all texts."),
})

export const embeddingsRequest = openObject("", { ...embedFields, prompt: text })
export const embeddingsResponse = z.object({ embedding: z.array(z.number()) })
