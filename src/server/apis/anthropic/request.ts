/** Anthropic's requests → ours. */

import type { Conversation } from "../../chat/prompt.ts"
import type { ToolFields } from "../../chat/tools.ts"
import type { ChatMessageBody, ChatRequest } from "../openai/chat-schema.ts"
import type { ToolChoice } from "../openai/tools-schema.ts"
import type { CountTokensRequest, MessageParam, MessagesRequest } from "./schema.ts"

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
    messages: [...first, ...messages.flatMap(toMessages)],
    ...toTools(body),
    continue_final_message: messages.at(-1)?.role === "assistant",
    reasoning_effort: body.thinking?.type === "disabled" ? "none" : effort === "max" ? "xhigh" : effort,
  }
}

/** The names of a refused request's fields, where Anthropic's are others. */
export function fieldNames(body: CountTokensRequest): Readonly<Record<string, string>> {
  const tools = body.tools?.flatMap((_, i): [string, string][] => [
    [`tools[${i}].function.strict`, `tools[${i}].strict`],
    [`tools[${i}].function.parameters`, `tools[${i}].input_schema`],
  ])
  return {
    reasoning_effort: body.thinking?.type === "disabled" ? "thinking" : "output_config.effort",
    parallel_tool_calls: "tool_choice.disable_parallel_tool_use",
    ...Object.fromEntries(tools ?? []),
  }
}

function toTools({ tools, tool_choice: choice }: CountTokensRequest): ToolFields {
  if (!tools) return {}
  return {
    tools: tools.map(({ name, description, input_schema, strict }) => ({
      type: "function",
      function: { name, description, parameters: input_schema, strict },
    })),
    tool_choice: choice && toChoice(choice),
    parallel_tool_calls: choice && choice.type !== "none" && choice.disable_parallel_tool_use ? false : undefined,
  }
}

function toChoice(choice: NonNullable<CountTokensRequest["tool_choice"]>): ToolChoice {
  if (choice.type === "tool") return { type: "function", function: { name: choice.name } }
  return choice.type === "any" ? "required" : choice.type
}

/** An assistant's message is one of ours; of a user's, each result is, and what text stands before, between and behind them. */
function toMessages({ role, content }: MessageParam): ChatMessageBody[] {
  if (typeof content === "string") return [{ role, content }]
  if (role === "assistant") return [assistantMessage(content)]
  const messages: ChatMessageBody[] = []
  for (const block of content) {
    const last = messages.at(-1)
    if (block.type === "tool_result") messages.push(resultMessage(block))
    else if (block.type !== "text") continue
    else if (last?.role === role) last.content += block.text
    else messages.push({ role, content: block.text })
  }
  return messages.length > 0 ? messages : [{ role, content: "" }]
}

type Block = Exclude<MessageParam["content"], string>[number]

function assistantMessage(content: readonly Block[]): ChatMessageBody {
  const thinking = content.map((block) => (block.type === "thinking" ? block.thinking : "")).join("")
  const calls = content.filter((block) => block.type === "tool_use")
  return {
    role: "assistant",
    content: textOf(content),
    ...(thinking !== "" && { reasoning_content: thinking }),
    ...(calls.length > 0 && {
      tool_calls: calls.map(({ id, name, input }) => ({
        id,
        type: "function",
        function: { name, arguments: JSON.stringify(input) },
      })),
    }),
  }
}

const resultMessage = (block: Extract<Block, { type: "tool_result" }>): ChatMessageBody => ({
  role: "tool",
  tool_call_id: block.tool_use_id,
  content: (block.is_error ? "Error: " : "") + textOf(block.content ?? ""),
})

/** Blocks of text joined. */
function textOf(content: string | readonly Block[]): string {
  if (typeof content === "string") return content
  return content.map((block) => (block.type === "text" ? block.text : "")).join("")
}
