/** Request fields and response parts that chat and plain completions share. */

import { z } from "zod"
import { modelName, noEffect, openObject } from "../../http/lenient.ts"
import { LIMITS, list } from "../../http/limits.ts"
import { samplerFields } from "./sampler-schema.ts"

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

const flag = z.boolean().nullish()

/** A limit of tokens; a negative one is no limit. */
export const tokenLimit = (least: number) =>
  integer(-2, 2 ** 31 - 1)
    .refine((value) => value < 0 || value >= least, {
      error: `must be at least ${least}; leave it out, or send -1, for no limit`,
    })
    .nullish()

/** Texts that end a generation. Empty ones say nothing. */
const stop = z
  .union([z.string().max(LIMITS.stopLength), list(z.string().max(LIMITS.stopLength), LIMITS.stops)], {
    error: `expected a string or a list of up to ${LIMITS.stops} strings`,
  })
  .nullish()

/** Sampling and limits. `null` means not given, as in OpenAI's API. */
export const samplingFields = {
  model: modelName,
  ...samplerFields,
  stop: stop.describe(`Up to ${LIMITS.stops} strings that end the text; they are not part of it.`),
  stop_everywhere: flag.describe(
    "Strings of `stop` end the text also within calls of tools, and within the strings of constrained JSON. Default false.",
  ),
  stop_token_ids: list(integer(0, 2 ** 31 - 1), LIMITS.choices)
    .nullish()
    .describe("Further tokens that end the text."),
  include_stop_str_in_output: flag.describe("What ended the text is part of it. Default false."),
  skip_special_tokens: flag.describe("false: control tokens come out as text. Default true."),
  min_tokens: integer(0, 2 ** 31 - 1)
    .nullish()
    .describe("Neither the model's end token nor a stop string ends the text before this many tokens. Default 0."),
  t_max_predict_ms: integer(-1, 2 ** 31 - 1)
    .nullish()
    .describe(
      "The text ends, with the finish reason length, this many milliseconds after its first token. Default, and from 0 down: no limit.",
    ),
  n: integer(1, LIMITS.choicesOfPrompt).nullish().describe("Choices for each prompt. Default 1."),
  stream: flag.describe("Send the text as server-sent events, ended by `data: [DONE]`."),
  stream_options: openObject("stream_options", {
    include_usage: flag.describe("Send one more event, with token counts, at the end."),
    continuous_usage_stats: flag.describe("Every event has the token counts so far."),
    include_obfuscation: noEffect("hides the lengths of tokens from observers of the network"),
  })
    .nullish()
    .describe("Ignored unless stream is true."),
  priority: integer(-(2 ** 31), 2 ** 31 - 1)
    .nullish()
    .describe("Requests with smaller numbers are served first. Default 0."),
  cache_salt: z
    .string()
    .max(256)
    .nullish()
    .describe("Requests share cached prefixes of prompts only if they have the same salt. Default: none."),
  cache_prompt: flag.describe("false: do not look for the prompt's beginning in the cache. Default true."),
  ignore_eos: flag.describe("Generate past the model's end token, up to the limit of tokens."),
  truncate_prompt_tokens: integer(-1, 2 ** 31 - 1)
    .nullish()
    .describe("Keep this many tokens at the end of the prompt; -1: as many as the context holds. Default: all."),
}

export type SamplingFields = z.output<z.ZodObject<typeof samplingFields>>

/** Fields of chat and plain completions about what an answer reports. */
export const reportFields = {
  return_token_ids: flag.describe("Report the ids of the prompt's and the text's tokens."),
  return_tokens_as_token_ids: flag.describe("In log-probabilities, write each token as `token_id:` and its id."),
  prompt_logprobs: integer(0, 20)
    .nullish()
    .describe("Report the log-probability of every token of the prompt, with this many alternatives. Not with stream."),
  request_id: z.string().max(256).nullish().describe("The last part of the answer's id. Default: random."),
}

