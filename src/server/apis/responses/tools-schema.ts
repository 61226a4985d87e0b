/** Tools in the Responses API's form, which is flatter than that of chat completions. */

import { z } from "zod"
import { noEffect, noteIgnored, openObject } from "../../http/lenient.ts"
import { boundedPattern, boundedSchema, jsonObject, LIMITS, list } from "../../http/limits.ts"
import { functionName } from "../openai/tools-schema.ts"

const description = z.string().nullish().describe("What the tool does, and when to call it. The model reads this.")
const keys = {
  defer_loading: noEffect("hides a tool until it is searched for, and all tools are offered"),
  allowed_callers: noEffect("is about tools that code calls"),
}

const functionTool = openObject("tools[]", {
  type: z.literal("function"),
  name: functionName,
  description,
  parameters: boundedSchema
    .nullish()
    .describe("JSON Schema of its arguments, which are an object. Default: no arguments."),
  strict: z
    .boolean()
    .nullish()
    .describe("Arguments always validate against the schema; a schema with an unsupported part is refused."),
  output_schema: noEffect("describes results, which the model sees as they are"),
  ...keys,
})

const format = z.discriminatedUnion("type", [
  openObject("tools[].format", { type: z.literal("text") }),
  openObject("tools[].format", {
    type: z.literal("grammar"),
    syntax: z.enum(["lark", "regex"]),
    definition: boundedPattern,
  }),
])

const customTool = openObject("tools[]", {
  type: z.literal("custom"),
  name: functionName,
  description,
  format: format
    .nullish()
    .describe(
      "The form of the input. A regular expression is kept to, if it is supported. A Lark grammar is shown to the model, but not enforced. Default: any text.",
    ),
  ...keys,
})

const KINDS = ["function", "custom", "namespace"]
const hostedTool = z
  .looseObject({ type: z.string().refine((type) => !KINDS.includes(type)) })
  .transform(({ type }) => {
    noteIgnored(`tools[].type=${type}`, false)
    return { type: "hosted" as const }
  })
  .describe("A tool that runs at OpenAI's service. Left out.")

const namespace = openObject("tools[]", {
  type: z.literal("namespace"),
  name: z.string().min(1).max(128),
  description,
  tools: list(z.union([z.discriminatedUnion("type", [functionTool, customTool]), hostedTool]), LIMITS.tools),
})

export const tool = z.union([z.discriminatedUnion("type", [functionTool, customTool, namespace]), hostedTool])
export type ResponseTool = z.output<typeof tool>
export type FunctionParam = z.output<typeof functionTool>
export type CustomParam = z.output<typeof customTool>

const ofNamespace = { namespace: z.string().nullish().describe("The namespace that has the tool.") }
const named = openObject("tool_choice", {
  type: z.enum(["function", "custom"]),
  name: z.string().min(1),
  ...ofNamespace,
})
const allowed = openObject("tool_choice", {
  type: z.literal("allowed_tools"),
  mode: z.enum(["auto", "required"]),
  tools: list(
    openObject("tool_choice.tools[]", {
      type: z.string(),
      name: z.string().nullish(),
      ...ofNamespace,
      server_label: noEffect("names an MCP server, and those are left out"),
    }),
    LIMITS.tools,
    1,
  ),
})
const CHOICES = ["none", "auto", "required"] as const
const CHOICE_ERROR = {
  error: `expected ${CHOICES.join(", ")}, or an object of type function, custom or allowed_tools; other tools are not offered here`,
}
const choice = z.union([z.enum(CHOICES), z.discriminatedUnion("type", [named, allowed], CHOICE_ERROR)], CHOICE_ERROR)

export const responseToolFields = {
  tools: list(tool, LIMITS.tools)
    .nullish()
    .describe(
      "Functions and custom tools, also in namespaces, that the response may call. The client runs them, and sends items with their outputs. Tools of other types are left out.",
    ),
  tool_choice: choice
    .nullish()
    .describe(
      "auto (default): the model decides; none: no calls; required: at least one call; a tool: a call of that one; allowed_tools: only calls of these.",
    ),
  parallel_tool_calls: z.boolean().nullish().describe("false: at most one call. Default true."),
}

const functionBody = z.object({
  type: z.literal("function"),
  name: z.string(),
  description: z.string().nullable(),
  parameters: jsonObject.nullable(),
  strict: z.boolean().nullable(),
})
const customBody = z.object({
  type: z.literal("custom"),
  name: z.string(),
  description: z.string().optional(),
  format: z
    .discriminatedUnion("type", [
      z.object({ type: z.literal("text") }),
      z.object({ type: z.literal("grammar"), syntax: z.enum(["lark", "regex"]), definition: z.string() }),
    ])
    .optional(),
})
const toolInNamespace = z.discriminatedUnion("type", [functionBody, customBody])
/** A tool as a response repeats it. */
export const toolBody = z.discriminatedUnion("type", [
  functionBody,
  customBody,
  z.object({
    type: z.literal("namespace"),
    name: z.string(),
    description: z.string(),
    tools: z.array(toolInNamespace),
  }),
])

/** The tools as a response repeats them: those that are left out are not among them. */
export const toolBodies = (tools: readonly ResponseTool[]): z.output<typeof toolBody>[] =>
  tools.flatMap((tool): z.output<typeof toolBody>[] => {
    if (tool.type === "hosted") return []
    if (tool.type !== "namespace") return [bodyOf(tool)]
    const { type, name, description } = tool
    const inner = tool.tools.filter((one) => one.type !== "hosted").map(bodyOf)
    return [{ type, name, description: description ?? "", tools: inner }]
  })

function bodyOf(tool: FunctionParam | CustomParam): z.output<typeof toolInNamespace> {
  if (tool.type === "function") {
    const { type, name, description = null, parameters = null, strict = null } = tool
    return { type, name, description, parameters, strict }
  }
  const { type, name, description, format } = tool
  return { type, name, ...(description && { description }), ...(format && { format }) }
}

export const toolChoiceBody = z.union([
  z.enum(CHOICES),
  z.object({ type: z.enum(["function", "custom"]), name: z.string(), namespace: z.string().optional() }),
  z.object({
    type: z.literal("allowed_tools"),
    mode: z.enum(["auto", "required"]),
    tools: z.array(z.record(z.string(), z.unknown())),
  }),
])

/** A choice as a response repeats it. */
export function choiceBody(choice: ResponseTools["tool_choice"]): z.output<typeof toolChoiceBody> {
  if (choice === undefined || choice === null) return "auto"
  if (typeof choice === "string" || choice.type === "allowed_tools") return choice
  const { namespace, ...rest } = choice
  return { ...rest, ...(namespace && { namespace }) }
}

export interface ResponseTools {
  tools?: ResponseTool[] | null
  tool_choice?: z.output<typeof choice> | null
  parallel_tool_calls?: boolean | null
}
