/** The messages of a conversation, as chat completions take them. */

import { z } from "zod"
import { LIMITS, list, variables } from "../../http/limits.ts"
import { notYet } from "./generation-schema.ts"

const textPart = z.strictObject({
  type: z.literal("text", {
    error: (issue) => `${JSON.stringify(issue.input)} is not supported yet; only text parts are`,
  }),
  text: z.string(),
})

const toolCall = z.strictObject({
  id: z.string(),
  type: z.literal("function"),
  function: z.strictObject({ name: z.string().min(1), arguments: z.string().describe("JSON.") }),
})

const ROLES = ["system", "developer", "user", "assistant", "tool"] as const

const required = { code: "missing_required_parameter" }

export const message = z
  .strictObject({
    role: z
      .enum(ROLES, {
        error: (issue) => `${JSON.stringify(issue.input)} is not a supported role; use ${ROLES.join(", ")}`,
      })
      .describe("`developer` means `system`."),
    content: z
      .union([z.string(), list(textPart, LIMITS.parts)], { error: "expected a text or a list of text parts" })
      .nullish()
      .describe("Text, or text parts that are joined. An assistant's may be null."),
    name: z.string().nullish().describe("Passed to the chat template, which may ignore it."),
    reasoning_content: z
      .string()
      .nullish()
      .describe("What the assistant thought before it answered; the chat template decides what of it the model sees."),
    reasoning: z.string().nullish().describe("Another name of reasoning_content."),
    tool_calls: list(toolCall, LIMITS.tools).nullish().describe("Tools that the assistant called."),
    tool_call_id: z.string().nullish().describe("Which call a tool's message answers."),
    refusal: z.null().optional(),
    function_call: notYet("function calls are"),
    audio: notYet("audio is"),
  })
  .superRefine((body, { addIssue }) => {
    const refuse = (field: keyof typeof body, error: string, params?: object) =>
      addIssue({ code: "custom", path: [field], message: error, input: body[field], params })
    const { role } = body
    if (role !== "assistant") {
      if (body.content === undefined || body.content === null) refuse("content", `a ${role} message needs it`, required)
      for (const field of ["tool_calls", "reasoning_content", "reasoning"] as const)
        if (body[field] !== undefined && body[field] !== null) refuse(field, `a ${role} message has none`)
    }
    const answers = body.tool_call_id !== undefined && body.tool_call_id !== null
    if (role === "tool" && !answers) refuse("tool_call_id", "a tool message needs it", required)
    if (role !== "tool" && answers) refuse("tool_call_id", `a ${role} message has none`)
  })
export type ChatMessageBody = z.output<typeof message>

/** What decides, besides its messages, how a conversation is written as a prompt. */
export const templateFields = {
  add_generation_prompt: z
    .boolean()
    .nullish()
    .describe(
      "End the prompt where a new turn of the assistant begins. Default true, unless the last message is continued.",
    ),
  continue_final_message: z
    .boolean()
    .nullish()
    .describe("The last message, the assistant's, is the beginning of the answer: go on with it. Default false."),
  chat_template_kwargs: variables
    .nullish()
    .describe(
      "Further variables of the model's chat template, such as `enable_thinking`; those that it does not know are refused.",
    ),
  reasoning_effort: z
    .enum(["none", "minimal", "low", "medium", "high", "xhigh"])
    .nullish()
    .describe(
      "For models whose chat template has a switch for it. Where the switch is `enable_thinking`, none turns thinking off, and all others on.",
    ),
}

export type TemplateFields = z.output<z.ZodObject<typeof templateFields>>

interface Continued {
  messages?: readonly ChatMessageBody[] | null
  add_generation_prompt?: boolean | null
  continue_final_message?: boolean | null
}

/** Only an assistant's message without calls can be continued, and no new turn begins behind it. */
export function checkContinuation(body: Continued, { addIssue }: z.core.$RefinementCtx<Continued>): void {
  if (!body.continue_final_message) return
  const last = body.messages?.at(-1)
  const refuse = (error: string) =>
    addIssue({ code: "custom", path: ["continue_final_message"], message: error, input: body.continue_final_message })
  if (last?.role !== "assistant") refuse("the last message is not the assistant's")
  else if (last.tool_calls && last.tool_calls.length > 0) refuse("the last message calls tools, and is over")
  else if (body.add_generation_prompt) refuse("excludes add_generation_prompt")
}
