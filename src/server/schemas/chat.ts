/** `POST /v1/chat/completions`: request, response and stream chunk. */

import { z } from "zod"
import {
  acceptedFields,
  finishReason,
  integer,
  notYet,
  STREAM_OPTIONS_ERROR,
  samplingFields,
  streamOptionsNeedStream,
  usage,
} from "./generation.ts"

const textPart = z.strictObject({
  type: z.literal("text", {
    error: (issue) => `${JSON.stringify(issue.input)} is not supported yet; only text parts are`,
  }),
  text: z.string(),
})

const message = z.strictObject({
  role: z.enum(["system", "developer", "user", "assistant"], {
    error: (issue) =>
      `${JSON.stringify(issue.input)} is not a supported role; use system, developer, user or assistant`,
  }),
  content: z
    .union([z.string(), z.array(textPart)], { error: "expected a text or a list of text parts" })
    .describe("Text, or text parts that are joined."),
  name: z.string().nullish().describe("Passed to the chat template, which may ignore it."),
  refusal: z.null().optional(),
  tool_calls: notYet("tool calls are", (value) => Array.isArray(value) && value.length === 0),
  function_call: notYet("function calls are"),
  audio: notYet("audio is"),
})
export type ChatMessageBody = z.output<typeof message>

const isTextFormat = (value: unknown): boolean => z.strictObject({ type: z.literal("text") }).safeParse(value).success

export const chatRequest = z
  .strictObject({
    messages: z.array(message).min(1),
    ...samplingFields,
    max_completion_tokens: integer(1, 2 ** 31 - 1)
      .nullish()
      .describe("Default: what the prompt leaves of the context."),
    max_tokens: integer(1, 2 ** 31 - 1)
      .nullish()
      .describe("The older name of max_completion_tokens."),
    logprobs: z.boolean().nullish().describe("Report the log-probability of every token."),
    top_logprobs: integer(0, 20).nullish().describe("Alternatives for every token; needs logprobs."),
    ...acceptedFields,
    response_format: notYet("structured output is", isTextFormat),
    tools: notYet("tool calling is", (value) => Array.isArray(value) && value.length === 0),
    tool_choice: notYet("tool calling is", (value) => value === "none" || value === "auto"),
    parallel_tool_calls: notYet("tool calling is"),
    functions: notYet("function calling is"),
    function_call: notYet("function calling is", (value) => value === "none"),
    modalities: notYet("output other than text is", (value) => JSON.stringify(value) === '["text"]'),
    audio: notYet("audio is"),
    prediction: notYet("predicted output is"),
    reasoning_effort: notYet("a reasoning effort is"),
    verbosity: notYet("verbosity is"),
    web_search_options: notYet("web search is"),
  })
  .refine(({ logprobs, top_logprobs }) => logprobs || !top_logprobs, {
    path: ["top_logprobs"],
    error: "needs logprobs to be true",
  })
  .refine(streamOptionsNeedStream, STREAM_OPTIONS_ERROR)
export type ChatRequest = z.output<typeof chatRequest>

const tokenLogprob = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()).nullable() })
export const chatLogprobs = z.object({
  content: z.array(tokenLogprob.extend({ top_logprobs: z.array(tokenLogprob) })).nullable(),
  refusal: z.null(),
})
export type ChatLogprobs = z.output<typeof chatLogprobs>

export const chatResponse = z.object({
  id: z.string(),
  object: z.literal("chat.completion"),
  created: z.int().describe("Unix time in seconds."),
  model: z.string(),
  choices: z.array(
    z.object({
      index: z.int(),
      message: z.object({ role: z.literal("assistant"), content: z.string(), refusal: z.null() }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: finishReason,
    }),
  ),
  usage,
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
      delta: z.object({ role: z.literal("assistant").optional(), content: z.string().optional() }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: finishReason.nullable(),
    }),
  ),
  usage: usage.nullish(),
})
export type ChatChunk = z.output<typeof chatChunk>
