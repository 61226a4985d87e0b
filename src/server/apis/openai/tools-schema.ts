/** Tools that an answer may call: their fields in a request, and the calls in an answer. */

import { z } from "zod"
import type { ToolChoice } from "../../chat/request.ts"
import { noteIgnored, openObject } from "../../http/lenient.ts"
import { boundedSchema, LIMITS, list } from "../../http/limits.ts"

export const functionName = z
  .string()
  .regex(/^[\w.-]{1,128}$/, "expected 1 to 128 letters, digits, underscores, dots and dashes")

const describedFunction = openObject("tools[].function", {
  name: functionName,
  description: z.string().nullish().describe("What the function does, and when to call it. The model reads this."),
  parameters: boundedSchema
    .nullish()
    .describe("JSON Schema of its arguments, which are an object. Default: no arguments."),
  strict: z
    .boolean()
    .nullish()
    .describe("Arguments always validate against the schema; a schema with an unsupported part is refused."),
})

const functionTool = openObject("tools[]", { type: z.literal("function"), function: describedFunction })

/** A tool whose one argument is a text. */
const customTool = openObject("tools[]", {
  type: z.literal("custom"),
  custom: openObject("tools[].custom", {
    name: functionName,
    description: z.string().nullish().describe("What the tool does, and when to call it. The model reads this."),
    format: z
      .union([
        openObject("tools[].custom.format", { type: z.literal("text") }),
        openObject("tools[].custom.format", {
          type: z.literal("grammar"),
          grammar: openObject("tools[].custom.format.grammar", {
            syntax: z.enum(["lark", "regex"]),
            definition: z.string().max(LIMITS.grammarLength),
          }),
        }),
      ])
      .nullish()
      .describe(
        "The form of the text. An expression (regex) is kept to. A Lark grammar is shown to the model, but not enforced. Default: any text.",
      ),
  }),
})

const tool = z.discriminatedUnion("type", [functionTool, customTool])

/** Leaves out tools of other types, which run at other services; a tool without a type is a function. */
const tools = z.preprocess((value, { issues }) => {
  if (!Array.isArray(value)) return value
  if (value.length > LIMITS.tools) {
    const message = `has ${value.length} items; this server takes up to ${LIMITS.tools}`
    issues.push({ code: "custom", input: value, message })
    return []
  }
  return value.flatMap((item: unknown) => {
    if (typeof item !== "object" || item === null) return [item]
    const type = "type" in item ? item.type : "function"
    if (typeof type !== "string" || type === "function" || type === "custom") return [{ ...item, type }]
    noteIgnored(`tools[].type=${type}`, false)
    return []
  })
}, z.array(tool))

/** A tool's name in a choice, which some clients put beside `type`, and others below. */
const named = openObject("tool_choice", {
  type: z.enum(["function", "custom", "tool"]).nullish(),
  name: z.string().min(1).nullish(),
  function: openObject("tool_choice.function", { name: z.string().min(1) }).nullish(),
  custom: openObject("tool_choice.custom", { name: z.string().min(1) }).nullish(),
})
const nameOf = (choice: z.output<typeof named>): string | undefined =>
  choice.function?.name ?? choice.custom?.name ?? choice.name ?? undefined

const allowed = { mode: z.enum(["auto", "required"]), tools: list(named, LIMITS.tools, 1) }

const CHOICES = ["none", "auto", "required", "any"] as const
const CHOICE_ERROR =
  'expected "none", "auto", "required" or "any"; or, for a certain tool, {"type": "function", "function": {"name": …}}'

const toolChoice = z.union(
  [
    z.enum(CHOICES),
    openObject("tool_choice", { type: z.enum(CHOICES) }),
    openObject("tool_choice", {
      type: z.literal("allowed_tools"),
      allowed_tools: openObject("tool_choice.allowed_tools", allowed),
    }),
    openObject("tool_choice", { type: z.literal("allowed_tools"), ...allowed }),
    named.refine((choice) => nameOf(choice) !== undefined, { error: CHOICE_ERROR }),
  ],
  { error: CHOICE_ERROR },
)

const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get the weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
}

export const toolFields = {
  tools: tools.nullish().meta({
    description:
      "Functions that the answer may call, and custom tools, whose input is a text. They are described in the model's own form, or in a " +
      "general one if the model has none. Arguments validate against the schema. If a part of the schema is not supported, a strict " +
      "function is refused; in any other, that part accepts any value of its type. Tools of other types are ignored.",
    example: [WEATHER],
  }),
  tool_choice: toolChoice
    .nullish()
    .describe(
      "auto (default): the model decides; none: no calls; required, any: at least one call; a tool: a call of that one; allowed_tools: only calls of these.",
    ),
  parallel_tool_calls: z.boolean().nullish().describe("false: at most one call. Default true."),
}

