/** The tools of a request: which ones the prompt describes, how the answer calls them, and what its calls must be. */

import type { LoadedModel } from "../../engine/types.ts"
import { fieldMessage, RequestError } from "../../errors.ts"
import { type Constraint, type ToolsConstraint, textOfSchema } from "../../grammar/constraint.ts"
import { SchemaConverter } from "../../grammar/json-schema.ts"
import { JsonRules } from "../../grammar/json-text.ts"
import { parseJson } from "../../json.ts"
import { toolSupport } from "../../text/tools/family.ts"
import type { ToolFormat, ToolFunction } from "../../text/tools/format.ts"
import { currentRequest } from "../observe/record.ts"
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
  /** Places in the functions' schemas that calls need not keep, and why: they cannot be enforced. */
  readonly relaxed: readonly string[]
}

/** Most characters of JSON in the schemas of a request's functions together, without annotations: checking them takes time. */
const MAX_SCHEMAS_LENGTH = 2 ** 20

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
  if (chatTemplate === undefined || callable.length === 0)
    return { offered, calling: undefined, constraint: form, relaxed: [] }
  const calling = {
    format: toolSupport(chatTemplate).format,
    names: callable.map(({ tool }) => tool.name),
    required: mode(request) === "required",
  }
  const oneCall = request.parallelToolCalls === false || namedFunction(request) !== undefined
  const schemas = enforcedSchemas(callable)
  const constraint = toolsConstraint(calling, callable, schemas, !oneCall, form)
  const relaxed = schemas.flatMap((schema) => schema.relaxed)
  noteRelaxed(relaxed)
  return { offered, calling, constraint, relaxed }
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

/** The constraint for calls of tools: their syntax, and the schema of each function's arguments. */
function toolsConstraint(
  { format, required }: Calling,
  callable: readonly Place[],
  schemas: readonly EnforcedSchema[],
  parallel: boolean,
  form: Exclude<Constraint, ToolsConstraint> | undefined,
): ToolsConstraint {
  const { trigger, open, call, separator, close, between, empty } = format.spelling
  return {
    type: "tools",
    param: "tools",
    trigger,
    open,
    calls: callable.map(({ tool }, i) => {
      const { text, relaxed } = schemas[i] as EnforcedSchema
      return { ...call(tool.name), parameters: text, ...(relaxed.length > 0 && { lenient: true }) }
    }),
    separator,
    close,
    between,
    empty,
    required,
    ...(form && { answer: form.type === "json_schema" ? form.schema : '{"type":"object"}' }),
    parallel,
  }
}

/** The schema that a function's arguments are held to, as JSON, and the places in it that are not enforced. */
interface EnforcedSchema {
  readonly text: string
  readonly relaxed: readonly string[]
}

/**
 * The schemas of functions. Of a function that is not `strict`, a part that cannot be enforced allows any value of its type.
 * @throws RequestError that names the part of a `strict` function's schema.
 */
function enforcedSchemas(callable: readonly Place[]): EnforcedSchema[] {
  const texts = callable.map(({ tool: { parameters = NO_PARAMETERS }, index }) => {
    // Arguments are an object, which the schema need not say.
    if (![parameters.type ?? "object"].flat().includes("object"))
      throw parametersError(index, `arguments are an object, so 'type' has to be "object"`, "invalid_value")
    return textOfSchema(parameters)
  })
  const length = texts.reduce((sum, text) => sum + text.length, 0)
  if (length > MAX_SCHEMAS_LENGTH)
    throw new RequestError(
      fieldMessage`'{tools}': the schemas have ${length} characters of JSON together; this server takes up to ${MAX_SCHEMAS_LENGTH}.`,
      "tools",
      "constraint_too_large",
    )
  const rules = new JsonRules()
  return callable.map(({ tool, index }, i) => {
    const text = texts[i] as string
    const places = unsupportedParts(text, rules)
    const [first] = places
    if (tool.strict && first !== undefined) throw parametersError(index, first, "invalid_schema")
    return { text, relaxed: places.map((place) => `tools[${index}].parameters: ${place}`) }
  })
}

/** Most places that the log shows. Clients can invent any number of them. */
const MAX_LOGGED = 1000
const logged = new Set<string>()

/** Counts parts of tools' schemas that are not enforced, and logs each once. */
function noteRelaxed(places: readonly string[]): void {
  const record = currentRequest()
  if (record === undefined) return
  const { metrics, log } = record.observers
  for (const place of places) {
    metrics.ignored("tools[].parameters")
    if (logged.has(place) || logged.size >= MAX_LOGGED || !log?.isLevelEnabled("debug")) continue
    logged.add(place)
    log.debug({ field: place, path: record.path }, "a part of a tool's schema is not enforced")
  }
}

function parametersError(index: number, problem: string, code: string): RequestError {
  const message = fieldMessage`'{tools[${index}].parameters}': ${problem}.`
  return new RequestError(message, `tools[${index}].parameters`, code)
}

/** The same tools come with every message of a conversation, so the verdicts on their schemas are kept: most of them, and by hash. */
const MAX_VERDICTS = 1024
const verdicts = new Map<string, readonly string[]>()

/** The parts of a schema that cannot be enforced, each with its place. @param rules Shared by the schemas of a request. */
function unsupportedParts(json: string, rules: JsonRules): readonly string[] {
  const hash = new Bun.CryptoHasher("sha256").update(json).digest("base64")
  const known = verdicts.get(hash)
  if (known !== undefined) return known
  const [oldest] = verdicts.keys()
  if (oldest !== undefined && verdicts.size >= MAX_VERDICTS) verdicts.delete(oldest)
  const places: string[] = []
  const onRelaxed = (place: string) => places.push(place)
  new SchemaConverter(parseJson(json), rules, { isObject: true, onRelaxed }).convert()
  verdicts.set(hash, places)
  return places
}
