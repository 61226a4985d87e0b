/** The items of a response's input and output in the Responses API's form: messages, reasoning, and calls of tools. */

import { z } from "zod"
import { noEffect, noteIgnored, openObject } from "../../http/lenient.ts"
import { jsonObject, LIMITS, list } from "../../http/limits.ts"
import { tool } from "./tools-schema.ts"

const ITEM = "input[]"
const status = z.enum(["in_progress", "completed", "incomplete"])
const typeOf = (input: unknown): string => {
  const type = typeof input === "object" && input !== null && "type" in input ? input.type : undefined
  return type === undefined ? "this" : `${JSON.stringify(type)}`
}

const id = z.string().min(1).max(256)
const anyStatus = z.string().nullish().describe("Anything but incomplete and in_progress counts as completed.")
/** Fields of every item. */
const common = {
  id: z.string().max(256).nullish(),
  status: anyStatus,
  created_by: noEffect("says who made an item"),
  caller: noEffect("says who called a tool, which is always the model here"),
}
const parsed = noEffect("is what OpenAI's client made of a text")

const part = <T extends string>(type: T) =>
  openObject(`${ITEM}.content[]`, {
    type: z.literal(type),
    text: z.string(),
    annotations: noEffect("describes the sources of a text"),
    logprobs: noEffect("describes the tokens of a text"),
    parsed,
    prompt_cache_breakpoint: noEffect("marks a prefix to cache, and common prefixes are cached without it"),
  })
const textPart = z.discriminatedUnion(
  "type",
  [
    part("input_text"),
    part("output_text"),
    part("text"),
    openObject(`${ITEM}.content[]`, { type: z.literal("refusal"), refusal: z.string() }),
  ],
  { error: (issue) => `${typeOf(issue.input)} is not supported; only input_text, output_text and refusal are` },
)
/** An image in a tool's output. An agent that has read one could not go on if it were refused, so the model is told of it. */
const outputImage = openObject(`${ITEM}.output[]`, {
  type: z.literal("input_image"),
  image_url: noEffect("is an image in a tool's output, which the model is told that it cannot see"),
  file_id: noEffect("is an image in a tool's output, which the model is told that it cannot see"),
  detail: noEffect("is about images"),
})

const CONTENT_ERROR = { error: "expected a text or a list of text parts" }
const texts = z.union([z.string(), list(textPart, LIMITS.parts)], CONTENT_ERROR)

const ROLES = ["user", "assistant", "system", "developer"] as const
const message = openObject(ITEM, {
  type: z.literal("message").optional(),
  role: z
    .enum(ROLES, {
      error: (issue) => `${JSON.stringify(issue.input)} is not a supported role; use ${ROLES.join(", ")}`,
    })
    .describe("`developer` means `system`."),
  content: texts.describe("Text, or text parts, which are joined."),
  phase: noEffect("tells comments from the final answer"),
  ...common,
})

const reasoningText = openObject(`${ITEM}.content[]`, { type: z.enum(["reasoning_text", "text"]), text: z.string() })
const summaryText = openObject(`${ITEM}.summary[]`, { type: z.literal("summary_text"), text: z.string() })
const reasoning = openObject(ITEM, {
  type: z.literal("reasoning"),
  summary: list(summaryText, LIMITS.parts).nullish().describe("Used if there is no content."),
  content: list(reasoningText, LIMITS.parts).nullish(),
  encrypted_content: z.string().nullish().describe("Used if there is no content, and this server made it."),
  ...common,
})

const namespace = z.string().nullish().describe("The namespace of the tool.")
const toolName = z.string().min(1).max(256)

const functionCall = openObject(ITEM, {
  type: z.literal("function_call"),
  call_id: id,
  name: toolName,
  namespace,
  arguments: z.string().describe("JSON."),
  parsed_arguments: parsed,
  ...common,
})

const customCall = openObject(ITEM, {
  type: z.literal("custom_tool_call"),
  call_id: id,
  name: toolName,
  namespace,
  input: z.string(),
  ...common,
})

/** A call of a tool of OpenAI's own that the client runs. The model sees it as a call of a function. */
const clientCall = openObject(ITEM, {
  type: z.enum(["local_shell_call", "shell_call", "apply_patch_call"]),
  call_id: z.string().max(256).nullish(),
  action: jsonObject.nullish(),
  operation: jsonObject.nullish(),
  environment: noEffect("says where a command ran"),
  ...common,
})

const output = openObject(`${ITEM}.output`, {
  type: z.enum(["function_call_output", "custom_tool_call_output"]),
  call_id: id.describe("The call whose result this is."),
  output: z.union([z.string(), list(z.union([textPart, outputImage]), LIMITS.parts)], CONTENT_ERROR),
  name: noEffect("repeats the name of the call"),
  ...common,
})

