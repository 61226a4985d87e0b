/** Tools as the Responses API writes them: flatter than those of chat completions, which they are turned into. */

import { z } from "zod"
import { boundedSchema, LIMITS, list } from "../../http/limits.ts"
import { checkTools, type FunctionTool, functionName, type ToolChoice, toolFields } from "../openai/tools-schema.ts"

const typeOf = (input: unknown): string =>
  typeof input === "object" && input !== null && "type" in input ? `${JSON.stringify(input.type)} tools` : "such tools"

const tool = z.discriminatedUnion(
  "type",
  [
    z.strictObject({
      type: z.literal("function"),
      name: functionName,
      description: z.string().nullish().describe("What it does, and when to call it: the model reads it."),
      parameters: boundedSchema.nullish().describe("JSON Schema of its arguments, an object. Default: it takes none."),
      strict: z.boolean().nullish().describe("Arguments always validate against the schema."),
    }),
  ],
  { error: (issue) => `${typeOf(issue.input)} are not supported; use function` },
)
type Tool = z.output<typeof tool>

const named = z.strictObject({ type: z.literal("function"), name: z.string().min(1) })
const allowed = z.strictObject({
  type: z.literal("allowed_tools"),
  mode: z.enum(["auto", "required"]),
  tools: list(named, LIMITS.tools, 1),
})
const CHOICES = ["none", "auto", "required"] as const
const choice = z.union([z.enum(CHOICES), z.discriminatedUnion("type", [named, allowed])], {
  error: `expected ${CHOICES.join(", ")}, or an object of type function or allowed_tools`,
})

export const responseToolFields = {
  tools: list(tool, LIMITS.tools)
    .nullish()
    .describe("Functions that the response may call. The client runs them, and sends function_call_output items."),
  tool_choice: choice
    .nullish()
    .describe(
      "auto (default): as the model sees fit; none: no calls; required: at least one; a function: that one; allowed_tools: these alone.",
    ),
  parallel_tool_calls: z.boolean().nullish().describe("false: one call at most. Default true."),
}

/** As a response says what it was asked. */
export const toolBody = z.object({
  type: z.literal("function"),
  name: z.string(),
  description: z.string().nullable(),
  parameters: z.record(z.string(), z.unknown()).nullable(),
  strict: z.boolean().nullable(),
})
export const toolChoiceBody = choice

export interface ResponseTools {
  tools?: Tool[] | null
  tool_choice?: z.output<typeof choice> | null
  parallel_tool_calls?: boolean | null
}

const isAllowed = (choice: ResponseTools["tool_choice"]): choice is z.output<typeof allowed> =>
  typeof choice === "object" && choice?.type === "allowed_tools"

const asChat = z.object(toolFields).superRefine(checkTools)

/** What holds for tools of chat completions holds for these, and those that are allowed are among them. */
export function checkResponseTools(body: ResponseTools, { addIssue }: z.core.$RefinementCtx<ResponseTools>): void {
  const { tools, tool_choice } = body
  const refuse = (path: PropertyKey[], message: string) => addIssue({ code: "custom", path, message, input: body })
  const known = new Set(tools?.map(({ name }) => name))
  const stray = isAllowed(tool_choice) ? tool_choice.tools.findIndex(({ name }) => !known.has(name)) : -1
  if (stray >= 0) refuse(["tool_choice", "tools", stray, "name"], "none of the tools has this name")
  const chat = { tools: tools?.map(chatTool), tool_choice: chatChoice(tool_choice) }
  for (const { path, message } of asChat.safeParse(chat).error?.issues ?? [])
    refuse(
      path.filter((key) => key !== "function"),
      message,
    )
}

/** What chat completions call them. */
export const chatTools = (body: ResponseTools) => ({
  tools: offered(body).map(({ tool }) => chatTool(tool)),
  tool_choice: chatChoice(body.tool_choice),
  parallel_tool_calls: body.parallel_tool_calls,
})

const chatTool = ({ type, ...rest }: Tool): FunctionTool => ({ type, function: rest })

/** Those that may be called, and their places in the request. */
function offered({ tools, tool_choice }: ResponseTools): { tool: Tool; place: number }[] {
  const all = tools?.map((tool, place) => ({ tool, place })) ?? []
  if (!isAllowed(tool_choice)) return all
  const names = new Set(tool_choice.tools.map(({ name }) => name))
  return all.filter(({ tool }) => names.has(tool.name))
}

function chatChoice(choice: ResponseTools["tool_choice"]): ToolChoice | null | undefined {
  if (isAllowed(choice)) return choice.mode
  if (typeof choice !== "object" || choice === null) return choice
  return { type: "function", function: { name: choice.name } }
}

/** The names of fields that chat completions have deeper. */
export const toolFieldNames = (body: ResponseTools): Readonly<Record<string, string>> => ({
  "tool_choice.function.name": "tool_choice.name",
  ...Object.fromEntries(
    offered(body).flatMap(({ place }, i) =>
      ["name", "parameters", "strict"].map((field) => [`tools[${i}].function.${field}`, `tools[${place}].${field}`]),
    ),
  ),
})
