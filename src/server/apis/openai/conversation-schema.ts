/** The fields of a conversation in chat completions. */

import { z } from "zod"
import { noEffect, openObject } from "../../http/lenient.ts"
import { jsonObject, LIMITS, list, variables } from "../../http/limits.ts"
import { notYet } from "./generation-schema.ts"

const PART = "messages[].content[]"
const cached = { cache_control: noEffect("marks what is to be cached, which is decided without it") }
const text = z.string()

/** Parts of a message. Clients send back those that other APIs answered with, too. */
const part = z.discriminatedUnion(
  "type",
  [
    openObject(PART, { type: z.enum(["text", "input_text", "output_text"]), text, ...cached }),
    openObject(PART, { type: z.literal("refusal"), refusal: text }),
    openObject(PART, {
      type: z.enum(["thinking", "reasoning"]),
      thinking: z
        .union([text, list(openObject(`${PART}.thinking[]`, { text: text.nullish() }), LIMITS.parts)])
        .nullish()
        .describe("The assistant's reasoning, as reasoning_content."),
      text: text.nullish(),
    }),
    openObject(PART, { type: z.literal("redacted_thinking") }),
  ],
  {
    error: (issue) => {
      const { type } = (issue.input ?? {}) as { type?: unknown }
      return `${JSON.stringify(type)} is not supported yet; only text parts are`
    },
  },
)
export type MessagePart = z.output<typeof part>

/** A call's arguments as JSON, or as the object itself. */
const callArguments = z.union([text, jsonObject]).nullish().describe("JSON.")
const calledFunction = openObject("messages[].tool_calls[].function", {
  name: text.min(1),
  arguments: callArguments,
  parsed_arguments: noEffect("repeats the arguments"),
})

const toolCall = openObject("messages[].tool_calls[]", {
  id: text.nullish(),
  type: z.enum(["function", "custom"]).nullish(),
  function: calledFunction.nullish(),
  custom: openObject("messages[].tool_calls[].custom", { name: text.min(1), input: text }).nullish(),
  index: noEffect("counts the calls, whose order says the same"),
}).refine((call) => Boolean(call.type === "custom" ? call.custom : call.function), {
  error: "a call needs a function with its name and arguments, or as a custom call its name and input",
})

const ROLES = ["system", "developer", "user", "assistant", "tool", "function"] as const

const required = { code: "missing_required_parameter" }

export const message = openObject("messages[]", {
  role: z
    .enum(ROLES, {
      error: (issue) => `${JSON.stringify(issue.input)} is not a supported role; use ${ROLES.join(", ")}`,
    })
    .describe("`developer` means `system`, and `function` is the older name of `tool`."),
  content: z
    .union([text, list(part, LIMITS.parts)], { error: "expected a text or a list of text parts" })
    .nullish()
    .describe("Text, or text parts, which are joined. May be null in an assistant's or a tool's message."),
  name: text.nullish().describe("Passed to the chat template, which may ignore it."),
  reasoning_content: text
    .nullish()
    .describe("The assistant's reasoning before its answer. The chat template decides how much of it the model sees."),
  reasoning: text.nullish().describe("Another name of reasoning_content."),
  tool_calls: list(toolCall, LIMITS.tools).nullish().describe("Calls of tools that the assistant made."),
  tool_call_id: text
    .nullish()
    .describe("The id of the call that a tool's message answers. Default: the first one without an answer."),
  refusal: text.nullish().describe("The assistant's message, if it has no content."),
  function_call: openObject("messages[].function_call", { name: text.min(1), arguments: callArguments })
    .nullish()
    .describe("The older form of a call of a tool."),
  audio: notYet("audio is"),
  annotations: noEffect("describes the sources of an answer"),
  parsed: noEffect("repeats the content"),
  provider_specific_fields: noEffect("is the client's own"),
  reasoning_details: noEffect("repeats the reasoning"),
  ...cached,
}).superRefine((body, { addIssue }) => {
  const refuse = (field: keyof typeof body, error: string, params?: object) =>
    addIssue({ code: "custom", path: [field], message: error, input: body[field], params })
  const { role } = body
  const hasContent = body.content !== undefined && body.content !== null
  if (!hasContent && role !== "assistant" && role !== "tool" && role !== "function")
    refuse("content", `is required in a ${role} message`, required)
  if (role !== "assistant" && (body.tool_calls?.length || body.function_call))
    refuse(body.function_call ? "function_call" : "tool_calls", `is not allowed in a ${role} message`)
})
export type ChatMessageBody = z.output<typeof message>

