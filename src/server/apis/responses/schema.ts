/** `/v1/responses`: requests, responses, lists of their input, and the events of their streams. */

import { z } from "zod"
import { noEffect, noteIgnored, openObject } from "../../http/lenient.ts"
import { LIMITS, list, metadata } from "../../http/limits.ts"
import { integer, notYet, samplingFields } from "../openai/generation-schema.ts"
import { checkResponseFormat, formatBody, responseFormat, responseFormatFields } from "./format-schema.ts"
import { inputItem, outputItem, outputLogprobs, outputText, reasoningPart, storedItem } from "./items-schema.ts"
import { checkResponseTools } from "./tools.ts"
import { responseToolFields, toolBody, toolChoiceBody } from "./tools-schema.ts"

const { n: _n, stream: _stream, stream_options: _options, ...sampling } = samplingFields

const SERVICE = "is about OpenAI's own service"

const efforts = z.enum(["none", "minimal", "low", "medium", "high", "xhigh", "max"])

export const LOGPROBS = "message.output_text.logprobs"
export const SEALED_REASONING = "reasoning.encrypted_content"
/** Values of `include` that have an effect. */
const INCLUDABLE: readonly string[] = [LOGPROBS, SEALED_REASONING]
export const includes = list(
  z.string().check(({ value }) => {
    if (!INCLUDABLE.includes(value)) noteIgnored(`include=${value}`, false)
  }),
  LIMITS.includes,
)

/** The fields that make up a prompt, whose tokens can be counted. */
const promptFields = {
  model: sampling.model,
  input: z
    .union([z.string().min(1), list(inputItem, LIMITS.messages, 1)], { error: "expected a text or a list of items" })
    .describe("A user's message, or a list of messages and of items of earlier responses."),
  instructions: z
    .string()
    .nullish()
    .describe(
      "A system message before everything else. It applies to this response only, and not to those that continue it.",
    ),
  previous_response_id: z
    .string()
    .nullish()
    .describe("Continue a stored response: its input and output, and those of all responses before it, come first."),
  truncation: z
    .enum(["auto", "disabled"])
    .nullish()
    .describe(
      "auto: the oldest turns are left out until the prompt leaves room for max_output_tokens, by default an eighth of the context. " +
        "disabled (default): a prompt that is too long is refused.",
    ),
  text: openObject("text", {
    format: responseFormat,
    verbosity: noEffect("asks for a short or a long text"),
  }).nullish(),
  reasoning: openObject("reasoning", {
    effort: efforts.nullish().describe("For models whose chat template has a switch for thinking. Ignored by others."),
    summary: noEffect("asks for a summary of the reasoning, which is there in full"),
    generate_summary: noEffect("asks for a summary of the reasoning, which is there in full"),
    context: noEffect("is about reasoning of earlier turns, which the chat template decides"),
    mode: noEffect(SERVICE),
  }).nullish(),
  ...responseToolFields,
  conversation: notYet("a conversation object is"),
}

export const responseRequest = openObject("", {
  ...sampling,
  ...promptFields,
  ...responseFormatFields,
  max_output_tokens: integer(1, 2 ** 31 - 1)
    .nullish()
    .describe("Includes reasoning tokens. Default: the rest of the context after the prompt."),
  store: z
    .boolean()
    .nullish()
    .describe("Store the response, so that it can be retrieved and continued with the same API key. Default true."),
  background: z
    .boolean()
    .nullish()
    .describe(
      "Answer at once, and generate in the background. Retrieve the response until it has ended. Requires store.",
    ),
  metadata: metadata.nullish().describe(`Up to ${LIMITS.metadata} pairs, stored with the response.`),
  stream: z
    .boolean()
    .nullish()
    .describe(
      "Send the response as server-sent events while it is generated. A background response goes on if its stream is closed.",
    ),
  stream_options: openObject("stream_options", {
    include_obfuscation: noEffect("hides the lengths of tokens from observers of the network"),
  }).nullish(),
  top_logprobs: integer(0, 20)
    .nullish()
    .describe("Number of alternatives for every token, if `include` asks for log-probabilities."),
  include: includes
    .nullish()
    .describe(
      `\`${LOGPROBS}\`: every token's log-probability. \`${SEALED_REASONING}\`: reasoning also as a text that clients send back unread. Others are ignored.`,
    ),
  max_tool_calls: noEffect("limits tools that run at OpenAI's service"),
  context_management: noEffect("asks to compact long conversations, which this server never does"),
  prompt: notYet("a stored prompt is"),
  moderation: notYet("moderation is"),
  client_metadata: noEffect("describes the sender"),
  prompt_cache_options: noEffect("is about what is cached, which are common prefixes here"),
  prompt_cache_key: noEffect("routes a request to a cache, and this server has one"),
  prompt_cache_retention: noEffect("says how long prompts are cached, which memory decides here"),
  service_tier: noEffect(SERVICE),
  safety_identifier: noEffect(SERVICE),
  user: noEffect("names the sender's user"),
})
  .superRefine(checkResponseTools)
  .superRefine(checkResponseFormat)
  .refine(({ background, store }) => !background || store !== false, {
    path: ["store"],
    error: "a background response must be stored, or it could not be retrieved",
  })
