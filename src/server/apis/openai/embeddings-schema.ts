/** `POST /v1/embeddings`: request and response. */

import { z } from "zod"
import { modelName, noEffect, openObject } from "../../http/lenient.ts"
import { LIMITS, mixedInputs } from "../../http/limits.ts"
import { integer, notYet } from "./generation-schema.ts"

export const embeddingRequest = openObject("", {
  model: modelName,
  input: mixedInputs(LIMITS.inputs).describe(
    `A text, a list of token ids, or a list of up to ${LIMITS.inputs} of either. Each may be as long as the model's context. A text gets ` +
      "the model's beginning and end tokens, and control tokens written in it are plain text. Token ids are used unchanged. A list of " +
      "token ids with texts among them is one input; a text at its start gets the beginning token, one at its end the end token.",
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
  normalize: z.boolean().nullish().describe("false: as embd_normalize -1. Default true."),
  embd_normalize: integer(-1, 1024)
    .nullish()
    .describe(
      "The norm by which vectors are scaled: 2 (default) to length 1, 1 to a sum of 1, any other p to a p-norm of 1; 0 to 32760 as the greatest number; -1 not at all.",
    ),
  truncate: z
    .union([z.boolean(), z.enum(["NONE", "START", "END"])])
    .nullish()
    .describe("true, END: cut texts that are too long at their end; START: at their start. Default: refuse them."),
  truncate_prompt_tokens: integer(-1, 2 ** 31 - 1)
    .nullish()
    .describe("Keep this many tokens at the end of each text; -1: as many as the context holds. Default: all."),
  add_special_tokens: z
    .boolean()
    .nullish()
    .describe("false: texts do not get the model's beginning and end tokens. Default true."),
  user: noEffect("names the sender's user"),
  input_type: noEffect("tells queries from documents, for models whose file says what to do with them; none does"),
  task: noEffect("picks among the adapters of some models, which are not part of their files here"),
  prompt_name: notYet("a prompt by name is", undefined, "write the model's prompt before the text"),
  instruction: notYet("an instruction beside the text is", undefined, "write it before the text"),
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
