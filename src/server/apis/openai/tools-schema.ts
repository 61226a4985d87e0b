/** Tools that a conversation's answer may call: what a request says of them, and what an answer does. */

import { z } from "zod"
import { boundedSchema, LIMITS, list } from "../../http/limits.ts"

export const functionName = z
  .string()
  .regex(/^[\w.-]{1,128}$/, "expected 1 to 128 letters, digits, underscores, dots and dashes")

const functionTool = z.strictObject({
  type: z.literal("function", {
    error: (issue) => `${JSON.stringify(issue.input)} tools are not supported yet; use function`,
  }),
  function: z.strictObject({
    name: functionName,
    description: z.string().nullish().describe("What it does, and when to call it: the model reads it."),
    parameters: boundedSchema.nullish().describe("JSON Schema of its arguments, an object. Default: it takes none."),
    strict: z.boolean().nullish().describe("Arguments always validate against the schema."),
  }),
})
export type FunctionTool = z.output<typeof functionTool>

const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get the weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
}

const CHOICES = ["none", "auto", "required"] as const

const toolChoice = z.union(
  [
    z.enum(CHOICES),
    z.strictObject({ type: z.literal("function"), function: z.strictObject({ name: z.string().min(1) }) }),
  ],
  {
    error: `expected ${CHOICES.join(", ")}, or {"type": "function", "function": {"name": …}}`,
  },
)
export type ToolChoice = z.output<typeof toolChoice>

export const toolFields = {
  tools: list(functionTool, LIMITS.tools)
    .nullish()
    .meta({
      description:
        "Functions that the answer may call, in the form that the model knows; a model that knows none is told of one. Arguments " +
        "validate against the schema; what a schema has that cannot be kept is refused where the function is strict, and otherwise lets " +
        "it take any object.",
      example: [WEATHER],
    }),
  tool_choice: toolChoice
    .nullish()
    .describe("auto (default): as the model sees fit; none: no calls; required: at least one; a function: that one."),
  parallel_tool_calls: z.boolean().nullish().describe("false: one call at most. Default true."),
}

interface WithTools {
  tools?: FunctionTool[] | null
  tool_choice?: ToolChoice | null
  parallel_tool_calls?: boolean | null
}

/** Names are those of one function each, and a choice is one among tools. */
export function checkTools(body: WithTools, { addIssue }: z.core.$RefinementCtx<WithTools>): void {
  const { tools, tool_choice } = body
  const refuse = (path: (string | number)[], message: string) =>
    addIssue({ code: "custom", path, message, input: body })
  const names = tools?.map((tool) => tool.function.name) ?? []
  const twice = names.findIndex((name, i) => names.indexOf(name) < i)
  if (twice >= 0) refuse(["tools", twice, "function", "name"], "another tool has the same name")
  if (tool_choice === "required" && names.length === 0) refuse(["tool_choice"], "needs tools to choose from")
  if (typeof tool_choice === "object" && tool_choice !== null && !names.includes(tool_choice.function.name))
    refuse(["tool_choice", "function", "name"], "none of the tools has this name")
}

/** A call that an answer makes. */
export const toolCall = z.object({
  id: z.string().describe("What the message with its result names as tool_call_id."),
  type: z.literal("function"),
  function: z.object({ name: z.string(), arguments: z.string().describe("JSON.") }),
})

/** What an event of a stream adds to a call: the first has its id and name, all have more of its arguments. */
export const toolCallDelta = z.object({
  index: z.int().describe("Which of the answer's calls."),
  id: z.string().optional(),
  type: z.literal("function").optional(),
  function: z.object({ name: z.string().optional(), arguments: z.string() }),
})
