/** `POST /v1/embeddings`: request and response. */

import { z } from "zod"
import { LIMITS, textsOrTokens } from "../../http/limits.ts"
import { integer } from "./generation-schema.ts"

export const embeddingRequest = z.strictObject({
  model: z.string().min(1).describe("A name that /v1/models lists."),
  input: textsOrTokens(z.string().min(1), LIMITS.inputs).describe(
    `A text, a list of token ids, or a list of up to ${LIMITS.inputs} of either; each up to the model's context long. To a text the ` +
      "model's own beginning and end tokens are added; control tokens written in it are plain text. Token ids are taken as they are.",
  ),
  dimensions: integer(1, 2 ** 20)
    .nullish()
    .describe(
      "Keep so many of the vector's leading numbers, scaled to length 1 again: of use with models trained for it (Matryoshka). Default: all.",
    ),
  encoding_format: z
    .enum(["float", "base64"])
    .nullish()
    .describe("base64: the numbers as little-endian 32-bit floats. Default float."),
  pooling: z
    .enum(["mean", "cls", "last"])
    .nullish()
    .describe(
      "Of the last hidden states of the text's tokens, the mean, the first one, or the last one. Default: what the model's file says " +
        "(pooling_type), else mean.",
    ),
  priority: integer(-(2 ** 31), 2 ** 31 - 1)
    .nullish()
    .describe("Smaller goes first when requests wait. Default 0."),
  user: z.string().nullish().describe("Taken and not used."),
})
export type EmbeddingBody = z.output<typeof embeddingRequest>

export const embeddingResponse = z.object({
  object: z.literal("list"),
  data: z.array(
    z.object({
      object: z.literal("embedding"),
      index: z.int().describe("Which of the inputs it is."),
      embedding: z.union([z.array(z.number()), z.string()]).describe("Of length 1; a text in base64 if asked for."),
    }),
  ),
  model: z.string(),
  usage: z.object({ prompt_tokens: z.int(), total_tokens: z.int() }),
})
export type EmbeddingResponse = z.output<typeof embeddingResponse>