const flag = z.boolean().nullish()
const budget = z
  .int()
  .min(-1)
  .max(2 ** 31 - 1)
  .nullish()

const EFFORTS = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const
const effort = z.enum(EFFORTS).nullish()

/** Fields that turn a model's thinking on or off. All mean the same switch of the chat template. */
const thinkingFields = {
  reasoning_effort: effort.describe(
    "For models whose chat template has a switch for thinking; ignored for others. If the switch is `enable_thinking`, none turns thinking off, and every other value turns it on.",
  ),
  reasoning: openObject("reasoning", {
    effort,
    enabled: flag,
    exclude: flag.describe("true: leave the reasoning out of the answer."),
    max_tokens: budget.describe("As thinking_token_budget."),
    summary: noEffect("asks for a summary of the reasoning; the reasoning itself is in the answer"),
  })
    .nullish()
    .describe("OpenRouter's form of reasoning_effort."),
  thinking: z
    .union([
      z.boolean(),
      openObject("thinking", { type: z.enum(["enabled", "disabled", "adaptive", "auto"]), budget_tokens: budget }),
    ])
    .nullish()
    .describe("Another form of reasoning_effort: true or false, or as in Anthropic's API."),
  enable_thinking: flag.describe("Another form of reasoning_effort."),
  think: z
    .union([z.boolean(), z.enum(EFFORTS)])
    .nullish()
    .describe("Ollama's form of reasoning_effort."),
  thinking_token_budget: budget.describe(
    "Most tokens of the reasoning, which ends there; 0 turns thinking off. Default, and -1: no limit.",
  ),
  thinking_budget: budget.describe("As thinking_token_budget."),
  reasoning_budget: budget.describe("As thinking_token_budget."),
  reasoning_budget_tokens: budget.describe("As thinking_token_budget."),
}

/** Fields that, beside the messages, decide how a conversation becomes a prompt. */
export const templateFields = {
  add_generation_prompt: flag.describe(
    "End the prompt at the beginning of a new assistant turn. Default true, unless the last message is continued.",
  ),
  continue_final_message: flag.describe(
    "Continue the last message, which must be the assistant's, as the beginning of the answer. Default false.",
  ),
  chat_template: z
    .string()
    .min(1)
    .max(LIMITS.grammarLength)
    .nullish()
    .describe("A Jinja template to use instead of the model's."),
  chat_template_kwargs: variables
    .nullish()
    .describe("Further variables for the chat template, such as `enable_thinking`."),
  documents: list(z.record(z.string(), z.unknown()), LIMITS.parts)
    .nullish()
    .describe("Texts that the chat template may show to the model. Ignored if it does not know them."),
  ...thinkingFields,
}

export type TemplateFields = z.output<z.ZodObject<typeof templateFields>>

interface Continued {
  messages?: readonly ChatMessageBody[] | null
  add_generation_prompt?: boolean | null
  continue_final_message?: boolean | null
}

/** Only an assistant's message without calls can be continued, and no new turn begins after it. */
export function checkContinuation(body: Continued, { addIssue }: z.core.$RefinementCtx<Continued>): void {
  if (!body.continue_final_message) return
  const last = body.messages?.at(-1)
  const refuse = (error: string) =>
    addIssue({ code: "custom", path: ["continue_final_message"], message: error, input: body.continue_final_message })
  if (last?.role !== "assistant") refuse("the last message is not the assistant's")
  else if (last.tool_calls && last.tool_calls.length > 0)
    refuse("the last message calls tools, so it cannot be continued")
  else if (body.add_generation_prompt) refuse("cannot be combined with add_generation_prompt")
}
