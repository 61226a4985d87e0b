/** The tools that the model is offered: functions and custom tools, also those of namespaces, under names that differ. */

import type { z } from "zod"
import { toolProblems } from "../openai/tools-schema.ts"
import type { CustomParam, FunctionParam, ResponseTool, ResponseTools } from "./tools-schema.ts"

/** A tool's name, as the client knows it. */
export interface ToolName {
  readonly name: string
  readonly namespace?: string | null
}

/** A tool, and the name under which the model is offered it. */
export interface FlatTool {
  readonly param: FunctionParam | CustomParam
  readonly name: string
  readonly namespace?: string
  readonly offered: string
  /** Index of the tool, or of its namespace, among {@link allTools}. */
  readonly index: number
}

/** The parts of a request that have tools. */
interface WithTools {
  tools?: ResponseTool[] | null
  input?: string | readonly (object | { tools: ResponseTool[] })[]
}

/** The tools of a request, and those that its input adds. */
export const allTools = ({ tools, input }: WithTools): ResponseTool[] => [
  ...(tools ?? []),
  ...(typeof input === "string" ? [] : (input ?? []).flatMap((item) => ("tools" in item ? item.tools : []))),
]

/**
 * All tools of a request, one by one. A tool of a namespace has its own name, and if another tool has the same, that of the namespace
 * before it. A tool that the input adds again is left out.
 */
export function flatTools(body: WithTools): FlatTool[] {
  const first = body.tools?.length ?? 0
  const flat = allTools(body).flatMap((tool, index): Omit<FlatTool, "offered">[] => {
    if (tool.type === "hosted") return []
    if (tool.type !== "namespace") return [{ param: tool, name: tool.name, index }]
    const inner = tool.tools.filter((one) => one.type !== "hosted")
    return inner.map((param) => ({ param, name: param.name, namespace: tool.name, index }))
  })
  const key = ({ name, namespace }: ToolName) => JSON.stringify([namespace, name])
  const places = new Map<string, number>()
  const kept = flat.filter((tool, i) => {
    const before = places.get(key(tool))
    if (before === undefined) places.set(key(tool), i)
    return before === undefined || tool.index < first
  })
  const counts = new Map<string, number>()
  for (const { name } of kept) counts.set(name, (counts.get(name) ?? 0) + 1)
  return kept.map((tool) => {
    const { name, namespace } = tool
    if (namespace === undefined || counts.get(name) === 1) return { ...tool, offered: name }
    return { ...tool, offered: `${namespace}${namespace.endsWith("__") ? "" : "__"}${name}` }
  })
}

/** Whether a name is that of a tool. A name without a namespace can be that of any tool. */
const isSame = (tool: FlatTool, { name, namespace }: ToolName): boolean =>
  tool.name === name && (!namespace || tool.namespace === namespace)

/** The name under which the model knows a tool that an item names. */
export const offeredName =
  (tools: readonly FlatTool[]) =>
  (name: ToolName): string =>
    tools.find((tool) => isSame(tool, name) && tool.namespace === (name.namespace ?? undefined))?.offered ??
    tools.find((tool) => isSame(tool, name))?.offered ??
    name.name

/** Every tool has a name of its own, and a choice is one among tools. */
export function checkResponseTools(
  body: ResponseTools & WithTools,
  { addIssue }: z.core.$RefinementCtx<ResponseTools & WithTools>,
): void {
  const { tool_choice } = body
  const refuse = (path: PropertyKey[], message: string) => addIssue({ code: "custom", path, message, input: body })
  const tools = flatTools(body)
  const chosen = typeof tool_choice === "object" ? (tool_choice ?? undefined) : { mode: tool_choice }
  const isKnown = (name: ToolName) => tools.some((tool) => isSame(tool, name))
  const stray = (chosen && "tools" in chosen ? chosen.tools : []).findIndex(
    ({ type, name, namespace }) =>
      (type === "function" || type === "custom") && !isKnown({ name: name ?? "", namespace }),
  )
  if (stray >= 0) refuse(["tool_choice", "tools", stray, "name"], "none of the tools has this name")
  const required = chosen !== undefined && "mode" in chosen && chosen.mode === "required"
  const names = tools.map(({ offered }) => offered)
  for (const { at, index, message } of toolProblems(names, required, undefined))
    refuse(at === "choice" ? ["tool_choice"] : ["tools", tools[index]?.index ?? 0, "name"], message)
  if (chosen && "name" in chosen && !isKnown(chosen)) refuse(["tool_choice", "name"], "none of the tools has this name")
}
