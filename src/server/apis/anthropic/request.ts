/** Anthropic's requests → neutral ones. */

import { stringifyJson } from "../../../json.ts"
import type { ChatRequest, Conversation, Message, ToolChoice } from "../../chat/request.ts"
import type { CountTokensRequest, MessageParam, MessagesRequest } from "./schema.ts"

export const toChatRequest = (body: MessagesRequest): ChatRequest => ({
  ...toConversation(body),
  maxTokens: body.max_tokens,
  stop: body.stop_sequences ?? undefined,
  temperature: body.temperature ?? undefined,
  topP: body.top_p ?? undefined,
  topK: body.top_k ?? undefined,
})

/** The system prompt becomes the first message. When the last message is the assistant's, the answer continues it. */
export function toConversation(body: CountTokensRequest): Conversation {
  const { system, messages } = body
  const first: Message[] = system ? [{ role: "system", content: textOf(system) }] : []
  const effort = body.output_config?.effort ?? undefined
  return {
    messages: [...first, ...messages.flatMap(toMessages)],
    ...toTools(body),
    continueFinalMessage: messages.at(-1)?.role === "assistant",
    ...(body.thinking?.type === "disabled"
      ? { thinking: false }
      : { reasoningEffort: effort === "max" ? "xhigh" : effort }),
  }
}

function toTools({
  tools,
  tool_choice: choice,
}: CountTokensRequest): Pick<Conversation, "tools" | "toolChoice" | "parallelToolCalls"> {
  if (!tools) return {}
  return {
    tools: tools.map(({ name, description, input_schema: parameters, strict }) => {
      return { name, description, parameters, strict }
    }),
    toolChoice: choice ? toToolChoice(choice) : undefined,
    parallelToolCalls: choice && choice.type !== "none" && choice.disable_parallel_tool_use ? false : undefined,
  }
}

function toToolChoice(choice: NonNullable<CountTokensRequest["tool_choice"]>): ToolChoice {
  if (choice.type === "tool") return { function: choice.name }
  return choice.type === "any" ? "required" : choice.type
}

/** An assistant's message becomes one message. In a user's, each result becomes a message, and so does the text between results. */
function toMessages({ role, content }: MessageParam): Message[] {
  if (typeof content === "string") return [{ role, content }]
  if (role === "assistant") return [assistantMessage(content)]
  const messages: Message[] = []
  for (const block of content) {
    const last = messages.at(-1)
    if (block.type === "tool_result") messages.push(resultMessage(block))
    else if (block.type !== "text") continue
    else if (last?.role === role) messages.splice(-1, 1, { ...last, content: last.content + block.text })
    else messages.push({ role, content: block.text })
  }
  return messages.length > 0 ? messages : [{ role, content: "" }]
}

type Block = Exclude<MessageParam["content"], string>[number]

function assistantMessage(content: readonly Block[]): Message {
  const thinking = content.map((block) => (block.type === "thinking" ? block.thinking : "")).join("")
  const calls = content.filter((block) => block.type === "tool_use")
  return {
    role: "assistant",
    content: textOf(content),
    ...(thinking !== "" && { reasoning: thinking }),
    ...(calls.length > 0 && {
      toolCalls: calls.map(({ id, name, input }) => ({ id, name, arguments: stringifyJson(input) })),
    }),
  }
}

const resultMessage = (block: Extract<Block, { type: "tool_result" }>): Message => ({
  role: "tool",
  toolCallId: block.tool_use_id,
  content: (block.is_error ? "Error: " : "") + textOf(block.content ?? ""),
})

/** Blocks of text joined. */
function textOf(content: string | readonly Block[]): string {
  if (typeof content === "string") return content
  return content.map((block) => (block.type === "text" ? block.text : "")).join("")
}
