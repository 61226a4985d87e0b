/** Requests of the Responses API → neutral ones. */

import { customFunction } from "../../chat/custom-tools.ts"
import type { ChatRequest, Tool, ToolChoice } from "../../chat/request.ts"
import type { JobOptions } from "../../http/job.ts"
import { noteIgnored } from "../../http/lenient.ts"
import { jobOptions as openAiJobOptions, toEffort, toGeneration } from "../openai/request.ts"
import { chatFormat } from "./format-schema.ts"
import { toMessages } from "./items.ts"
import type { StoredItem } from "./items-schema.ts"
import { LOGPROBS, type ResponseRequest } from "./schema.ts"
import { type FlatTool, flatTools, offeredName } from "./tools.ts"
import type { ResponseTools } from "./tools-schema.ts"

export const jobOptions = (body: ResponseRequest): JobOptions => openAiJobOptions("resp", body)

/** @param items The whole conversation, without the instructions. */
export function toChatRequest(body: ResponseRequest, items: readonly StoredItem[]): ChatRequest {
  const tools = flatTools(body)
  return {
    ...toGeneration({ ...body, ...chatFormat(body) }),
    messages: toMessages(body.instructions, items, offeredName(tools)),
    maxTokens: body.max_output_tokens ?? undefined,
    logprobs: body.include?.includes(LOGPROBS) ? (body.top_logprobs ?? 0) : undefined,
    ...toEffort(body.reasoning?.effort),
    tools: tools.map(toTool),
    toolChoice: toToolChoice(body.tool_choice, tools),
    parallelToolCalls: body.parallel_tool_calls ?? undefined,
  }
}

function toTool({ param, offered: name }: FlatTool): Tool {
  const { description } = param
  if (param.type === "function") {
    const { parameters, strict } = param
    return {
      name,
      description: description ?? undefined,
      parameters: parameters ?? undefined,
      strict: strict ?? undefined,
    }
  }
  const { format } = param
  const grammar = format?.type === "grammar" ? format : undefined
  if (grammar?.syntax === "lark") noteIgnored("tools[].format.syntax=lark")
  const custom = customFunction({
    name,
    description,
    ...(grammar?.syntax === "regex" && { pattern: grammar.definition }),
    ...(grammar?.syntax === "lark" && { lark: grammar.definition }),
  })
  // An expression that is not supported is given up, instead of the request.
  return { ...custom, strict: false }
}

function toToolChoice(choice: ResponseTools["tool_choice"], tools: readonly FlatTool[]): ToolChoice | undefined {
  if (choice === undefined || choice === null || tools.length === 0) return undefined
  if (typeof choice === "string") return choice
  if (choice.type !== "allowed_tools") return { function: offeredName(tools)(choice) }
  const allowed = choice.tools.flatMap(({ type, name, namespace }) => {
    if (type === "function" || type === "custom") return [offeredName(tools)({ name: name ?? "", namespace })]
    if (type === "namespace") return tools.filter((tool) => tool.namespace === name).map(({ offered }) => offered)
    noteIgnored(`tool_choice.tools[].type=${type}`, false)
    return []
  })
  return { allowed, mode: choice.mode }
}
