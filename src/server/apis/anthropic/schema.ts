/** `POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's requests, responses and stream events. */

import { z } from "zod"
import { modelName, noEffect, openObject } from "../../http/lenient.ts"
import { boundedSchema, LIMITS, list } from "../../http/limits.ts"
import { integer, notYet } from "../openai/generation-schema.ts"
import { cacheControl, message, system } from "./blocks-schema.ts"
import { appliedEdit, contextManagement } from "./context-schema.ts"
import { answerToolUse, checkMessageTools, messageToolFields } from "./tools-schema.ts"

const SERVICE = "is about Anthropic's own service"
const binding = noEffect("is about how thinking is signed, and it is not signed here")

const display = z
  .enum(["summarized", "omitted", "updates"])
  .nullish()
  .describe("omitted: thinking blocks are empty. Otherwise all of the thinking is sent.")

const thinking = z
  .discriminatedUnion(
    "type",
    [
      openObject("thinking", { type: z.enum(["adaptive", "between_tools"]), display, block_binding: binding }),
      openObject("thinking", {
        type: z.literal("enabled"),
        budget_tokens: integer(0, 2 ** 31 - 1)
          .nullish()
          .describe("Thinking ends after so many tokens. 0 and default: no limit."),
        display,
        block_binding: binding,
      }),
      openObject("thinking", { type: z.literal("disabled") }),
    ],
    { error: "expected a type: adaptive, enabled or disabled" },
  )
  .nullish()
  .describe(
    "adaptive (default): models that think do so, in blocks of their own; enabled, disabled: turns thinking on or off, if the model has a switch for it.",
  )

const outputFormat = openObject("output_config.format", {
  type: z.literal("json_schema"),
  schema: boundedSchema.describe(
    "A JSON Schema, draft 2020-12. A schema with an unsupported keyword is refused; the error names the keyword.",
  ),
})
  .nullish()
  .describe("The form of the text.")

/** The fields that make up a prompt, whose tokens can be counted. */
const promptFields = {
  model: modelName,
  messages: list(message, LIMITS.messages, 1).describe(
    "If the last message is the assistant's, the answer continues it.",
  ),
  system: system.nullish(),
  cache_control: cacheControl,
  ...messageToolFields,
  thinking,
  output_config: openObject("output_config", {
    effort: z
      .enum(["low", "medium", "high", "xhigh", "max"])
      .nullish()
      .describe("For models whose chat template has a switch for thinking. Ignored by others."),
    format: outputFormat,
    task_budget: noEffect("tells the model of a budget for several requests"),
  }).nullish(),
  output_format: outputFormat.describe("The older name of output_config.format."),
  context_management: contextManagement,
  mcp_servers: notYet("calling MCP servers is", (value) => Array.isArray(value) && value.length === 0),
  thread: notYet("a stored thread is"),
  betas: noEffect("names parts of Anthropic's API, which are all there or not there"),
  compaction: noEffect("summarizes long conversations, and this server never does"),
  speed: noEffect(SERVICE),
}

const request = openObject("", {
  ...promptFields,
  max_tokens: integer(1, 2 ** 31 - 1).describe("If the rest of the context is less, that is the limit."),
  stop_sequences: list(z.string().max(LIMITS.stopLength), LIMITS.stops)
    .nullish()
    .describe(`Up to ${LIMITS.stops} texts that end the answer; they are not part of it. Empty ones say nothing.`),
  temperature: z.number().min(0).max(2).nullish().describe("0 is greedy. Default 1."),
  top_p: z.number().min(0).max(1).nullish().describe("Default 1 (off)."),
  top_k: integer(0, 2 ** 31 - 1)
    .nullish()
    .describe("Default 0 (off)."),
  stream: z.boolean().nullish().describe("Send the answer as server-sent events, from message_start to message_stop."),
  metadata: noEffect("describes the sender"),
  service_tier: noEffect(SERVICE),
  inference_geo: noEffect(SERVICE),
  container: noEffect("is for tools that run at Anthropic's service"),
  diagnostics: noEffect(SERVICE),
  fallbacks: noEffect("names models to use when Anthropic's refuse to answer"),
  fallback_credit_token: noEffect(SERVICE),
  billing_policy: noEffect(SERVICE),
  user_profile_id: noEffect(SERVICE),
  workspace_id: noEffect(SERVICE),
})
export const messagesRequest = request.superRefine(checkMessageTools)
export type MessagesRequest = z.output<typeof messagesRequest>

export const countTokensRequest = openObject("", promptFields).superRefine(checkMessageTools)
export type CountTokensRequest = z.output<typeof countTokensRequest>
export const countTokensResponse = z.object({
  input_tokens: z.int(),
  context_management: z
    .object({ original_input_tokens: z.int().describe("Tokens before the edits.") })
    .optional()
    .describe("Only if the request has context_management."),
})

const contextManagementBody = z
  .object({ applied_edits: z.array(appliedEdit) })
  .optional()
  .describe("Only if the request has context_management.")

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

/** Some clients do not accept `null` as citations, and others need the field. */
const citations = z.array(z.never()).describe("Always empty.")
const answerText = z.object({ type: z.literal("text"), text: z.string(), citations })
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
  context_management: contextManagementBody,
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
  request_id: z.string().nullable().describe("As in the header x-request-id."),
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
    context_management: contextManagementBody,
  }),
  z.object({ type: z.literal("message_stop") }),
  messageError,
])
export type MessageEvent = z.output<typeof messageEvent>