/** The fields that tools had before. */
export const functionFields = {
  functions: list(describedFunction, LIMITS.tools)
    .nullish()
    .describe("The older form of tools: the answer has at most one call, as its function_call."),
  function_call: z
    .union([z.enum(["none", "auto"]), openObject("function_call", { name: z.string().min(1) })], {
      error: 'expected "none", "auto", or {"name": …} for a certain function',
    })
    .nullish()
    .describe("The older form of tool_choice."),
}

/** The fields of a request that concern tools. */
export interface ToolFields {
  tools?: z.output<typeof tool>[] | null
  tool_choice?: z.output<typeof toolChoice> | null
  parallel_tool_calls?: boolean | null
  functions?: z.output<typeof describedFunction>[] | null
  function_call?: "none" | "auto" | { name: string } | null
}

/** Whether tools were asked for in the older form, in which the answer then is. */
export const usesFunctions = ({ tools, functions }: ToolFields): boolean =>
  !tools?.length && (functions?.length ?? 0) > 0

/** What a request's choice of tools means. */
export function chosenTools(fields: ToolFields): ToolChoice | undefined {
  if (usesFunctions(fields)) {
    const { function_call: call } = fields
    return typeof call === "object" && call !== null ? { function: call.name } : (call ?? undefined)
  }
  const { tool_choice: choice } = fields
  if (choice === undefined || choice === null) return undefined
  if (typeof choice === "string") return choice === "any" ? "required" : choice
  if ("allowed_tools" in choice) return allowedOf(choice.allowed_tools)
  if ("tools" in choice) return allowedOf(choice)
  const name = nameOf(choice as z.output<typeof named>)
  if (name !== undefined) return { function: name }
  return choice.type === "any" ? "required" : (choice.type as "none" | "auto" | "required")
}

const allowedOf = ({ mode, tools }: { mode: "auto" | "required"; tools: z.output<typeof named>[] }): ToolChoice => ({
  allowed: tools.map((tool) => nameOf(tool)).filter((name) => name !== undefined),
  mode,
})

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

export const toolName = (tool: OpenAiTool): string => (tool.type === "custom" ? tool.custom.name : tool.function.name)
export type OpenAiTool = z.output<typeof tool>

export function checkTools(body: ToolFields, { addIssue }: z.core.$RefinementCtx<ToolFields>): void {
  const old = usesFunctions(body)
  const [toolsField, choiceField] = old ? ["functions", "function_call"] : ["tools", "tool_choice"]
  const names = old ? (body.functions ?? []).map(({ name }) => name) : (body.tools ?? []).map(toolName)
  const choice = chosenTools(body)
  const refuse = (path: PropertyKey[], message: string) => addIssue({ code: "custom", path, message, input: body })
  const chosen = typeof choice === "object" && "function" in choice ? choice.function : undefined
  for (const { at, index, message } of toolProblems(names, choice === "required", chosen)) {
    if (at !== "tool") refuse([choiceField], message)
    else refuse([toolsField, index, ...(old ? [] : [body.tools?.[index]?.type ?? "function"]), "name"], message)
  }
  const stray = typeof choice === "object" && "allowed" in choice ? choice.allowed : []
  const unknown = stray.find((name) => !names.includes(name))
  if (unknown !== undefined) refuse([choiceField], `none of the tools has the name ${JSON.stringify(unknown)}`)
}

const callId = z.string().describe("The tool_call_id of the message with the call's result.")

/** A call that an answer makes. */
export const toolCall = z.discriminatedUnion("type", [
  z.object({
    id: callId,
    type: z.literal("function"),
    function: z.object({ name: z.string(), arguments: z.string().describe("JSON.") }),
  }),
  z.object({
    id: callId,
    type: z.literal("custom"),
    custom: z.object({ name: z.string(), input: z.string() }),
  }),
])
export type ToolCallBody = z.output<typeof toolCall>

/** A call in the older form. */
export const functionCall = z.object({ name: z.string(), arguments: z.string() })

/** A part of a call in a stream: the first has the id and name, and each has more of the arguments, or input. */
export const toolCallDelta = z.object({
  index: z.int().describe("Index of the call in the answer."),
  id: z.string().optional(),
  type: z.enum(["function", "custom"]).optional(),
  function: z.object({ name: z.string().optional(), arguments: z.string() }).optional(),
  custom: z.object({ name: z.string().optional(), input: z.string() }).optional(),
})
