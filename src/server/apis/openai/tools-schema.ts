/** Tools that an answer may call: their fields in a request, and the calls in an answer. */

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
    description: z.string().nullish().describe("What the function does, and when to call it. The model reads this."),
    parameters: boundedSchema
      .nullish()
      .describe("JSON Schema of its arguments, which are an object. Default: no arguments."),
    strict: z
      .boolean()
      .nullish()
      .describe("Arguments always validate against the schema; a schema with an unsupported part is refused."),
  }),
})

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

export const toolFields = {
  tools: list(functionTool, LIMITS.tools)
    .nullish()
    .meta({
      description:
        "Functions that the answer may call. They are described in the model's own form, or in a general one if the model has none. " +
        "Arguments validate against the schema. If a part of the schema is not supported, a strict function is refused; in any other, " +
        "that part accepts any value of its type.",
      example: [WEATHER],
    }),
  tool_choice: toolChoice
    .nullish()
    .describe(
      "auto (default): the model decides; none: no calls; required: at least one call; a function: a call of that one.",
    ),
  parallel_tool_calls: z.boolean().nullish().describe("false: at most one call. Default true."),
}

/** The fields of a request that concern tools. */
export interface ToolFields {
  tools?: z.output<typeof functionTool>[] | null
  tool_choice?: z.output<typeof toolChoice> | null
  parallel_tool_calls?: boolean | null
}

/** A problem with the names of tools: of the tool at `index`, of the choice, or of the name in the choice. */
interface ToolProblem {
  readonly at: "tool" | "choice" | "chosen"
  readonly index: number
  readonly message: string
}

/** Every tool has a name of its own, and a choice is one among tools. @param chosen The tool that must be called. */
export function toolProblems(names: readonly string[], required: boolean, chosen: string | undefined): ToolProblem[] {
  const repeated = names.findIndex((name, i) => names.indexOf(name) < i)
  const problems: ToolProblem[] = []
  if (repeated >= 0) problems.push({ at: "tool", index: repeated, message: "another tool has the same name" })
  if (required && names.length === 0) problems.push({ at: "choice", index: 0, message: "needs tools to choose from" })
  if (chosen !== undefined && !names.includes(chosen))
    problems.push({ at: "chosen", index: 0, message: "none of the tools has this name" })
  return problems
}

export function checkTools(body: ToolFields, { addIssue }: z.core.$RefinementCtx<ToolFields>): void {
  const { tools, tool_choice } = body
  const names = tools?.map((tool) => tool.function.name) ?? []
  const chosen = typeof tool_choice === "object" ? tool_choice?.function.name : undefined
  for (const { at, index, message } of toolProblems(names, tool_choice === "required", chosen)) {
    const place = at === "tool" ? ["tools", index] : ["tool_choice"]
    const path = at === "choice" ? place : [...place, "function", "name"]
    addIssue({ code: "custom", path, message, input: body })
  }
}

/** A call that an answer makes. */
export const toolCall = z.object({
  id: z.string().describe("The tool_call_id of the message with the call's result."),
  type: z.literal("function"),
  function: z.object({ name: z.string(), arguments: z.string().describe("JSON.") }),
})

/** A part of a call in a stream: the first has the id and name, and each has more of the arguments. */
export const toolCallDelta = z.object({
  index: z.int().describe("Index of the call in the answer."),
  id: z.string().optional(),
  type: z.literal("function").optional(),
  function: z.object({ name: z.string().optional(), arguments: z.string() }),
})
