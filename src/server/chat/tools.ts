/** The tools of a request, as the model's chat template and its answers know them. */

import type { LoadedModel } from "../../engine/types.ts"
import type { Constraint } from "../../grammar/constraint.ts"
import { type ToolFormat, type ToolFunction, toolSupport } from "../../text/tools/index.ts"
import type { FunctionTool, ToolChoice } from "../apis/openai/tools-schema.ts"
import { invalidRequest } from "../http/errors.ts"
import { LIMITS } from "../http/limits.ts"
import { unkeptPart } from "./kept-schema.ts"
import type { Reasoning } from "./prompt.ts"

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

/** Characters of the schemas of a request's functions together, at most: looking at them takes time. */
const MAX_SCHEMAS_LENGTH = LIMITS.schemaLength

/** A function that takes nothing. */
const NO_PARAMETERS = { type: "object", properties: {}, additionalProperties: false }

/** The tools that the model is told of: with `none`, there are none. */
export function offeredTools({ tools, tool_choice: toolChoice }: ToolFields): ToolFunction[] {
  if (toolChoice === "none") return []
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
  form?: Constraint,
): Constraint {
  const { trigger, open, call, separator, close, between, empty } = format.spelling
  const schemas = keptSchemas(body)
  return {
    type: "tools",
    param: "tools",
    trigger,
    open,
    calls: calledTools(body).map((tool, i) => ({ ...call(tool.function.name), parameters: schemas[i] ?? true })),
    separator,
    close,
    between,
    empty,
    required,
    ...(form && { answer: form.type === "json_schema" ? form.schema : { type: "object" } }),
    parallel: namedTool(body) === undefined && body.parallel_tool_calls !== false,
    reasoning: reasoning && { ...reasoning.marks, inside: reasoning.inside },
  }
}

/** The one function that is to be called. */
const namedTool = ({ tool_choice: toolChoice }: ToolFields): string | undefined =>
  typeof toolChoice === "object" ? toolChoice?.function.name : undefined

/** The functions that may be called. */
function calledTools(body: ToolFields): FunctionTool[] {
  if (body.tool_choice === "none") return []
  const name = namedTool(body)
  return (body.tools ?? []).filter((tool) => name === undefined || tool.function.name === name)
}

/** The schemas of the functions' arguments, as far as they can be kept to. */
function keptSchemas(body: ToolFields): Record<string, unknown>[] {
  const schemas = calledTools(body).map((tool) => ({ tool, schema: argumentsSchema(tool, body) }))
  const texts = schemas.map(({ schema }) => JSON.stringify(schema))
  const length = texts.reduce((sum, text) => sum + text.length, 0)
  if (length > MAX_SCHEMAS_LENGTH) {
    const message = `the schemas have ${length} characters of JSON together; this server takes up to ${MAX_SCHEMAS_LENGTH}`
    throw invalidRequest(`'tools': ${message}.`, "tools", "constraint_too_large")
  }
  return schemas.map(({ tool, schema }, i) => {
    const problem = unkeptPart(texts[i] ?? "{}")
    if (problem === undefined) return schema
    if (!tool.function.strict) return { type: "object" }
    const param = parametersField(tool, body)
    throw invalidRequest(`'${param}': ${problem}.`, param, "invalid_schema")
  })
}

function argumentsSchema(tool: FunctionTool, body: ToolFields): Record<string, unknown> {
  const schema = { type: "object", ...(tool.function.parameters ?? NO_PARAMETERS) }
  if (schema.type === "object") return schema
  const param = parametersField(tool, body)
  const message = `arguments are an object, so 'type' has to be "object"`
  throw invalidRequest(`'${param}': ${message}.`, param, "invalid_value")
}

const parametersField = (tool: FunctionTool, { tools }: ToolFields): string =>
  `tools[${tools?.indexOf(tool)}].function.parameters`
