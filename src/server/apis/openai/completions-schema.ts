/** `POST /v1/completions`: request, response and stream chunk. */

import { z } from "zod"
import { openObject } from "../../http/lenient.ts"
import { LIMITS, textsOrTokens } from "../../http/limits.ts"
import {
  acceptedFields,
  finishReason,
  integer,
  reported,
  reportFields,
  runningUsage,
  samplingFields,
  tokenLimit,
  usage,
} from "./generation-schema.ts"
import { checkStructured, structuredFields } from "./structured-schema.ts"

const countOf = (prompt: unknown): number =>
  Array.isArray(prompt) && typeof prompt[0] !== "number" ? prompt.length : 1

interface LogprobFields {
  logprobs?: number | boolean | null
  n_probs?: number | null
}

/** The alternatives to report for each token; `undefined`: no log-probabilities. */
export function alternatives({ logprobs, n_probs }: LogprobFields): number | undefined {
  if (typeof logprobs === "number") return logprobs
  if (logprobs) return n_probs ?? 0
  return n_probs || undefined
}

const flag = z.boolean().nullish()

export const completionRequest = openObject("", {
  prompt: textsOrTokens(z.string(), LIMITS.prompts).describe(
    "A text, a list of token ids, or a list of either. Special tokens written in a text count as those tokens.",
  ),
  add_special_tokens: flag.describe("false: do not add the token that the model expects at the beginning of a text."),
  ...samplingFields,
  max_tokens: tokenLimit(0).describe("Default 16. 0 generates nothing."),
  n_predict: tokenLimit(0).describe("llama-server's name of max_tokens."),
  logprobs: z
    .union([z.boolean(), integer(0, 20)], { error: "expected a whole number from 0 to 20, or true or false" })
    .nullish()
    .describe("Report log-probabilities, with this many alternatives for every token; true: none."),
  n_probs: integer(0, 20).nullish().describe("llama-server's form of logprobs; 0: none."),
  echo: flag.describe(
    "Repeat the prompt before the text. With logprobs, those of its tokens are reported too; the first token has none.",
  ),
  ...reportFields,
  ...structuredFields,
  ...acceptedFields,
  best_of: integer(1, 20)
    .nullish()
    .describe(
      "Generate this many choices, and return the n whose tokens have the highest mean log-probability. At least n, and with stream exactly n. Default n.",
    ),
  suffix: z
    .string()
    .nullish()
    .describe(
      "The text after the generated one, which fills the gap between prompt and suffix. Requires a model with fill-in-the-middle tokens.",
    ),
})
  .refine(({ prompt, n, best_of }) => countOf(prompt) * (best_of ?? n ?? 1) <= LIMITS.choicesOfRequest, {
    path: ["n"],
    error: `a request can have at most ${LIMITS.choicesOfRequest} choices, over all its prompts; send fewer prompts at a time`,
  })
  .refine(({ best_of, n }) => (best_of ?? n ?? 1) >= (n ?? 1), { path: ["best_of"], error: "must be at least n" })
  .refine(({ best_of, n, stream }) => !stream || (best_of ?? n ?? 1) === (n ?? 1), {
    path: ["best_of"],
    error: "choices can be ranked only after they have ended; leave out stream or best_of",
  })
  .refine((body) => !(body.echo && alternatives(body) !== undefined && body.suffix), {
    path: ["suffix"],
    error: "with a suffix, a prompt's log-probabilities are not available; leave out echo, logprobs or suffix",
    params: { code: "unsupported_parameter" },
  })
  .refine(({ prompt_logprobs, stream }) => !stream || typeof prompt_logprobs !== "number", {
    path: ["prompt_logprobs"],
    error: "a stream does not have them; leave out stream or prompt_logprobs",
  })
  .superRefine(checkStructured)
export type CompletionBody = z.output<typeof completionRequest>

const completionLogprobs = z.object({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number().nullable()).describe("null for a prompt's first token."),
  top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
  text_offset: z.array(z.int()).describe("Where each token starts in the text, in UTF-16 units."),
})
export type CompletionLogprobs = z.output<typeof completionLogprobs>

const head = {
  id: z.string(),
  object: z.literal("text_completion"),
  created: z.int().describe("Unix time in seconds."),
  model: z.string(),
  system_fingerprint: reported.fingerprint,
}
const choice = z.object({
  index: z.int(),
  text: z.string(),
  logprobs: completionLogprobs.nullable(),
  prompt_token_ids: reported.tokenIds,
  token_ids: reported.tokenIds,
  prompt_logprobs: reported.promptLogprobs,
})

export const completionResponse = z.object({
  ...head,
  choices: z.array(choice.extend({ finish_reason: finishReason })),
  usage,
})
export type CompletionResponse = z.output<typeof completionResponse>

export const completionChunk = z.object({
  ...head,
  choices: z.array(
    choice.extend({ finish_reason: finishReason.nullable().describe("null in all but the last event.") }),
  ),
  usage: runningUsage.nullish(),
})
export type CompletionChunk = z.output<typeof completionChunk>
