/** Anthropic's requests → ours. */

import type { Conversation } from "../prompt.ts"
import type { ChatMessageBody, ChatRequest } from "../schemas/chat.ts"
import type { CountTokensRequest, MessageParam, MessagesRequest } from "../schemas/messages.ts"

export const toChatRequest = (body: MessagesRequest): ChatRequest => ({
  ...toConversation(body),
  model: body.model,
  max_completion_tokens: body.max_tokens,
  stop: body.stop_sequences,
  temperature: body.temperature,
  top_p: body.top_p,
  top_k: body.top_k,
  stream: body.stream,
})

/** What makes up the prompt: the system prompt is its first message, and the assistant goes on where the last message is its own. */
export function toConversation(body: CountTokensRequest): Conversation & { messages: ChatMessageBody[] } {
  const { system, messages } = body
  const first: ChatMessageBody[] = system ? [{ role: "system", content: textOf(system) }] : []
  const effort = body.output_config?.effort ?? undefined
  return {
    messages: [...first, ...messages.map(toMessage)],
    continue_final_message: messages.at(-1)?.role === "assistant",
    reasoning_effort: body.thinking?.type === "disabled" ? "none" : effort === "max" ? "xhigh" : effort,
  }
}

/** The names of a refused request's fields, where Anthropic's are others. */
export const fieldNames = (body: CountTokensRequest): Readonly<Record<string, string>> => ({
  reasoning_effort: body.thinking?.type === "disabled" ? "thinking" : "output_config.effort",
})

function toMessage({ role, content }: MessageParam): ChatMessageBody {
  if (typeof content === "string") return { role, content }
  const thinking = content.map((block) => (block.type === "thinking" ? block.thinking : "")).join("")
  return { role, content: textOf(content), ...(thinking !== "" && { reasoning_content: thinking }) }
}

/** Blocks of text joined. */
function textOf(content: MessageParam["content"]): string {
  if (typeof content === "string") return content
  return content.map((block) => (block.type === "text" ? block.text : "")).join("")
}
