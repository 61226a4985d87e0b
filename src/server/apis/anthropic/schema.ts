/** `POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's requests, responses and stream events. */

import { z } from "zod"
import { modelName } from "../../http/lenient.ts"
import { LIMITS, list, stopText } from "../../http/limits.ts"
import { integer, notYet } from "../openai/generation-schema.ts"
import {
  answerToolUse,
  cacheControl,
  checkMessageTools,
  messageToolFields,
  textBlock,
  toolResultBlock,
  toolUseBlock,
} from "./tools-schema.ts"

const system = z
  .union([z.string(), list(textBlock, LIMITS.parts)], { error: "expected a text or a list of text blocks" })
  .describe("The system prompt: a text, or text blocks, which are joined.")

const thinkingBlock = z
  .strictObject({ type: z.literal("thinking"), thinking: z.string(), signature: z.string().optional() })
  .describe("The thinking of an earlier answer, unchanged.")
const userBlock = z.discriminatedUnion("type", [textBlock, toolResultBlock], {
  error: (issue) => `${blockType(issue.input)} blocks are not supported here; text and tool_result are`,
})
const assistantBlock = z.discriminatedUnion("type", [textBlock, thinkingBlock, toolUseBlock], {
  error: (issue) => `${blockType(issue.input)} blocks are not supported here; text, thinking and tool_use are`,
})
const blockType = (input: unknown): string =>
  typeof input === "object" && input !== null && "type" in input ? JSON.stringify(input.type) : "such"

const CONTENT_ERROR = { error: "expected a text or a list of blocks" }
const message = z.discriminatedUnion(
  "role",
  [
    z.strictObject({
      role: z.literal("user"),
      content: z.union([z.string(), list(userBlock, LIMITS.parts, 1)], CONTENT_ERROR),
    }),
    z.strictObject({
      role: z.literal("assistant"),
      content: z.union([z.string(), list(assistantBlock, LIMITS.parts, 1)], CONTENT_ERROR),
    }),
    z.strictObject({ role: z.literal("system"), content: system }),
  ],
  { error: "expected a message whose role is user, assistant or system" },
)

/** The fields that make up a prompt, whose tokens can be counted. */
const promptFields = {
  model: modelName,
  messages: list(message, LIMITS.messages, 1).describe(
    "If the last message is the assistant's, the answer continues it.",
  ),
  system: system.nullish(),
  cache_control: cacheControl,
  ...messageToolFields,
  thinking: z
    .strictObject({
      type: z.enum(["adaptive", "disabled"], {
        error: (issue) =>
          issue.input === "enabled"
            ? "a budget for thinking is not supported yet; use adaptive, with which the model decides"
            : "expected adaptive or disabled",
      }),
      budget_tokens: notYet("a budget for thinking is"),
      display: z.enum(["summarized", "omitted"]).nullish(),
    })
    .refine(({ display }) => display !== "omitted", {
      path: ["display"],
      error: "thinking is always sent; leave the field out",
      params: { code: "unsupported_parameter" },
    })
    .nullish()
    .describe(
      "adaptive (default): models that think do so, in blocks of their own; disabled: turns thinking off, if the model has a switch for it.",
    ),
  output_config: z
    .strictObject({
      effort: z
        .enum(["low", "medium", "high", "xhigh", "max"])
        .nullish()
        .describe("For models whose chat template has a switch for thinking."),
      format: notYet("an output format is"),
    })
    .nullish(),
  mcp_servers: notYet("calling MCP servers is", (value) => Array.isArray(value) && value.length === 0),
  context_management: notYet("context management is"),
}

const request = z.strictObject({
  ...promptFields,
  max_tokens: integer(1, 2 ** 31 - 1).describe("If the rest of the context is less, that is the limit."),
  stop_sequences: list(stopText, LIMITS.stops)
    .nullish()
    .describe("Up to 16 texts that end the answer; they are not part of it."),
  temperature: z.number().min(0).max(2).nullish().describe("0 is greedy. Default 1."),
  top_p: z.number().min(0).max(1).nullish().describe("Default 1 (off)."),
  top_k: integer(0, 2 ** 31 - 1)
    .nullish()
    .describe("Default 0 (off)."),
  metadata: z.strictObject({ user_id: z.string().nullish() }).nullish().describe("Accepted and ignored."),
  service_tier: z.enum(["auto", "standard_only"]).nullish().describe("Accepted and ignored."),
  stream: z.boolean().nullish().describe("Send the answer as server-sent events, from message_start to message_stop."),
  container: notYet("a container is"),
})
export const messagesRequest = request.superRefine(checkMessageTools)
export type MessagesRequest = z.output<typeof messagesRequest>
export type MessageParam = MessagesRequest["messages"][number]

