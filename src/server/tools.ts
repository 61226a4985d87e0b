/** The tools of a request, as the model's chat template and its answers know them. */

import type { Constraint } from "../engine/grammar/constraint.ts"
import { GrammarError } from "../engine/grammar/expr.ts"
import { SchemaConverter } from "../engine/grammar/json-schema.ts"
import { JsonRules } from "../engine/grammar/json-text.ts"
import type { LoadedModel } from "../engine/load.ts"
import { type ToolFormat, type ToolFunction, toolSupport } from "../text/tools/index.ts"
import { invalidRequest } from "./errors.ts"
import type { Reasoning } from "./prompt.ts"
import type { FunctionTool, ToolChoice } from "./schemas/tools.ts"

/** What a request says of tools. */
export interface ToolFields {
  readonly tools?: FunctionTool[] | null
  readonly tool_choice?: ToolChoice | null
  readonly parallel_tool_calls?: boolean | null
}

/** How an answer's calls are read. */
export interface Calling {
  readonly format: ToolFormat
  /** Names of the tools that may be called. */
  readonly names: readonly string[]
  /** The answer is calls alone: what else there is of it is a call that was cut off before it began. */
  readonly required: boolean
}

/** A function that takes nothing. */
const NO_PARAMETERS = { type: "object", properties: {}, additionalProperties: false }

/** The tools that the model is told of: with `none`, there are none. */
export function offeredTools({ tools, tool_choice }: ToolFields): ToolFunction[] {
  if (tool_choice === "none") return []
  return (tools ?? []).map(({ function: { name, description, parameters } }) => ({
    name,
    ...(typeof description === "string" && { description }),
    parameters: parameters ?? NO_PARAMETERS,
  }))
}

/** `undefined`: the answer makes no calls. */
export function callingOf({ chatTemplate }: LoadedModel, body: ToolFields): Calling | undefined {
  const names = calledTools(body).map((tool) => tool.function.name)
  if (chatTemplate === undefined || names.length === 0) return undefined
  const required = body.tool_choice === "required" || namedTool(body) !== undefined
  return { format: toolSupport(chatTemplate).format, names, required }
}

/**
 * What keeps calls to their form and their arguments to the schemas. A function that is not `strict` and whose schema has more to it than
 * can be kept takes any object.
 * @throws ApiError 400 naming a `strict` schema that cannot be kept.
 */
export function toolsConstraint(
  { format, required }: Calling,
  body: ToolFields,
  reasoning: Reasoning | undefined,
): Constraint {
  const { trigger, open, call, separator, close, between } = format.spelling
  return {
    type: "tools",
    param: "tools",
    trigger,
    open,
    calls: calledTools(body).map((tool) => ({ ...call(tool.function.name), parameters: keptSchema(tool, body) })),
    separator,
    close,
    between,
    required,
    parallel: namedTool(body) === undefined && body.parallel_tool_calls !== false,
    reasoning: reasoning && { ...reasoning.marks, inside: reasoning.inside },
  }
}

/** The one function that is to be called. */
const namedTool = ({ tool_choice }: ToolFields): string | undefined =>
  typeof tool_choice === "object" ? tool_choice?.function.name : undefined

/** The functions that may be called. */
function calledTools(body: ToolFields): FunctionTool[] {
  if (body.tool_choice === "none") return []
  const name = namedTool(body)
  return (body.tools ?? []).filter((tool) => name === undefined || tool.function.name === name)
}

function keptSchema(tool: FunctionTool, { tools }: ToolFields): Record<string, unknown> {
  const schema = { type: "object", ...(tool.function.parameters ?? NO_PARAMETERS) }
  const param = `tools[${tools?.indexOf(tool)}].function.parameters`
  if (schema.type !== "object")
    throw invalidRequest(
      `'${param}': arguments are an object, so that its 'type' has to be "object".`,
      param,
      "invalid_value",
    )
  try {
    new SchemaConverter(schema, new JsonRules()).convert()
    return schema
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error
    if (tool.function.strict) throw invalidRequest(`'${param}': ${error.message}.`, param, "invalid_schema")
    return { type: "object" }
  }
}
