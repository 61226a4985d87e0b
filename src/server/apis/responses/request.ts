/** Requests of the Responses API → the chat engine's. */

import type { LoadedModel } from "../../../engine/types.ts"
import { encodeChat } from "../../chat/encode.ts"
import { renderChat } from "../../chat/prompt.ts"
import type { ChatRequest } from "../openai/chat-schema.ts"
import { chatFormat, FORMAT_FIELD_NAMES } from "./format-schema.ts"
import { toMessages } from "./items.ts"
import type { StoredItem } from "./items-schema.ts"
import { LOGPROBS, type ResponseRequest, type SamplingField } from "./schema.ts"
import { chatTools, toolFieldNames } from "./tools-schema.ts"

/** All of them, so that the compiler sees when one more has to be passed on. */
type Sampling = { [Field in SamplingField]: ChatRequest[Field] }

/** @param items The whole conversation, without the instructions. */
export function toChatRequest(body: ResponseRequest, items: readonly StoredItem[]): ChatRequest {
  const logprobs = body.include?.includes(LOGPROBS) ?? false
  const sampling: Sampling = {
    model: body.model,
    temperature: body.temperature,
    top_p: body.top_p,
    top_k: body.top_k,
    min_p: body.min_p,
    presence_penalty: body.presence_penalty,
    frequency_penalty: body.frequency_penalty,
    repetition_penalty: body.repetition_penalty,
    logit_bias: body.logit_bias,
    seed: body.seed,
    stop: body.stop,
    ignore_eos: body.ignore_eos,
    min_tokens: body.min_tokens,
    priority: body.priority,
    cache_salt: body.cache_salt,
  }
  return {
    ...sampling,
    messages: toMessages(body.instructions, items),
    max_completion_tokens: body.max_output_tokens,
    logprobs,
    top_logprobs: logprobs ? (body.top_logprobs ?? 0) : undefined,
    reasoning_effort: body.reasoning?.effort,
    ...chatTools(body),
    ...chatFormat(body),
  }
}

/** The names of a refused request's fields, where chat completions call them otherwise. */
export const fieldNames = (body: ResponseRequest): Readonly<Record<string, string>> => ({
  messages: "input",
  max_completion_tokens: "max_output_tokens",
  reasoning_effort: "reasoning.effort",
  ...toolFieldNames(body),
  ...FORMAT_FIELD_NAMES,
})

/**
 * The request without its oldest turns: as few as leave room for the answer, and the last one at least. What still does not fit is
 * for the engine to refuse. A turn begins with a user's message.
 * @throws ApiError 400 as `renderChat` does.
 */
export async function withoutOldest(model: LoadedModel, request: ChatRequest): Promise<ChatRequest> {
  const { contextLength: context_length } = model.engine.limits
  const room = Math.min(request.max_completion_tokens ?? Math.ceil(context_length / 8), Math.floor(context_length / 2))
  const fits = async (messages: ChatRequest["messages"]): Promise<boolean> =>
    (await encodeChat(model, renderChat(model, { ...request, messages }))).length + room <= context_length
  const { messages } = request
  if (await fits(messages)) return request
  const system = messages[0]?.role === "system" || messages[0]?.role === "developer" ? messages.slice(0, 1) : []
  const from = (start: number) => [...system, ...messages.slice(start)]
  const turns = messages.flatMap(({ role }, i) => (role === "user" ? [i] : []))
  // The first of them that fits: what fits, fits as well when it is shorter.
  let [low, high] = [1, turns.length - 1]
  while (low < high) {
    const middle = (low + high) >> 1
    if (await fits(from(turns[middle] ?? 0))) high = middle
    else low = middle + 1
  }
  const start = turns[Math.max(low, 0)]
  return high < 1 || start === undefined ? request : { ...request, messages: from(start) }
}