export const countTokensRequest = z.strictObject(promptFields).superRefine(checkMessageTools)
export type CountTokensRequest = z.output<typeof countTokensRequest>
export const countTokensResponse = z.object({ input_tokens: z.int() })

const usage = z.object({
  input_tokens: z.int().describe("Tokens of the prompt that were not in the cache."),
  output_tokens: z.int(),
  cache_creation_input_tokens: z.int(),
  cache_read_input_tokens: z.int().describe("Tokens of the prompt that were in the cache."),
  cache_creation: z.null(),
  inference_geo: z.null(),
  output_tokens_details: z
    .object({ thinking_tokens: z.int() })
    .nullable()
    .describe("null for models that do not think."),
  server_tool_use: z.null(),
  service_tier: z.literal("standard"),
  speed: z.null(),
})
export type MessageUsage = z.output<typeof usage>

const answerText = z.object({ type: z.literal("text"), text: z.string(), citations: z.null() })
const answerThinking = z.object({
  type: z.literal("thinking"),
  thinking: z.string(),
  signature: z.string().describe("Always empty: thinking is not signed."),
})
const answerBlock = z.discriminatedUnion("type", [answerThinking, answerText, answerToolUse])
export type AnswerBlock = z.output<typeof answerBlock>
const stopReason = z.enum(["end_turn", "tool_use", "max_tokens", "stop_sequence", "model_context_window_exceeded"])
export type StopReason = z.output<typeof stopReason>

export const messagesResponse = z.object({
  id: z.string(),
  type: z.literal("message"),
  role: z.literal("assistant"),
  model: z.string(),
  content: z.array(answerBlock),
  stop_reason: stopReason.nullable().describe("null only in message_start."),
  stop_sequence: z.string().nullable().describe("The stop sequence that ended the answer."),
  stop_details: z.null(),
  container: z.null(),
  diagnostics: z.null(),
  usage,
})
export type MessagesResponse = z.output<typeof messagesResponse>

export const messageError = z.object({
  type: z.literal("error"),
  error: z.object({
    type: z.enum([
      "invalid_request_error",
      "authentication_error",
      "permission_error",
      "not_found_error",
      "request_too_large",
      "rate_limit_error",
      "timeout_error",
      "api_error",
      "overloaded_error",
    ]),
    message: z.string(),
  }),
})
export type MessageError = z.output<typeof messageError>

const delta = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text_delta"), text: z.string() }),
  z.object({ type: z.literal("thinking_delta"), thinking: z.string() }),
  z.object({ type: z.literal("input_json_delta"), partial_json: z.string() }),
])
/** One event of a stream; its `event:` line repeats its type. */
export const messageEvent = z.discriminatedUnion("type", [
  z.object({ type: z.literal("message_start"), message: messagesResponse }),
  z.object({ type: z.literal("content_block_start"), index: z.int(), content_block: answerBlock }),
  z.object({ type: z.literal("ping") }),
  z.object({ type: z.literal("content_block_delta"), index: z.int(), delta }),
  z.object({ type: z.literal("content_block_stop"), index: z.int() }),
  z.object({
    type: z.literal("message_delta"),
    delta: z.object({
      stop_reason: stopReason,
      stop_sequence: z.string().nullable(),
      stop_details: z.null(),
      container: z.null(),
    }),
    usage: usage.pick({
      input_tokens: true,
      output_tokens: true,
      cache_creation_input_tokens: true,
      cache_read_input_tokens: true,
      output_tokens_details: true,
      server_tool_use: true,
    }),
  }),
  z.object({ type: z.literal("message_stop") }),
  messageError,
])
export type MessageEvent = z.output<typeof messageEvent>
