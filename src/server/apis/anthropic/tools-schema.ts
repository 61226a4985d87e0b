/** Tools in Anthropic's form: their fields in a request, and the blocks of calls. */

import { z } from "zod"
import { noEffect, openObject } from "../../http/lenient.ts"
import { boundedSchema, jsonObject, LIMITS, list } from "../../http/limits.ts"
import { functionName, toolProblems } from "../openai/tools-schema.ts"
import { cacheControl } from "./blocks-schema.ts"
import { clientTool } from "./client-tools.ts"

const custom = openObject("tools[]", {
  type: z.literal("custom").nullish(),
  name: functionName,
  description: z.string().nullish().describe("What the tool does, and when to use it. The model reads this."),
  input_schema: boundedSchema.describe("JSON Schema of the input, which is an object."),
  strict: z
    .boolean()
    .nullish()
    .describe("Inputs always validate against the schema; a schema with an unsupported part is refused."),
  eager_input_streaming: noEffect("asks for inputs while they are generated, as they always are"),
  defer_loading: noEffect("hides a tool until it is searched for, and all tools are offered"),
  input_examples: noEffect("has examples, which the model does not see"),
  allowed_callers: noEffect("is about tools that code calls"),
  cache_control: cacheControl,
})

/** A tool that Anthropic defines. Its further fields depend on its type. */
const predefined = z
  .looseObject({
    type: z.string().refine((type) => type !== "custom"),
    name: functionName.nullish().describe("The name by which the model calls it."),
  })
  .describe(
    "A tool that Anthropic defines. If the client runs it (bash, text_editor, memory), it is offered with its schema; otherwise it is left out.",
  )

const oneAtMost = z.boolean().nullish().describe("true: at most one call. Default false.")
const toolChoice = z.discriminatedUnion(
  "type",
  [
    openObject("tool_choice", { type: z.literal("auto"), disable_parallel_tool_use: oneAtMost }),
    openObject("tool_choice", { type: z.literal("any"), disable_parallel_tool_use: oneAtMost }),
    openObject("tool_choice", {
      type: z.literal("tool"),
      name: z.string().min(1),
      disable_parallel_tool_use: oneAtMost,
    }),
    openObject("tool_choice", { type: z.literal("none"), disable_parallel_tool_use: oneAtMost }),
  ],
  { error: "expected a choice whose type is auto, any, tool or none" },
)

export const messageToolFields = {
  tools: list(z.union([custom, predefined]), LIMITS.tools)
    .nullish()
    .describe("Functions that the answer may call."),
  tool_choice: toolChoice
    .nullish()
    .describe("auto (default): the model decides; any: at least one call; tool: a call of that one; none: no calls."),
}

type ToolParam = z.output<typeof custom> | z.output<typeof predefined>

/** Whether a tool is defined by the request itself. */
export const isCustom = (tool: ToolParam): tool is z.output<typeof custom> =>
  tool.type === undefined || tool.type === null || tool.type === "custom"

/** Whether the model is offered a tool: this server runs none itself. */
export const isOffered = (tool: ToolParam): boolean =>
  isCustom(tool) || (typeof tool.name === "string" && clientTool(tool.type) !== undefined)

interface WithTools {
  messages: readonly { role: string; content: string | readonly { type: string }[] }[]
  tools?: ToolParam[] | null
  tool_choice?: z.output<typeof toolChoice> | null
}

/** Every tool has a name of its own, a choice is one among the offered tools, and the last message calls no tools. */
export function checkMessageTools(body: WithTools, { addIssue }: z.core.$RefinementCtx<WithTools>): void {
  const { tool_choice, tools } = body
  const refuse = (path: (string | number)[], message: string) =>
    addIssue({ code: "custom", path, message, input: body })
  const names = (tools ?? []).map((tool, i) => (isOffered(tool) && tool.name ? tool.name : `${i} is not offered`))
  const offered = tools?.some(isOffered) ? names : []
  const chosen = tool_choice?.type === "tool" ? tool_choice.name : undefined
  const hosted = tools?.some((tool) => tool.name === chosen && !isOffered(tool))
  for (const { at, index, message } of toolProblems(offered, tool_choice?.type === "any", chosen)) {
    const place = at === "tool" ? ["tools", index] : ["tool_choice"]
    const why = at === "chosen" && hosted ? "this tool runs at Anthropic's service, and is not offered here" : message
    refuse(at === "choice" ? place : [...place, "name"], why)
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
