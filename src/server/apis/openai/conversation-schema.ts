/** The fields of a conversation in chat completions. */

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
      .describe("Text, or text parts, which are joined. May be null in an assistant's message."),
    name: z.string().nullish().describe("Passed to the chat template, which may ignore it."),
    reasoning_content: z
      .string()
      .nullish()
      .describe(
        "The assistant's reasoning before its answer. The chat template decides how much of it the model sees.",
      ),
    reasoning: z.string().nullish().describe("Another name of reasoning_content."),
    tool_calls: list(toolCall, LIMITS.tools).nullish().describe("Calls of tools that the assistant made."),
    tool_call_id: z.string().nullish().describe("The id of the call that a tool's message answers."),
    refusal: z.null().optional(),
    function_call: notYet("function calls are"),
    audio: notYet("audio is"),
  })
  .superRefine((body, { addIssue }) => {
    const refuse = (field: keyof typeof body, error: string, params?: object) =>
      addIssue({ code: "custom", path: [field], message: error, input: body[field], params })
    const { role } = body
    if (role !== "assistant") {
      if (body.content === undefined || body.content === null)
        refuse("content", `is required in a ${role} message`, required)
      for (const field of ["tool_calls", "reasoning_content", "reasoning"] as const)
        if (body[field] !== undefined && body[field] !== null) refuse(field, `is not allowed in a ${role} message`)
    }
    const answers = body.tool_call_id !== undefined && body.tool_call_id !== null
    if (role === "tool" && !answers) refuse("tool_call_id", "is required in a tool message", required)
    if (role !== "tool" && answers) refuse("tool_call_id", `is not allowed in a ${role} message`)
  })
export type ChatMessageBody = z.output<typeof message>

/** Fields that, beside the messages, decide how a conversation becomes a prompt. */
export const templateFields = {
  add_generation_prompt: z
    .boolean()
    .nullish()
    .describe(
      "End the prompt at the beginning of a new assistant turn. Default true, unless the last message is continued.",
    ),
  continue_final_message: z
    .boolean()
    .nullish()
    .describe(
      "Continue the last message, which must be the assistant's, as the beginning of the answer. Default false.",
    ),
  chat_template_kwargs: variables
    .nullish()
    .describe(
      "Further variables for the model's chat template, such as `enable_thinking`. A variable that the template does not use is refused.",
    ),
  reasoning_effort: z
    .enum(["none", "minimal", "low", "medium", "high", "xhigh"])
    .nullish()
    .describe(
      "For models whose chat template has a switch for thinking. If the switch is `enable_thinking`, none turns thinking off, and every other value turns it on.",
    ),
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