const clientOutput = openObject(ITEM, {
  type: z.enum(["local_shell_call_output", "shell_call_output", "apply_patch_call_output"]),
  call_id: z.string().max(256).nullish(),
  output: z.union([z.string(), list(jsonObject, LIMITS.parts)]).nullish(),
  max_output_length: noEffect("is a limit that the client has applied"),
  ...common,
})

const reference = openObject(ITEM, {
  type: z.literal("item_reference"),
  id: id.describe("The id of an item in a stored response's input or output."),
})

/** Tools that a client adds to those of the request, as an agent does that has searched for some. */
const addedTools = openObject(`${ITEM}.tools`, {
  type: z.enum(["additional_tools", "tool_search_output"]),
  tools: list(tool, LIMITS.tools),
  role: noEffect("says who adds tools"),
  call_id: noEffect("is about a search for tools, which the model does not make"),
  execution: noEffect("says where tools were searched for"),
  ...common,
}).describe("Further tools that the response may call.")

/** Items of tools that run at OpenAI's service, and notes of clients. */
const HOSTED =
  /^((web_search|file_search|computer|code_interpreter|image_generation|mcp|tool_search)_call(_output)?|mcp_\w+|(context_)?compaction(_\w+)?|ghost_snapshot|program(_output)?)$/
const hosted = z
  .looseObject({ type: z.string().regex(HOSTED) })
  .transform(({ type }) => {
    noteIgnored(`${ITEM}.type=${type}`, false)
    return { type: "hosted" as const }
  })
  .describe("An item of a tool that ran at OpenAI's service. Left out of the prompt.")

const KNOWN = [
  message,
  reasoning,
  functionCall,
  customCall,
  clientCall,
  output,
  clientOutput,
  addedTools,
  reference,
] as const
export const inputItem = z
  .union([
    z.discriminatedUnion("type", KNOWN, {
      error: (issue) =>
        `${typeOf(issue.input)} is not supported; use message, reasoning, function_call, function_call_output, custom_tool_call, custom_tool_call_output or item_reference`,
    }),
    hosted,
  ])
  .describe("A message, or an item of an earlier response's output.")
export type InputItem = z.output<typeof inputItem>
export type ItemReference = z.output<typeof reference>

const logprob = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()) })
export const outputLogprobs = z.array(logprob.extend({ top_logprobs: z.array(logprob) }))
export type OutputLogprobs = z.output<typeof outputLogprobs>

export const outputText = z.object({
  type: z.literal("output_text"),
  text: z.string(),
  annotations: z.array(z.never()),
  logprobs: outputLogprobs.optional().describe("Only if `include` asks for them."),
})

const outputMessage = z.object({
  type: z.literal("message"),
  id: z.string(),
  status,
  role: z.literal("assistant"),
  content: z.array(outputText),
})

export const reasoningPart = z.object({ type: z.literal("reasoning_text"), text: z.string() })
const outputReasoning = z.object({
  type: z.literal("reasoning"),
  id: z.string(),
  status,
  summary: z.array(z.object({ type: z.literal("summary_text"), text: z.string() })),
  content: z.array(reasoningPart),
  encrypted_content: z
    .string()
    .optional()
    .describe("The same content in a form that clients send back unread. Only if `include` asks for it."),
})

const outputCall = z.object({
  type: z.literal("function_call"),
  id: z.string(),
  status,
  call_id: z.string().describe("The call_id of the item with the call's result."),
  name: z.string(),
  namespace: z.string().optional().describe("The namespace of the tool, if it has one."),
  arguments: z.string().describe("JSON; cut off if the response is incomplete."),
})

const outputCustomCall = outputCall
  .omit({ arguments: true })
  .extend({ type: z.literal("custom_tool_call"), input: z.string() })

export const outputItem = z.discriminatedUnion("type", [outputMessage, outputReasoning, outputCall, outputCustomCall])
export type OutputItem = z.output<typeof outputItem>

/** An item of the input as it is stored, and as `/input_items` lists it. */
export const storedItem = z.union([
  outputMessage,
  z.object({
    type: z.literal("message"),
    id: z.string(),
    status,
    role: z.enum(["user", "system", "developer"]),
    content: z.array(z.object({ type: z.literal("input_text"), text: z.string() })),
  }),
  outputReasoning,
  outputCall,
  outputCustomCall,
  z.object({
    type: z.enum(["function_call_output", "custom_tool_call_output"]),
    id: z.string(),
    status,
    call_id: z.string(),
    output: z.string(),
  }),
])
export type StoredItem = z.output<typeof storedItem>
