/** Tools in Anthropic's form: their fields in a request, and the blocks of calls and results. */

import { z } from "zod"
import { boundedSchema, jsonObject, LIMITS, list } from "../../http/limits.ts"
import { functionName, toolProblems } from "../openai/tools-schema.ts"

export const cacheControl = z
  .looseObject({ type: z.literal("ephemeral") })
  .nullish()
  .describe("Accepted and ignored: common prefixes of prompts are cached automatically.")

export const textBlock = z.strictObject({
  type: z.literal("text", {
    error: (issue) => `${JSON.stringify(issue.input)} blocks are not supported here; only text is`,
  }),
  text: z.string(),
  cache_control: cacheControl,
  citations: z.array(z.never()).max(0).nullish().describe("Must be empty."),
})

const direct = z.strictObject({ type: z.literal("direct") })

/** A call that the assistant made. */
export const toolUseBlock = z.strictObject({
  type: z.literal("tool_use"),
  id: z.string().min(1),
  name: z.string().min(1),
  input: jsonObject,
  caller: direct.optional(),
  cache_control: cacheControl,
})

export const toolResultBlock = z
  .strictObject({
    type: z.literal("tool_result"),
    tool_use_id: z.string().min(1),
    content: z
      .union([z.string(), list(textBlock, LIMITS.parts)], { error: "expected a text or a list of text blocks" })
      .optional(),
    is_error: z.boolean().optional().describe("The model sees the content after `Error: `."),
    cache_control: cacheControl,
  })
  .describe("The result of a call.")

const tool = z.strictObject({
  type: z
    .literal("custom", {
      error: (issue) => `${JSON.stringify(issue.input)} tools are not supported yet; describe the tool by a schema`,
    })
    .nullish(),
  name: functionName,
  description: z.string().optional().describe("What the tool does, and when to use it. The model reads this."),
  input_schema: boundedSchema.describe("JSON Schema of the input, which is an object."),
  strict: z
    .boolean()
    .optional()
    .describe("Inputs always validate against the schema; a schema with an unsupported part is refused."),
  eager_input_streaming: z
    .boolean()
    .nullish()
    .describe("Accepted and ignored: inputs are always streamed as they are generated."),
  cache_control: cacheControl,
})

const oneAtMost = z.boolean().optional().describe("At most one call. Default false.")
const toolChoice = z.discriminatedUnion(
  "type",
  [
    z.strictObject({ type: z.literal("auto"), disable_parallel_tool_use: oneAtMost }),
    z.strictObject({ type: z.literal("any"), disable_parallel_tool_use: oneAtMost }),
    z.strictObject({ type: z.literal("tool"), name: z.string().min(1), disable_parallel_tool_use: oneAtMost }),
    z.strictObject({ type: z.literal("none") }),
  ],
  { error: "expected a choice whose type is auto, any, tool or none" },
)

export const messageToolFields = {
  tools: list(tool, LIMITS.tools).nullish().describe("Functions that the answer may call."),
  tool_choice: toolChoice
    .nullish()
    .describe("auto (default): the model decides; any: at least one call; tool: a call of that one; none: no calls."),
}

interface WithTools {
  messages: readonly { role: string; content: string | readonly { type: string }[] }[]
  tools?: z.output<typeof tool>[] | null
  tool_choice?: z.output<typeof toolChoice> | null
}

/** Every tool has a name of its own, a choice is one among tools, and the last message calls no tools. */
export function checkMessageTools(body: WithTools, { addIssue }: z.core.$RefinementCtx<WithTools>): void {
  const { tool_choice } = body
  const refuse = (path: (string | number)[], message: string) =>
    addIssue({ code: "custom", path, message, input: body })
  const names = body.tools?.map(({ name }) => name) ?? []
  const chosen = tool_choice?.type === "tool" ? tool_choice.name : undefined
  for (const { at, index, message } of toolProblems(names, tool_choice?.type === "any", chosen)) {
    const place = at === "tool" ? ["tools", index] : ["tool_choice"]
    refuse(at === "choice" ? place : [...place, "name"], message)
  }
  const last = body.messages.at(-1)?.content
  if (typeof last !== "string" && last?.some(({ type }) => type === "tool_use"))
    refuse(["messages"], "the last message calls tools; add one with a tool_result of each call")
}

/** A call in an answer. */
export const answerToolUse = z.object({
  type: z.literal("tool_use"),
  id: z.string().describe("The tool_use_id of the block with the call's result."),
  name: z.string(),
  input: jsonObject.describe("Empty if the answer was cut off within it."),
  caller: z.object({ type: z.literal("direct") }),
})