const ANOTHER_SERVICE = "is about OpenAI's own service"
const OPENROUTER = "is for OpenRouter, which passes requests on"
const OLLAMA = "is Ollama's; this server has a fixed context, and options of its own"
const SLOTS = "is about llama-server's slots and context, which are managed otherwise here"
const SPECULATION = "tunes speculation, which the server decides"

/** Fields that clients send, and that have no effect, or only one that is refused. */
export const acceptedFields = {
  user: noEffect("names the sender's user"),
  metadata: noEffect("describes the request"),
  store: noEffect(ANOTHER_SERVICE),
  service_tier: noEffect(ANOTHER_SERVICE),
  safety_identifier: noEffect(ANOTHER_SERVICE),
  prompt_cache_key: noEffect("routes a request to a cache, and this server has one"),
  prompt_cache_retention: noEffect("says how long prompts are cached, which memory decides here"),
  extra_body: noEffect("is an argument of OpenAI's client, whose contents belong into the body itself"),
  guided_decoding_backend: noEffect("picks among vLLM's libraries"),
  guided_whitespace_pattern: noEffect("tunes the white space of JSON, which is free between single spaces and lines"),
  spaces_between_special_tokens: noEffect("is about the text of control tokens, which is written unchanged"),
  detokenize: noEffect("leaves out texts, and they cost nothing"),
  length_penalty: noEffect("is for beam search"),
  early_stopping: noEffect("is for beam search"),
  mm_processor_kwargs: noEffect("is for images and audio"),
  kv_transfer_params: noEffect("is for servers that compute prompts elsewhere"),
  vllm_xargs: noEffect("is for extensions of vLLM"),
  id_slot: noEffect(SLOTS),
  slot_id: noEffect(SLOTS),
  n_keep: noEffect(SLOTS),
  n_discard: noEffect(SLOTS),
  n_indent: noEffect("is for filling gaps in code, as llama-server does it"),
  t_max_prompt_ms: noEffect("limits the time of the prompt, which --deadline bounds"),
  penalize_nl: noEffect("was removed from llama-server"),
  tfs_z: noEffect("was removed from llama-server"),
  post_sampling_probs: noEffect("is about probabilities after the limits; those of the model are reported"),
  response_fields: noEffect("picks parts of llama-server's own answers"),
  "speculative.n_max": noEffect(SPECULATION),
  "speculative.n_min": noEffect(SPECULATION),
  "speculative.p_min": noEffect(SPECULATION),
  options: noEffect(OLLAMA),
  keep_alive: noEffect(OLLAMA),
  num_ctx: noEffect(OLLAMA),
  provider: noEffect(OPENROUTER),
  transforms: noEffect(OPENROUTER),
  models: noEffect(OPENROUTER),
  route: noEffect(OPENROUTER),
  plugins: noEffect(OPENROUTER),
  usage: noEffect("asks for token counts, which every answer has"),
  lora: notYet("an adapter (LoRA) is", isEmpty, "serve a model that it is merged into"),
  logits_processors: notYet("code from a request is", isEmpty),
  use_beam_search: notYet("beam search is", (value) => value === false, "use best_of of /v1/completions"),
  prompt_embeds: notYet("a prompt of vectors is", isEmpty, "send it as text or token ids"),
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0
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
/** In all but the last event of a stream, what was found in the cache is not known yet. */
export const runningUsage = usage.partial({ prompt_tokens_details: true })
export type UsageBody = z.output<typeof usage>

export const finishReason = z.enum(["stop", "length"])

/** Parts of answers that {@link reportFields} ask for, and what identifies the server's configuration. */
export const reported = {
  fingerprint: z.string().describe("The same for the same model, weights, program and device."),
  tokenIds: z.array(z.int()).optional().describe("Only if return_token_ids is true."),
  promptLogprobs: z
    .array(
      z
        .record(z.string(), z.object({ logprob: z.number(), rank: z.int().nullable(), decoded_token: z.string() }))
        .nullable(),
    )
    .optional()
    .describe("By token id, for each token of the prompt; null for the first. Only if prompt_logprobs is given."),
}
