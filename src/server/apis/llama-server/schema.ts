/** `POST /completion`, `/completions` and `/infill`: requests and answers. */

import { z } from "zod"
import { modelName, noEffect, openObject } from "../../http/lenient.ts"
import { boundedPattern, boundedSchema, LIMITS, list, stopText } from "../../http/limits.ts"
import { promptProgress, timings } from "./timings.ts"

const flag = z.boolean().nullish()
const whole = (min: number, max = 2 ** 31 - 1) => z.int().min(min).max(max)
const number = (min: number, max: number) => z.number().min(min).max(max).nullish()

const logitBias = z
  .union([z.array(z.array(z.union([z.number(), z.string(), z.boolean()]))), z.record(z.string(), z.unknown())], {
    error: "expected a list of [token, bias], or an object of biases by token",
  })
  .nullish()
  .describe("Pairs of a token's id, or a text, and what is added to its logits; false excludes it. Or an object.")

/** Sampling, as llama-server names it. Its defaults are in settings.ts. */
const samplingFields = {
  temperature: z.number().max(100).nullish().describe("0 or less is greedy. Default 0.8."),
  dynatemp_range: number(0, 100),
  dynatemp_exponent: number(0, 100),
  top_k: whole(-(2 ** 31))
    .nullish()
    .describe("0 or less: off. Default 40."),
  top_p: z.number().nullish().describe("1: off. Default 0.95."),
  min_p: z.number().nullish().describe("0: off. Default 0.05."),
  top_n_sigma: z.number().nullish().describe("0 or less: off, the default."),
  typical_p: z.number().nullish().describe("1: off, the default."),
  xtc_probability: number(0, 1),
  xtc_threshold: number(0, 1),
  repeat_last_n: whole(-1).nullish().describe("Tokens that penalties look back at; -1: all. Default 64."),
  repeat_penalty: z.number().gt(0).max(1000).nullish(),
  presence_penalty: number(-100, 100),
  frequency_penalty: number(-100, 100),
  dry_multiplier: number(0, 1000),
  dry_base: number(0, 1000),
  dry_allowed_length: whole(0).nullish(),
  dry_penalty_last_n: whole(-1).nullish(),
  dry_sequence_breakers: list(z.string(), 64).nullish(),
  mirostat: z.union([z.literal(0), z.literal(1), z.literal(2)]).nullish(),
  mirostat_tau: number(0, 100),
  mirostat_eta: number(0, 100),
  samplers: z
    .union([z.string(), list(z.string(), 64)])
    .nullish()
    .describe("The samplers that apply, by name or by letter. Their order is fixed. Default: all."),
  seed: z.int().nullish().describe("-1 or 4294967295: a random one, the default."),
  min_keep: whole(0).nullish(),
  logit_bias: logitBias,
  ignore_eos: flag,
}

