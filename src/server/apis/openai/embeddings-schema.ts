/** `POST /v1/embeddings`: request and response. */

import { z } from "zod"
import { modelName } from "../../http/lenient.ts"
import { LIMITS, textsOrTokens } from "../../http/limits.ts"
import { integer } from "./generation-schema.ts"

export const embeddingRequest = z.strictObject({
  model: modelName,
  input: textsOrTokens(z.string().min(1), LIMITS.inputs).describe(
    `A text, a list of token ids, or a list of up to ${LIMITS.inputs} of either. Each may be as long as the model's context. A text gets ` +
      "the model's beginning and end tokens, and control tokens written in it are plain text. Token ids are used unchanged.",
  ),
  dimensions: integer(1, 2 ** 20)
    .nullish()
    .describe(
      "Keep this many leading numbers of each vector, scaled to length 1 again. Useful with models trained for it (Matryoshka). Default: all.",
    ),
  encoding_format: z
    .enum(["float", "base64"])
    .nullish()
    .describe("base64: the numbers as little-endian 32-bit floats. Default float."),
  pooling: z
    .enum(["mean", "cls", "last"])
    .nullish()
    .describe(
      "How the final hidden states of a text's tokens become one vector: their mean, the first one, or the last one. Default: the " +
        "pooling_type of the model's file, or else mean.",
    ),
  priority: integer(-(2 ** 31), 2 ** 31 - 1)
    .nullish()
    .describe("Requests with smaller numbers are served first. Default 0."),
  user: z.string().nullish().describe("Accepted and ignored."),
})
export type EmbeddingBody = z.output<typeof embeddingRequest>

export const embeddingResponse = z.object({
  object: z.literal("list"),
  data: z.array(
    z.object({
      object: z.literal("embedding"),
      index: z.int().describe("Index of the input."),
      embedding: z
        .union([z.array(z.number()), z.string()])
        .describe("A vector of length 1, or its base64 if encoding_format says so."),
    }),
  ),
  model: z.string(),
  usage: z.object({ prompt_tokens: z.int(), total_tokens: z.int() }),
})
export type EmbeddingResponse = z.output<typeof embeddingResponse>