export type ResponseRequest = z.output<typeof responseRequest>

export const responseSchema = z.object({
  id: z.string(),
  object: z.literal("response"),
  created_at: z.int().describe("Unix time in seconds."),
  completed_at: z.int().nullable().describe("When the response ended, successfully or not."),
  status: z
    .enum(["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"])
    .describe("incomplete: `incomplete_details` says why. cancelled: on request, or because the client disconnected."),
  error: z
    .object({ code: z.enum(["server_error", "rate_limit_exceeded", "invalid_prompt"]), message: z.string() })
    .nullable(),
  incomplete_details: z.object({ reason: z.enum(["max_output_tokens"]) }).nullable(),
  model: z.string(),
  output: z.array(outputItem),
  usage: z
    .object({
      input_tokens: z.int(),
      input_tokens_details: z.object({ cached_tokens: z.int(), cache_write_tokens: z.int() }),
      output_tokens: z.int(),
      output_tokens_details: z.object({ reasoning_tokens: z.int() }),
      total_tokens: z.int(),
    })
    .optional()
    .describe("Only if the status is completed or incomplete."),
  instructions: z.string().nullable(),
  previous_response_id: z.string().nullable(),
  max_output_tokens: z.int().nullable(),
  metadata: z.record(z.string(), z.string()),
  temperature: z.number(),
  top_p: z.number(),
  top_logprobs: z.int(),
  store: z.boolean(),
  background: z.boolean(),
  parallel_tool_calls: z.boolean(),
  tools: z.array(toolBody),
  tool_choice: toolChoiceBody,
  truncation: z.enum(["auto", "disabled"]),
  text: z.object({ format: formatBody }),
  reasoning: z.object({ effort: efforts.nullable(), summary: z.null() }),
})
export type ResponseBody = z.output<typeof responseSchema>

export const inputTokensRequest = openObject("", promptFields).superRefine(checkResponseTools)
export const inputTokensResponse = z.object({ object: z.literal("response.input_tokens"), input_tokens: z.int() })

export const responseDeleted = z.object({ id: z.string(), object: z.literal("response"), deleted: z.literal(true) })

export const itemList = z.object({
  object: z.literal("list"),
  data: z.array(storedItem),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})

const sequence_number = z.int().describe("Counts the events, from 0.")
const ofResponse = <T extends string>(...types: T[]) =>
  z.object({ type: z.enum(types), sequence_number, response: responseSchema })
const ofItem = <T extends string>(type: T) =>
  z.object({ type: z.literal(type), sequence_number, output_index: z.int(), item: outputItem })
const inItem = { sequence_number, output_index: z.int(), item_id: z.string() }
const inPart = { ...inItem, content_index: z.int() }
const part = z.union([outputText, reasoningPart])

/** One event of a response's stream. */
export const responseEvent = z.discriminatedUnion("type", [
  ofResponse("response.created", "response.queued", "response.in_progress"),
  ofItem("response.output_item.added"),
  z.object({ type: z.literal("response.content_part.added"), ...inPart, part }),
  z.object({ type: z.literal("response.output_text.delta"), ...inPart, delta: z.string(), logprobs: outputLogprobs }),
  z.object({ type: z.literal("response.output_text.done"), ...inPart, text: z.string(), logprobs: outputLogprobs }),
  z.object({ type: z.literal("response.reasoning_text.delta"), ...inPart, delta: z.string() }),
  z.object({ type: z.literal("response.reasoning_text.done"), ...inPart, text: z.string() }),
  z.object({ type: z.literal("response.content_part.done"), ...inPart, part }),
  z.object({ type: z.literal("response.function_call_arguments.delta"), ...inItem, delta: z.string() }),
  z.object({
    type: z.literal("response.function_call_arguments.done"),
    ...inItem,
    name: z.string(),
    arguments: z.string(),
  }),
  z.object({ type: z.literal("response.custom_tool_call_input.delta"), ...inItem, delta: z.string() }),
  z.object({ type: z.literal("response.custom_tool_call_input.done"), ...inItem, input: z.string() }),
  ofItem("response.output_item.done"),
  ofResponse("response.completed", "response.incomplete", "response.failed"),
])
export type ResponseEvent = z.output<typeof responseEvent>
