/** `POST /v1/chat/completions`: request, response and stream chunk. */

import { z } from "zod"
import { LIMITS, list } from "../../http/limits.ts"
import { chatExtras, verbose } from "../llama-server/chat-extras.ts"
import { promptProgress, timings } from "../llama-server/timings.ts"
import { checkContinuation, message, templateFields } from "./conversation-schema.ts"
import {
  acceptedFields,
  integer,
  notYet,
  STREAM_OPTIONS_ERROR,
  samplingFields,
  streamOptionsNeedStream,
  usage,
} from "./generation-schema.ts"
import { checkStructured, structuredFields } from "./structured-schema.ts"
import { checkTools, toolCall, toolCallDelta, toolFields } from "./tools-schema.ts"

export const chatRequest = z
  .strictObject({
    messages: list(message, LIMITS.messages, 1),
    ...templateFields,
    ...samplingFields,
    max_completion_tokens: integer(1, 2 ** 31 - 1)
      .nullish()
      .describe("Default: the rest of the context after the prompt."),
    max_tokens: integer(1, 2 ** 31 - 1)
      .nullish()
      .describe("The older name of max_completion_tokens."),
    logprobs: z
      .boolean()
      .nullish()
      .describe("Report the log-probability of every token, including those of the reasoning."),
    top_logprobs: integer(0, 20).nullish().describe("Number of alternatives for every token; requires logprobs."),
    ...acceptedFields,
    ...chatExtras,
  ...structuredFields,
    ...toolFields,
    functions: notYet("calling functions through this older field is", undefined, "use tools"),
    function_call: notYet(
      "calling functions through this older field is",
      (value) => value === "none",
      "use tool_choice",
    ),
    modalities: notYet("output other than text is", (value) => JSON.stringify(value) === '["text"]'),
    audio: notYet("audio is"),
    prediction: notYet("predicted output is"),
    verbosity: notYet("verbosity is"),
    web_search_options: notYet("web search is"),
  })
  .refine(({ logprobs, top_logprobs }) => logprobs || !top_logprobs, {
    path: ["top_logprobs"],
    error: "needs logprobs to be true",
  })
  .superRefine(checkContinuation)
  .superRefine(checkTools)
  .superRefine(checkStructured)
  .refine(streamOptionsNeedStream, STREAM_OPTIONS_ERROR)
export type ChatBody = z.output<typeof chatRequest>

const tokenLogprob = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()).nullable() })
const chatLogprobs = z.object({
  content: z.array(tokenLogprob.extend({ top_logprobs: z.array(tokenLogprob) })).nullable(),
  refusal: z.null(),
})
export type ChatLogprobs = z.output<typeof chatLogprobs>

const finishReason = z.enum(["stop", "length", "tool_calls"])
const reasoning = z.string().describe("The model's reasoning before its answer. Only for models that think.")

export const chatResponse = z.object({
  id: z.string(),
  object: z.literal("chat.completion"),
  created: z.int().describe("Unix time in seconds."),
  model: z.string(),
  choices: z.array(
    z.object({
      index: z.int(),
      message: z.object({
        role: z.literal("assistant"),
        content: z.string().nullable().describe("null if the answer has only calls."),
        reasoning_content: reasoning.optional(),
        reasoning: reasoning.optional().describe("The same as reasoning_content."),
        tool_calls: z.array(toolCall).optional(),
        refusal: z.null(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: finishReason,
    }),
  ),
  usage,
  timings: timings.optional(),
  __verbose: verbose.optional(),
})
export type ChatResponse = z.output<typeof chatResponse>

export const chatChunk = z.object({
  id: z.string(),
  object: z.literal("chat.completion.chunk"),
  created: z.int(),
  model: z.string(),
  choices: z.array(
    z.object({
      index: z.int(),
      delta: z.object({
        role: z.literal("assistant").optional(),
        content: z.string().nullish(),
        reasoning_content: reasoning.optional(),
        reasoning: reasoning.optional().describe("The same as reasoning_content."),
        tool_calls: z.array(toolCallDelta).optional(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: finishReason.nullable(),
    }),
  ),
  usage: usage.nullish(),
  timings: timings.optional(),
  prompt_progress: promptProgress.optional(),
})
export type ChatChunk = z.output<typeof chatChunk>
