/** The tools of a request: which ones the prompt describes, how the answer calls them, and what its calls must be. */

import type { LoadedModel } from "../../engine/types.ts"
import { fieldMessage, RequestError } from "../../errors.ts"
import type { Constraint, ToolsConstraint } from "../../grammar/constraint.ts"
import { GrammarError } from "../../grammar/expr.ts"
import { SchemaConverter } from "../../grammar/json-schema.ts"
import { JsonRules } from "../../grammar/json-text.ts"
import { toolSupport } from "../../text/tools/family.ts"
import type { ToolFormat, ToolFunction } from "../../text/tools/format.ts"
import type { Conversation, GenerationRequest, Tool } from "./request.ts"
import { formConstraint } from "./structured.ts"

type ToolFields = Pick<Conversation, "tools" | "toolChoice" | "parallelToolCalls">

/** How an answer's calls are read. */
export interface Calling {
  readonly format: ToolFormat
  /** Names of the tools that may be called. */
  readonly names: readonly string[]
  /** The answer is calls alone. Other text in it can only be the beginning of a call that was cut off. */
  readonly required: boolean
}

/** What a request's tools, and the form that it asks for, come to. */
interface ToolPlan {
  /** Functions that the prompt describes. */
  readonly offered: readonly ToolFunction[]
  /** `undefined`: the answer makes no calls. */
  readonly calling: Calling | undefined
  /** What the answer must be; `undefined`: any text. */
  readonly constraint: Constraint | undefined
}

/** Most characters of JSON in the schemas of a request's functions together: checking them takes time. */
const MAX_SCHEMAS_LENGTH = 2 ** 17

/** Parameters of a function that takes nothing. */
const NO_PARAMETERS = { type: "object", properties: {}, additionalProperties: false }

/** @throws RequestError that names a form or a `strict` schema with an unsupported part. */
export function planTools(
  { chatTemplate }: Pick<LoadedModel, "chatTemplate">,
  request: ToolFields & GenerationRequest,
): ToolPlan {
  const form = formConstraint(request)
  const offered = offeredTools(request)
  const callable = callableTools(request)
  if (chatTemplate === undefined || callable.length === 0) return { offered, calling: undefined, constraint: form }
  const calling = {
    format: toolSupport(chatTemplate).format,
    names: callable.map(({ tool }) => tool.name),
    required: mode(request) === "required",
  }
  const oneCall = request.parallelToolCalls === false || namedFunction(request) !== undefined
  return { offered, calling, constraint: toolsConstraint(calling, callable, !oneCall, form) }
}

/** The functions that the prompt describes. With `none` there are none. */
export const offeredTools = (request: ToolFields): ToolFunction[] =>
  allowedTools(request).map(({ tool: { name, description, parameters = NO_PARAMETERS } }) => ({
    name,
    ...(description !== undefined && { description }),
    parameters,
  }))

/** A tool, and its index in the request, by which errors name it. */
interface Place {
  readonly tool: Tool
  readonly index: number
}

function allowedTools({ tools = [], toolChoice }: ToolFields): Place[] {
  if (toolChoice === "none") return []
  const places = tools.map((tool, index) => ({ tool, index }))
  if (typeof toolChoice !== "object" || !("allowed" in toolChoice)) return places
  const names = new Set(toolChoice.allowed)
  return places.filter(({ tool }) => names.has(tool.name))
}

/** The one function that must be called. */
const namedFunction = ({ toolChoice }: ToolFields): string | undefined =>
  typeof toolChoice === "object" && "function" in toolChoice ? toolChoice.function : undefined

/** Whether the answer needs to have a call. */
const mode = ({ toolChoice = "auto" }: ToolFields): "none" | "auto" | "required" =>
  typeof toolChoice === "string" ? toolChoice : "function" in toolChoice ? "required" : toolChoice.mode

function callableTools(request: ToolFields): Place[] {
  const name = namedFunction(request)
  return allowedTools(request).filter(({ tool }) => name === undefined || tool.name === name)
}

/**
 * The constraint for calls of tools: their syntax, and the schema of each function's arguments. A function that is not `strict` and whose
 * schema has an unsupported part accepts any object.
 */
function toolsConstraint(
  { format, required }: Calling,
  callable: readonly Place[],
  parallel: boolean,
  form: Exclude<Constraint, ToolsConstraint> | undefined,
): ToolsConstraint {
  const { trigger, open, call, separator, close, between, empty } = format.spelling
  const schemas = enforcedSchemas(callable)
  return {
    type: "tools",
    param: "tools",
    trigger,
    open,
    calls: callable.map(({ tool }, i) => ({ ...call(tool.name), parameters: schemas[i] ?? true })),
    separator,
    close,
    between,
    empty,
    required,
    ...(form && { answer: form.type === "json_schema" ? form.schema : { type: "object" } }),
    parallel,
  }
}

/** The schema that each function's arguments are held to. */
function enforcedSchemas(callable: readonly Place[]): Record<string, unknown>[] {
  const schemas = callable.map((place) => ({ ...place, schema: argumentsSchema(place) }))
  const texts = schemas.map(({ schema }) => JSON.stringify(schema))
  const length = texts.reduce((sum, text) => sum + text.length, 0)
  if (length > MAX_SCHEMAS_LENGTH)
    throw new RequestError(
      fieldMessage`'{tools}': the schemas have ${length} characters of JSON together; this server takes up to ${MAX_SCHEMAS_LENGTH}.`,
      "tools",
      "constraint_too_large",
    )
  return schemas.map(({ tool, index, schema }, i) => {
    const problem = unsupportedPart(texts[i] ?? "{}")
    if (problem === undefined) return schema
    if (!tool.strict) return { type: "object" }
    throw parametersError(index, problem, "invalid_schema")
  })
}

function argumentsSchema({ tool, index }: Place): Record<string, unknown> {
  const schema = { type: "object", ...(tool.parameters ?? NO_PARAMETERS) }
  if (schema.type === "object") return schema
  throw parametersError(index, `arguments are an object, so 'type' has to be "object"`, "invalid_value")
}

function parametersError(index: number, problem: string, code: string): RequestError {
  const message = fieldMessage`'{tools[${index}].parameters}': ${problem}.`
  return new RequestError(message, `tools[${index}].parameters`, code)
}

/** The same tools come with every message of a conversation, so the verdicts on their schemas are kept: most of them, and by hash. */
const MAX_VERDICTS = 1024
const verdicts = new Map<string, string | undefined>()

/** The part of a JSON schema that cannot be enforced; `undefined`: there is none. */
function unsupportedPart(json: string): string | undefined {
  const hash = new Bun.CryptoHasher("sha256").update(json).digest("base64")
  if (verdicts.has(hash)) return verdicts.get(hash)
  const [oldest] = verdicts.keys()
  if (oldest !== undefined && verdicts.size >= MAX_VERDICTS) verdicts.delete(oldest)
  const verdict = convertSchema(JSON.parse(json))
  verdicts.set(hash, verdict)
  return verdict
}

function convertSchema(schema: unknown): string | undefined {
  try {
    new SchemaConverter(schema, new JsonRules()).convert()
    return undefined
  } catch (error) {
    if (error instanceof GrammarError) return error.message
    throw error
  }
}
