/** Makes prompts shorter that do not fit into the context, for the APIs that ask for it. */

import type { LoadedModel } from "../../engine/types.ts"
import { encodeChat } from "./encode.ts"
import { renderChat } from "./prompt.ts"
import type { ChatRequest, GenerationRequest, Message } from "./request.ts"

/** Tokens of a context that a prompt leaves to the answer when it is made shorter. */
export const roomForAnswer = ({ maxTokens }: GenerationRequest, contextLength: number): number =>
  Math.max(1, Math.min(maxTokens ?? Math.ceil(contextLength / 8), Math.floor(contextLength / 2)))

/**
 * The request without its oldest turns: as few are left out as make room for the answer, and the last turn always stays. A turn begins
 * with a user's message. A prompt that still does not fit is refused later.
 * @param contextLength Tokens of prompt and answer at most.
 * @throws RequestError as `renderChat` does
 */
export async function withoutOldest(
  model: LoadedModel,
  request: ChatRequest,
  contextLength = model.engine.limits.contextLength,
): Promise<ChatRequest> {
  const room = roomForAnswer(request, contextLength)
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

/** Characters of a text that a token may have on average where a text is cut. Longer texts are cut to that at once. */
const MOST_CHARACTERS = 16

/**
 * The request with as much of the end of its last message as fits; a prompt that fits stays as it is.
 * @param contextLength Tokens of prompt and answer at most.
 * @throws RequestError as `renderChat` does
 */
export async function withLastCut(
  model: LoadedModel,
  request: ChatRequest,
  contextLength: number,
): Promise<ChatRequest> {
  const last = request.messages.at(-1)
  if (last === undefined) return request
  const room = roomForAnswer(request, contextLength)
  const cut = (length: number): ChatRequest => {
    const content = length === 0 ? "" : last.content.slice(-length)
    return { ...request, messages: [...request.messages.slice(0, -1), { ...last, content }] }
  }
  const fits = async (shorter: ChatRequest): Promise<boolean> =>
    (await encodeChat(model, renderChat(model, shorter))).length + room <= contextLength
  if (last.content.length <= contextLength * MOST_CHARACTERS && (await fits(request))) return request
  let [low, high] = [0, Math.min(last.content.length, contextLength * MOST_CHARACTERS)]
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if (await fits(cut(middle))) low = middle
    else high = middle - 1
  }
  return cut(low)
}
