/** `POST /v1/chat/completions`: request, response and stream chunk. */

import { z } from "zod"
import { noEffect, openObject } from "../../http/lenient.ts"
import { LIMITS, list } from "../../http/limits.ts"
import { chatExtras, VERBOSE, verbose } from "../llama-server/chat-extras.ts"
import { promptProgress, timings } from "../llama-server/timings.ts"
import { checkContinuation, message, templateFields } from "./conversation-schema.ts"
import {
  acceptedFields,
  integer,
  notYet,
  reported,
  reportFields,
  runningUsage,
  samplingFields,
  tokenLimit,
  usage,
} from "./generation-schema.ts"
import { checkStructured, structuredFields } from "./structured-schema.ts"
import { checkTools, functionCall, functionFields, toolCall, toolCallDelta, toolFields } from "./tools-schema.ts"

const flag = z.boolean().nullish()

export const chatRequest = openObject("", {
  messages: list(message, LIMITS.messages, 1),
  ...templateFields,
  echo: flag.describe("Repeat the last message, if it is the assistant's, at the beginning of the answer."),
  add_special_tokens: flag.describe(
    "false: do not add the token that the model expects at the beginning, even if the chat template left it out.",
  ),
  include_reasoning: flag.describe("false: leave the reasoning out of the answer."),
  reasoning_format: z
    .enum(["auto", "deepseek", "deepseek-legacy", "none"])
    .nullish()
    .describe(
      "Where the reasoning is: in a field of its own (auto, deepseek), in the content between the model's marks (none), or in both (deepseek-legacy).",
    ),
  ...samplingFields,
  max_completion_tokens: tokenLimit(1).describe("Default: the rest of the context after the prompt."),
  max_tokens: tokenLimit(1).describe("The older name of max_completion_tokens."),
  n_predict: tokenLimit(1).describe("llama-server's name of max_completion_tokens."),
  logprobs: flag.describe("Report the log-probability of every token, including those of the reasoning."),
  top_logprobs: integer(0, 20).nullish().describe("Number of alternatives for every token; requires logprobs."),
  n_probs: integer(0, 20).nullish().describe("llama-server's form of logprobs and top_logprobs."),
  best_of: integer(1, 20).nullish().describe("More than n is supported by /v1/completions alone."),
  ...reportFields,
  ...acceptedFields,
  ...chatExtras,
  ...structuredFields,
  ...toolFields,
  ...functionFields,
  modalities: notYet(
    "output other than text is",
    (value) => JSON.stringify(value) === '["text"]',
    'ask for ["text"], or leave the field out',
  ),
  audio: noEffect("describes the voice of answers that are spoken, as none is"),
  prediction: noEffect("speeds an answer up, and does not change it"),
  verbosity: noEffect("asks for a length that the chat template has no switch for"),
  web_search_options: noEffect("tunes a search, and this server searches nothing"),
  thinking_forced_open: noEffect("is decided by the chat template"),
  parse_tool_calls: notYet("calls as plain text are", (value) => value === true),
})
  .refine(({ logprobs, top_logprobs }) => logprobs || !top_logprobs, {
    path: ["top_logprobs"],
    error: "needs logprobs to be true",
  })
  .refine(({ best_of, n }) => (best_of ?? 1) <= (n ?? 1), {
    path: ["best_of"],
    error: "more choices than n are ranked by /v1/completions alone; leave it out",
  })
  .refine(({ prompt_logprobs, stream }) => !stream || typeof prompt_logprobs !== "number", {
    path: ["prompt_logprobs"],
    error: "a stream does not have them; leave out stream or prompt_logprobs",
  })
  .superRefine(checkContinuation)
  .superRefine(checkTools)
  .superRefine(checkStructured)
export type ChatBody = z.output<typeof chatRequest>

const tokenLogprob = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()).nullable() })
const chatLogprobs = z.object({
  content: z.array(tokenLogprob.extend({ top_logprobs: z.array(tokenLogprob) })).nullable(),
  refusal: z.null(),
})
export type ChatLogprobs = z.output<typeof chatLogprobs>

const finishReason = z.enum(["stop", "length", "tool_calls", "function_call"])
const reasoning = z.string().describe("The model's reasoning before its answer. Only for models that think.")

const head = {
  id: z.string(),
  created: z.int().describe("Unix time in seconds."),
  model: z.string(),
  system_fingerprint: reported.fingerprint,
  prompt_token_ids: reported.tokenIds,
}

export const chatResponse = z.object({
  ...head,
  object: z.literal("chat.completion"),
  choices: z.array(
    z.object({
      index: z.int(),
      message: z.object({
        role: z.literal("assistant"),
        content: z.string().nullable().describe("null if the answer has only calls."),
        reasoning_content: reasoning.optional(),
        reasoning: reasoning.optional().describe("The same as reasoning_content."),
        tool_calls: z.array(toolCall).optional(),
        function_call: functionCall.optional().describe("Only if the request has functions."),
        refusal: z.null(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: finishReason,
      token_ids: reported.tokenIds,
    }),
  ),
  usage,
  timings: timings.optional(),
  [VERBOSE]: verbose.optional(),
  prompt_logprobs: reported.promptLogprobs,
})
export type ChatResponse = z.output<typeof chatResponse>

export const chatChunk = z.object({
  ...head,
  object: z.literal("chat.completion.chunk"),
  choices: z.array(
    z.object({
      index: z.int(),
      delta: z.object({
        role: z.literal("assistant").optional(),
        content: z.string().nullish(),
        reasoning_content: reasoning.optional(),
        reasoning: reasoning.optional().describe("The same as reasoning_content."),
        tool_calls: z.array(toolCallDelta).optional(),
        function_call: functionCall.partial().optional(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: finishReason.nullable(),
      token_ids: reported.tokenIds,
    }),
  ),
  usage: runningUsage.nullish(),
  timings: timings.optional(),
  prompt_progress: promptProgress.optional(),
})
export type ChatChunk = z.output<typeof chatChunk>
