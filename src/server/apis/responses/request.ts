/** Requests of the Responses API → neutral ones. */

import type { ChatRequest } from "../../chat/request.ts"
import type { JobOptions } from "../../http/job.ts"
import { jobOptions as openAiJobOptions, toEffort, toGeneration } from "../openai/request.ts"
import { chatFormat } from "./format-schema.ts"
import { toMessages } from "./items.ts"
import type { StoredItem } from "./items-schema.ts"
import { LOGPROBS, type ResponseRequest } from "./schema.ts"
import { flatTools, offeredName, toTool, toToolChoice } from "./tools.ts"

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