/** What every request for text has beside its prompt. */
const generationFields = {
  model: modelName,
  stream: flag.describe("Send the text as server-sent events."),
  n_predict: whole(-(2 ** 31))
    .nullish()
    .describe("Most tokens to generate; below 0: no limit but the context, the default."),
  max_tokens: whole(-(2 ** 31))
    .nullish()
    .describe("The same as n_predict."),
  n_cmpl: whole(1, LIMITS.choicesOfPrompt).nullish().describe("Answers for each prompt. Default 1."),
  n: whole(1, LIMITS.choicesOfPrompt).nullish().describe("The same as n_cmpl."),
  n_indent: whole(0, 1000).nullish().describe("End at a line that is indented by fewer spaces. Default 0."),
  stop: z.union([stopText, list(z.string().max(LIMITS.stopLength), LIMITS.stops)]).nullish(),
  ...samplingFields,
  n_probs: whole(0).nullish().describe("Report the probabilities of this many tokens at each place, at most 20."),
  post_sampling_probs: flag.describe("Report probabilities after sampling, computed from the 20 most probable tokens."),
  grammar: boundedPattern.nullish(),
  json_schema: z.union([z.boolean(), boundedSchema]).nullish(),
  t_max_predict_ms: whole(-1).nullish().describe("End this long after the first token, once there is a line break."),
  cache_prompt: flag.describe("Use the prefix cache. Default true."),
  id_slot: whole(-1)
    .nullish()
    .describe(
      "The answer repeats it. With --slot-save-path, requests of a slot share cached prefixes among themselves alone.",
    ),
  return_tokens: flag,
  return_progress: flag.describe("Send events with the progress of the prompt. Needs stream."),
  timings_per_token: flag,
  response_fields: list(z.string().max(200), 64)
    .nullish()
    .describe("Keep these fields of the answer alone; a/b is field b of a."),
  priority: whole(-(2 ** 31)).nullish(),
  cache_salt: z.string().max(256).nullish(),
  lora: z.array(z.unknown()).max(0, "this server has no LoRA adapters; leave the field out").nullish(),
  n_keep: noEffect("says what stays when the context is shifted, which never happens here"),
  n_discard: noEffect("says what goes when the context is shifted, which never happens here"),
  n_cache_reuse: noEffect("tunes a cache that works in another way here"),
  backend_sampling: noEffect("chooses where sampling runs, which is always on the device here"),
  sse_ping_interval: noEffect("sets the time between comments in streams, which the server sets"),
  "speculative.n_min": noEffect("tunes drafting, which the server sets"),
  "speculative.n_max": noEffect("tunes drafting, which the server sets"),
  "speculative.p_min": noEffect("tunes drafting, which the server sets"),
  verbose: noEffect("asks for more in chat answers alone"),
}

export const completionRequest = openObject("", {
  prompt: z
    .unknown()
    .describe(
      "A text, a list of token ids and texts, an object with prompt_string, or a list of prompts. Control tokens written in a text count as those tokens.",
    ),
  ...generationFields,
})
type CompletionBody = z.output<typeof completionRequest>

const extra = z.object({ filename: z.string().nullish(), text: z.string() })
export const infillRequest = openObject("", {
  input_prefix: z.string().describe("The text before the gap."),
  input_suffix: z.string().describe("The text after the gap."),
  prompt: z.string().nullish().describe("The beginning of the text in the gap."),
  input_extra: list(extra, LIMITS.parts).nullish().describe("Other files that come before."),
  ...generationFields,
})
export type InfillBody = z.output<typeof infillRequest>

export type GenerationFields = Omit<CompletionBody, "prompt">

const token = { id: z.int(), token: z.string(), bytes: z.array(z.int()) }
const logprob = { ...token, logprob: z.number() }
const prob = { ...token, prob: z.number() }
const probabilities = z.array(
  z.union([
    z.object({ ...logprob, top_logprobs: z.array(z.object(logprob)) }),
    z.object({ ...prob, top_probs: z.array(z.object(prob)) }),
  ]),
)
export type TokenProbabilities = z.output<typeof probabilities>

const completionAnswer = z.looseObject({
  index: z.int().optional(),
  content: z.string().optional(),
  tokens: z.array(z.int()).optional(),
  id_slot: z.int().optional(),
  stop: z.boolean().optional(),
  model: z.string().optional(),
  tokens_predicted: z.int().optional(),
  tokens_evaluated: z.int().optional(),
  generation_settings: z.record(z.string(), z.unknown()).optional(),
  prompt: z.string().optional(),
  has_new_line: z.boolean().optional(),
  truncated: z.boolean().optional(),
  stop_type: z.enum(["eos", "word", "limit"]).optional(),
  stopping_word: z.string().optional(),
  tokens_cached: z.int().optional(),
  timings: timings.optional(),
  completion_probabilities: probabilities.optional(),
})
export type CompletionAnswer = z.output<typeof completionAnswer>

/** One answer, or a list where the request has several prompts or asks for several answers. */
export const completionResponse = z.union([completionAnswer, z.array(completionAnswer)])

export const completionEvent = completionAnswer.extend({ prompt_progress: promptProgress.optional() })
export type CompletionEvent = z.output<typeof completionEvent>
