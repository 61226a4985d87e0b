/** The tools of a request, as the model's chat template and its answers know them. */

import type { LoadedModel } from "../engine/load.ts"
import { type ToolFormat, type ToolFunction, toolSupport } from "../text/tools/index.ts"
import type { FunctionTool, ToolChoice } from "./schemas/tools.ts"

/** What a request says of tools. */
export interface ToolFields {
  readonly tools?: FunctionTool[] | null
  readonly tool_choice?: ToolChoice | null
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

/** `undefined`: the answer makes no calls. */
export function callingOf({ chatTemplate }: LoadedModel, body: ToolFields): Calling | undefined {
  const names = offeredTools(body).map(({ name }) => name)
  if (chatTemplate === undefined || names.length === 0) return undefined
  return { format: toolSupport(chatTemplate).format, names }
}
