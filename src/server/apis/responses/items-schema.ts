/** The items of a response's input and output in the Responses API's form: messages, reasoning, and calls of functions. */

import { z } from "zod"
import { LIMITS, list } from "../../http/limits.ts"
import { functionName } from "../openai/tools-schema.ts"

const id = z.string().min(1).max(128)
const status = z.enum(["in_progress", "completed", "incomplete"])
const unused = z.array(z.unknown()).nullish().describe("Accepted and ignored.")
const parsed = z
  .unknown()
  .optional()
  .describe("Accepted and ignored: OpenAI's client adds it to the items that it reads.")
const typeOf = (input: unknown): string => {
  const type = typeof input === "object" && input !== null && "type" in input ? input.type : undefined
  return type === undefined ? "this" : `${JSON.stringify(type)}`
}

const inputText = z.strictObject({
  type: z.literal("input_text"),
  text: z.string(),
  prompt_cache_breakpoint: z
    .unknown()
    .optional()
    .describe("Accepted and ignored: common prefixes are found without it."),
})
const textPart = z.discriminatedUnion(
  "type",
  [
    inputText,
    z.strictObject({ type: z.literal("output_text"), text: z.string(), annotations: unused, logprobs: unused, parsed }),
    z.strictObject({ type: z.literal("refusal"), refusal: z.string() }),
  ],
  { error: (issue) => `${typeOf(issue.input)} is not supported; only input_text, output_text and refusal are` },
)
const CONTENT_ERROR = { error: "expected a text or a list of text parts" }

const ROLES = ["user", "assistant", "system", "developer"] as const
const message = z.strictObject({
  type: z.literal("message").optional(),
  role: z
    .enum(ROLES, {
      error: (issue) => `${JSON.stringify(issue.input)} is not a supported role; use ${ROLES.join(", ")}`,
    })
    .describe("`developer` means `system`."),
  content: z
    .union([z.string(), list(textPart, LIMITS.parts)], CONTENT_ERROR)
    .describe("Text, or text parts, which are joined."),
  id: id.optional(),
  status: status.optional(),
  phase: z.enum(["commentary", "final_answer"]).nullish().describe("Accepted and ignored."),
})

const reasoningText = z.strictObject({ type: z.literal("reasoning_text"), text: z.string() })
const summaryText = z.strictObject({ type: z.literal("summary_text"), text: z.string() })
const reasoning = z.strictObject({
  type: z.literal("reasoning"),
  id: id.optional(),
  summary: list(summaryText, LIMITS.parts).optional().describe("Used if there is no content."),
  content: list(reasoningText, LIMITS.parts).nullish(),
  encrypted_content: z
    .null({ error: "this server cannot decrypt it; leave the field out" })
    .optional()
    .describe("Refused: this server's reasoning is plain text, in `content`."),
  status: status.nullish(),
})

const functionCall = z.strictObject({
  type: z.literal("function_call"),
  id: id.optional(),
  call_id: id,
  name: functionName,
  arguments: z.string().describe("JSON."),
  parsed_arguments: parsed,
  status: status.nullish(),
})

const functionOutput = z.strictObject({
  type: z.literal("function_call_output"),
  id: id.nullish(),
  call_id: id.describe("The call whose result this is."),
  output: z.union([z.string(), list(inputText, LIMITS.parts)], CONTENT_ERROR),
  status: status.nullish(),
})

const reference = z.strictObject({
  type: z.literal("item_reference"),
  id: id.describe("The id of an item in a stored response's input or output."),
})

export const inputItem = z
  .discriminatedUnion("type", [message, reasoning, functionCall, functionOutput, reference], {
    error: (issue) =>
      `${typeOf(issue.input)} is not supported; use message, reasoning, function_call, function_call_output or item_reference`,
  })
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
})

const outputCall = z.object({
  type: z.literal("function_call"),
  id: z.string(),
  status,
  call_id: z.string().describe("The call_id of the item with the call's result."),
  name: z.string(),
  arguments: z.string().describe("JSON; cut off if the response is incomplete."),
})

export const outputItem = z.discriminatedUnion("type", [outputMessage, outputReasoning, outputCall])
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
  z.object({
    type: z.literal("function_call_output"),
    id: z.string(),
    status,
    call_id: z.string(),
    output: z.string(),
  }),
])
export type StoredItem = z.output<typeof storedItem>
