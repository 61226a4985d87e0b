/** Answers → the events of Anthropic's streams, and those → whole messages. */

import type { ChatDelta, ChatEvent } from "../chat-engine.ts"
import type { UsageBody } from "../schemas/generation.ts"
import type { AnswerBlock, MessageEvent, MessagesResponse, MessageUsage, StopReason } from "../schemas/messages.ts"
import type { StreamFormat } from "../sse.ts"
import { messageErrorBody } from "./errors.ts"

const PING = 'event: ping\ndata: {"type":"ping"}\n\n'

/** Server-sent events under their names; `message_stop` is what ends them. */
export const MESSAGE_EVENTS: StreamFormat = {
  contentType: "text/event-stream; charset=utf-8",
  event: (item) => `event: ${(item as MessageEvent).type}\ndata: ${JSON.stringify(item)}\n\n`,
  end: "",
  failure: (error) => `event: error\ndata: ${JSON.stringify(messageErrorBody(error))}\n\n`,
  ping: PING,
}

/** What is known of an answer before it is made. */
export interface MessageHead {
  readonly id: string
  readonly model: string
  /** Of the prompt. */
  readonly prompt_tokens: number
  /** What was asked for. */
  readonly max_tokens: number
}

/**
 * One choice's events as Anthropic's. The first comes when the engine has said something, so that a request it refuses still gets a
 * status of its own. Token counts of `message_start` are those of an empty cache; `message_delta` has the final ones.
 */
export async function* messageEvents(
  head: MessageHead,
  events: AsyncIterable<ChatEvent>,
): AsyncGenerator<MessageEvent, void, void> {
  const blocks = new Blocks()
  let begun = false
  let finish: Extract<ChatEvent, { type: "finish" }> | undefined
  for await (const event of events) {
    if (!begun) {
      begun = true
      yield { type: "message_start", message: emptyMessage(head) }
      yield { type: "ping" }
    }
    if (event.type === "finish") finish = event
    else if (event.type === "usage") {
      yield* blocks.close()
      yield messageDelta(head, finish, event.usage)
      yield { type: "message_stop" }
    } else if (event.type === "content" || event.type === "reasoning") yield* blocks.add(event)
  }
}

/** The content blocks of a message: each begins with its first piece, and one is open at a time. */
class Blocks {
  #index = 0
  #open: ChatDelta["type"] | undefined;

  *add({ type, text }: ChatDelta): Generator<MessageEvent> {
    if (text === "") return
    if (this.#open !== type) {
      yield* this.close()
      this.#open = type
      yield { type: "content_block_start", index: this.#index, content_block: emptyBlock(type) }
    }
    const delta = type === "reasoning" ? thinkingDelta(text) : textDelta(text)
    yield { type: "content_block_delta", index: this.#index, delta }
  }

  *close(): Generator<MessageEvent> {
    if (this.#open === undefined) return
    this.#open = undefined
    yield { type: "content_block_stop", index: this.#index++ }
  }
}

const emptyBlock = (type: ChatDelta["type"]): AnswerBlock =>
  type === "reasoning" ? { type: "thinking", thinking: "", signature: "" } : { type: "text", text: "", citations: null }
const textDelta = (text: string) => ({ type: "text_delta", text }) as const
const thinkingDelta = (thinking: string) => ({ type: "thinking_delta", thinking }) as const

/** The message that a stream's events make up. */
export async function foldMessage(events: AsyncIterable<MessageEvent>): Promise<MessagesResponse> {
  let message: MessagesResponse | undefined
  for await (const event of events) {
    if (event.type === "message_start") message = event.message
    else if (message === undefined) continue
    else if (event.type === "content_block_start") message.content.push({ ...event.content_block })
    else if (event.type === "content_block_delta") {
      const block = message.content[event.index]
      const { delta } = event
      if (block?.type === "text" && delta.type === "text_delta") block.text += delta.text
      else if (block?.type === "thinking" && delta.type === "thinking_delta") block.thinking += delta.thinking
    } else if (event.type === "message_delta") {
      const { delta, usage } = event
      message = { ...message, ...delta, usage: { ...message.usage, ...usage } }
    }
  }
  if (message === undefined) throw new Error("the engine said nothing of this request, not even that it ended")
  return message
}

const emptyMessage = ({ id, model, prompt_tokens }: MessageHead): MessagesResponse => ({
  id,
  type: "message",
  role: "assistant",
  model,
  content: [],
  stop_reason: null,
  stop_sequence: null,
  stop_details: null,
  container: null,
  diagnostics: null,
  usage: {
    ...counts({ prompt: prompt_tokens, cached: 0, completion: 0 }),
    cache_creation: null,
    inference_geo: null,
    service_tier: "standard",
    speed: null,
  },
})

function messageDelta(
  { max_tokens }: MessageHead,
  finish: Extract<ChatEvent, { type: "finish" }> | undefined,
  usage: UsageBody,
): MessageEvent {
  const { prompt_tokens, completion_tokens, prompt_tokens_details, completion_tokens_details } = usage
  const cut: StopReason = completion_tokens < max_tokens ? "model_context_window_exceeded" : "max_tokens"
  const ended: StopReason = finish?.stop_string === undefined ? "end_turn" : "stop_sequence"
  return {
    type: "message_delta",
    delta: {
      stop_reason: finish?.reason === "length" ? cut : ended,
      stop_sequence: finish?.stop_string ?? null,
      stop_details: null,
      container: null,
    },
    usage: counts({
      prompt: prompt_tokens,
      cached: prompt_tokens_details.cached_tokens,
      completion: completion_tokens,
      thinking: completion_tokens_details?.reasoning_tokens,
    }),
  }
}

type Counts = Omit<MessageUsage, "cache_creation" | "inference_geo" | "service_tier" | "speed">

const counts = (tokens: { prompt: number; cached: number; completion: number; thinking?: number }): Counts => ({
  input_tokens: tokens.prompt - tokens.cached,
  output_tokens: tokens.completion,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: tokens.cached,
  output_tokens_details: tokens.thinking === undefined ? null : { thinking_tokens: tokens.thinking },
  server_tool_use: null,
})
