/** Answers → the events of Anthropic's streams, and those → whole messages. */

import { parseJson } from "../../../json.ts"
import type { ChatDelta, ChatEvent, ChatToolDelta } from "../../chat/chat.ts"
import type { TokenUsage } from "../../chat/choices.ts"
import type { StreamFormat } from "../../http/stream.ts"
import type { AppliedEdit } from "./context-schema.ts"
import { anthropicError } from "./errors.ts"
import type { AnswerBlock, MessageEvent, MessagesResponse, MessageUsage, StopReason } from "./schema.ts"

const PING = 'event: ping\ndata: {"type":"ping"}\n\n'

/** Server-sent events with their names. `message_stop` is the last one. */
export const MESSAGE_EVENTS: StreamFormat = {
  contentType: "text/event-stream; charset=utf-8",
  event: (item) => `event: ${(item as MessageEvent).type}\ndata: ${JSON.stringify(item)}\n\n`,
  end: "",
  failure: (error) => `event: error\ndata: ${JSON.stringify(anthropicError(error))}\n\n`,
  ping: PING,
}

/** What is known of an answer before its first event. */
interface MessageHead {
  readonly id: string
  readonly model: string
  readonly promptTokens: number
  readonly maxTokens: number
  /** Thinking is not sent; its blocks are empty. */
  readonly hidesThinking: boolean
  /** Edits of the conversation; `undefined`: none were asked for. */
  readonly edits: AppliedEdit[] | undefined
}

/**
 * One choice's events in Anthropic's form. The first is sent after the engine's first event, so that a request that the engine refuses
 * still gets an HTTP status. The token counts of `message_start` assume an empty cache; `message_delta` has the final ones.
 */
export async function* messageEvents(
  head: MessageHead,
  events: AsyncIterable<ChatEvent>,
): AsyncGenerator<MessageEvent, void, void> {
  const blocks = new Blocks(head.hidesThinking)
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
    } else yield* blocks.add(event)
  }
}

type Delta = ChatDelta | ChatToolDelta

/** Writes the content blocks of a message. A block begins with its first piece; one block is open at a time. */
class Blocks {
  #index = 0
  #open: Delta["type"] | undefined

  constructor(readonly hidesThinking: boolean) {}

  *add(event: Delta): Generator<MessageEvent> {
    if (event.type === "tool_call") {
      const { id, name } = event
      yield* this.#begin(event.type, { type: "tool_use", id, name, input: {}, caller: { type: "direct" } })
      return
    }
    if (event.text === "") return
    if (event.type !== "tool_arguments" && this.#open !== event.type) yield* this.#begin(event.type, EMPTY[event.type])
    if (event.type === "reasoning" && this.hidesThinking) return
    yield { type: "content_block_delta", index: this.#index, delta: deltaOf(event.type, event.text) }
  }

  *close(): Generator<MessageEvent> {
    if (this.#open === undefined) return
    this.#open = undefined
    yield { type: "content_block_stop", index: this.#index++ }
  }

  *#begin(type: Delta["type"], content_block: AnswerBlock): Generator<MessageEvent> {
    yield* this.close()
    this.#open = type
    yield { type: "content_block_start", index: this.#index, content_block }
  }
}

const EMPTY: Readonly<Record<"reasoning" | "content", AnswerBlock>> = {
  reasoning: { type: "thinking", thinking: "", signature: "" },
  content: { type: "text", text: "", citations: [] },
}

type BlockDelta = Extract<MessageEvent, { type: "content_block_delta" }>["delta"]

function deltaOf(type: "content" | "reasoning" | "tool_arguments", text: string): BlockDelta {
  if (type === "content") return { type: "text_delta", text }
  if (type === "reasoning") return { type: "thinking_delta", thinking: text }
  return { type: "input_json_delta", partial_json: text }
}

/** The whole message of a stream's events. */
export async function foldMessage(events: AsyncIterable<MessageEvent>): Promise<MessagesResponse> {
  let message: MessagesResponse | undefined
  let input = ""
  for await (const event of events) {
    if (event.type === "message_start") message = event.message
    else if (message === undefined) continue
    else if (event.type === "content_block_start") {
      message.content.push({ ...event.content_block })
      input = ""
    } else if (event.type === "content_block_stop") {
      const block = message.content[event.index]
      if (block?.type === "tool_use") block.input = inputOf(input)
    } else if (event.type === "content_block_delta") {
      const block = message.content[event.index]
      const { delta } = event
      if (block?.type === "text" && delta.type === "text_delta") block.text += delta.text
      else if (block?.type === "thinking" && delta.type === "thinking_delta") block.thinking += delta.thinking
      else if (delta.type === "input_json_delta") input += delta.partial_json
    } else if (event.type === "message_delta") {
      const { delta, usage, context_management } = event
      message = { ...message, ...delta, usage: { ...message.usage, ...usage } }
      if (context_management) message.context_management = context_management
    }
  }
  if (message === undefined) throw new Error("the engine sent no event for this request, not even its end")
  return message
}

/** A call's input; empty if its JSON was cut off. */
function inputOf(json: string): Record<string, unknown> {
  try {
    return parseJson(json) as Record<string, unknown>
  } catch {
    return {}
  }
}

const emptyMessage = ({ id, model, promptTokens }: MessageHead): MessagesResponse => ({
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
    ...counts({ promptTokens, cachedTokens: 0, completionTokens: 0 }),
    cache_creation: null,
    inference_geo: null,
    service_tier: "standard",
    speed: null,
  },
})

function messageDelta(
  { maxTokens, edits }: MessageHead,
  finish: Extract<ChatEvent, { type: "finish" }> | undefined,
  usage: TokenUsage,
): MessageEvent {
  const cut: StopReason = usage.completionTokens < maxTokens ? "model_context_window_exceeded" : "max_tokens"
  const silent: StopReason = finish?.reason === "tool_calls" ? "tool_use" : "end_turn"
  const ended: StopReason = finish?.stopString === undefined ? silent : "stop_sequence"
  return {
    type: "message_delta",
    delta: {
      stop_reason: finish?.reason === "length" ? cut : ended,
      stop_sequence: finish?.stopString ?? null,
      stop_details: null,
      container: null,
    },
    usage: counts(usage),
    ...(edits && { context_management: { applied_edits: edits } }),
  }
}

type Counts = Omit<MessageUsage, "cache_creation" | "inference_geo" | "service_tier" | "speed">

const counts = ({ promptTokens, cachedTokens, completionTokens, reasoningTokens }: TokenUsage): Counts => ({
  input_tokens: promptTokens - cachedTokens,
  output_tokens: completionTokens,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: cachedTokens,
  output_tokens_details: reasoningTokens === undefined ? null : { thinking_tokens: reasoningTokens },
  server_tool_use: null,
})
