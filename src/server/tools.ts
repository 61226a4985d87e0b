/** The tools of a request, as the model's chat template and its answers know them. */

import type { LoadedModel } from "../engine/load.ts"
import { type ToolFormat, type ToolFunction, toolSupport } from "../text/tools/index.ts"
import { invalidRequest } from "./errors.ts"
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
}

/** A function that takes nothing. */
const NO_PARAMETERS = { type: "object", properties: {} }

/** The tools that the model is told of: with `none`, there are none. */
export function offeredTools({ tools, tool_choice }: ToolFields): ToolFunction[] {
  if (tool_choice === "none") return []
  return (tools ?? []).map(({ function: { name, description, parameters } }) => ({
    name,
    ...(typeof description === "string" && { description }),
    parameters: parameters ?? NO_PARAMETERS,
  }))
}

/**
 * `undefined`: the answer makes no calls.
 * @throws ApiError 400 naming what cannot be kept to.
 */
export function callingOf({ chatTemplate }: LoadedModel, body: ToolFields): Calling | undefined {
  checkServed(body)
  const names = offeredTools(body).map(({ name }) => name)
  if (chatTemplate === undefined || names.length === 0) return undefined
  return { format: toolSupport(chatTemplate).format, names }
}

function checkServed({ tools, tool_choice, parallel_tool_calls }: ToolFields): void {
  const later = (param: string, what: string) =>
    invalidRequest(`'${param}': ${what} is not supported yet; leave the field out.`, param, "unsupported_parameter")
  if (tool_choice && tool_choice !== "auto" && tool_choice !== "none")
    throw later("tool_choice", "a choice that forces a call")
  if (parallel_tool_calls === false) throw later("parallel_tool_calls", "turning it off")
  const strict = tools?.findIndex((tool) => tool.function.strict) ?? -1
  if (strict >= 0) throw later(`tools[${strict}].function.strict`, "keeping to the schema")
}
