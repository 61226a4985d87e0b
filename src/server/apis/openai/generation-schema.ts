/** Request fields and response parts that chat and plain completions share. */

import { z } from "zod"
import { modelName } from "../../http/lenient.ts"
import { LIMITS, list, metadata, numbersByToken, stopText } from "../../http/limits.ts"

/** A field of an API that this server does not support yet. Its neutral value is accepted; any other value is refused. */
export const notYet = (
  what: string,
  isNeutral: (value: unknown) => boolean = () => false,
  remedy = "leave the field out",
) =>
  z
    .unknown()
    .refine((value) => value === undefined || value === null || isNeutral(value), {
      error: `${what} not supported yet; ${remedy}`,
      params: { code: "unsupported_parameter" },
    })
    .optional()
    .describe(`Refused: ${what} not supported yet.`)

export const integer = (min: number, max: number) => z.int().min(min).max(max)
const number = (min: number, max: number) => z.number().min(min).max(max)

/** Sampling and limits. `null` means not given, as in OpenAI's API. */
export const samplingFields = {
  model: modelName,
  temperature: number(0, 2).nullish().describe("0 is greedy. Default 1."),
  top_p: number(0, 1).nullish().describe("Default 1 (off)."),
  top_k: integer(-1, 2 ** 31 - 1)
    .nullish()
    .describe("0 or -1 (default): off."),
  min_p: number(0, 1).nullish().describe("Default 0 (off)."),
  presence_penalty: number(-2, 2).nullish().describe("Default 0."),
  frequency_penalty: number(-2, 2).nullish().describe("Default 0."),
  repetition_penalty: z
    .number()
    .gt(0)
    .max(100)
    .nullish()
    .describe("Divides the positive logits of tokens already seen, and multiplies the negative ones. Default 1 (off)."),
  logit_bias: numbersByToken(-100, 100).nullish().describe("Added to the logits, by token id."),
  seed: z
    .int()
    .nullish()
    .describe("The same seed and request give the same text, whatever else is running. Default: random."),
  stop: z
    .union([stopText, list(stopText, LIMITS.stops)], {
      error: "expected a string or a list of up to 16 strings",
    })
    .nullish()
    .describe("Up to 16 strings that end the text; they are not part of it."),
  min_tokens: integer(0, 2 ** 31 - 1)
    .nullish()
    .describe("Neither the model's end token nor a stop string ends the text before this many tokens. Default 0."),
  n: integer(1, LIMITS.choicesOfPrompt).nullish().describe("Choices for each prompt. Default 1."),
  stream: z.boolean().nullish().describe("Send the text as server-sent events, ended by `data: [DONE]`."),
  stream_options: z
    .strictObject({
      include_usage: z.boolean().nullish().describe("Send one more event, with token counts, at the end."),
      include_obfuscation: z.literal(false).nullish(),
    })
    .nullish(),
  priority: integer(-(2 ** 31), 2 ** 31 - 1)
    .nullish()
    .describe("Requests with smaller numbers are served first. Default 0."),
  cache_salt: z
    .string()
    .max(256)
    .nullish()
    .describe("Requests share cached prefixes of prompts only if they have the same salt. Default: none."),
  ignore_eos: z.boolean().nullish().describe("Generate past the model's end token, up to the limit of tokens."),
}

export type SamplingFields = z.output<z.ZodObject<typeof samplingFields>>

export const streamOptionsNeedStream = (body: { stream?: boolean | null; stream_options?: object | null }): boolean =>
  body.stream === true || body.stream_options === undefined || body.stream_options === null
export const STREAM_OPTIONS_ERROR = { path: ["stream_options"], error: "needs stream to be true" }

/** Fields that OpenAI's clients send, and that have no effect here. */
export const acceptedFields = {
  user: z.string().nullish().describe("Accepted and ignored."),
  metadata: metadata.nullish().describe("Accepted and ignored."),
  store: notYet("storing completions is", (value) => value === false),
  service_tier: z.enum(["auto", "default"]).nullish().describe("Accepted and ignored."),
}

export const usage = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  prompt_tokens_details: z.object({ cached_tokens: z.int() }),
  completion_tokens_details: z
    .object({ reasoning_tokens: z.int() })
    .optional()
    .describe("Only for models that think before they answer."),
})
export type UsageBody = z.output<typeof usage>

export const finishReason = z.enum(["stop", "length"])
