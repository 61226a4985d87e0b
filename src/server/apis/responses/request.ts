/** Requests of the Responses API → neutral ones. */

import type { ChatRequest, Tool, ToolChoice } from "../../chat/request.ts"
import type { JobOptions } from "../../http/job.ts"
import { jobOptions as openAiJobOptions, toEffort, toGeneration } from "../openai/request.ts"
import { chatFormat } from "./format-schema.ts"
import { toMessages } from "./items.ts"
import type { StoredItem } from "./items-schema.ts"
import { LOGPROBS, type ResponseRequest } from "./schema.ts"
import type { ResponseTools } from "./tools-schema.ts"

export const jobOptions = (body: ResponseRequest): JobOptions => openAiJobOptions("resp", body)

/** @param items The whole conversation, without the instructions. */
export function toChatRequest(body: ResponseRequest, items: readonly StoredItem[]): ChatRequest {
  return {
    ...toGeneration({ ...body, ...chatFormat(body) }),
    messages: toMessages(body.instructions, items),
    maxTokens: body.max_output_tokens ?? undefined,
    logprobs: body.include?.includes(LOGPROBS) ? (body.top_logprobs ?? 0) : undefined,
    ...toEffort(body.reasoning?.effort),
    tools: body.tools?.map(toTool),
    toolChoice: toToolChoice(body.tool_choice),
    parallelToolCalls: body.parallel_tool_calls ?? undefined,
  }
}

const toTool = ({ name, description, parameters, strict }: NonNullable<ResponseTools["tools"]>[number]): Tool => ({
  name,
  description: description ?? undefined,
  parameters: parameters ?? undefined,
  strict: strict ?? undefined,
})

function toToolChoice(choice: ResponseTools["tool_choice"]): ToolChoice | undefined {
  if (choice === undefined || choice === null) return undefined
  if (typeof choice === "string") return choice
  if (choice.type === "function") return { function: choice.name }
  return { allowed: choice.tools.map(({ name }) => name), mode: choice.mode }
}
