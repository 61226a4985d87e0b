/** Requests of the Responses API → neutral ones. */

import type { LoadedModel } from "../../../engine/types.ts"
import { encodeChat } from "../../chat/encode.ts"
import { renderChat } from "../../chat/prompt.ts"
import type { ChatRequest, Message, Tool, ToolChoice } from "../../chat/request.ts"
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

/**
 * The request without its oldest turns: as few are left out as make room for the answer, and the last turn always stays. A turn begins
 * with a user's message. A prompt that still does not fit is refused later.
 * @throws RequestError as `renderChat` does
 */
export async function withoutOldest(model: LoadedModel, request: ChatRequest): Promise<ChatRequest> {
  const { contextLength } = model.engine.limits
  const room = Math.min(request.maxTokens ?? Math.ceil(contextLength / 8), Math.floor(contextLength / 2))
  const fits = async (messages: readonly Message[]): Promise<boolean> =>
    (await encodeChat(model, renderChat(model, { ...request, messages }))).length + room <= contextLength
  const { messages } = request
  if (await fits(messages)) return request
  const system = messages[0]?.role === "system" ? messages.slice(0, 1) : []
  const from = (start: number) => [...system, ...messages.slice(start)]
  const turns = messages.flatMap(({ role }, i) => (role === "user" ? [i] : []))
  // A binary search for the first turn to keep: whatever fits still fits when it is shorter.
  let [low, high] = [1, turns.length - 1]
  while (low < high) {
    const middle = (low + high) >> 1
    if (await fits(from(turns[middle] ?? 0))) high = middle
    else low = middle + 1
  }
  const start = turns[Math.max(low, 0)]
  return high < 1 || start === undefined ? request : { ...request, messages: from(start) }
}
