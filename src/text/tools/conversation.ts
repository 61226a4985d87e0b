/** Rewrites conversations with tools into a form that a chat template can render. */

import { type ChatMessage, contentText, type ToolCall } from "../chat-messages.ts"
import type { ToolSupport } from "./family.ts"
import { type ToolFormat, writeCalls } from "./format.ts"

/** Rewrites earlier calls and their results in a form that the template accepts. */
export function withCalls({ format, replays }: ToolSupport, messages: readonly ChatMessage[]): ChatMessage[] {
  if (!replays) return asText(format, messages)
  return messages.flatMap((message) => format.replay?.(message) ?? [message])
}

/** Adds the description of the tools after the system prompt, or as the system prompt. */
export function describedInSystem(messages: readonly ChatMessage[], prompt: string): ChatMessage[] {
  const [first, ...rest] = messages
  if (first?.role !== "system") return [{ role: "system", content: prompt }, ...messages]
  const text = contentText(first.content)
  return [{ ...first, content: text === "" ? prompt : `${text}\n\n${prompt}` }, ...rest]
}

/** Adds the description of the tools before the first message, for templates without a system prompt. */
export function describedInFirst(messages: readonly ChatMessage[], prompt: string): ChatMessage[] {
  const [first, ...rest] = messages
  return first === undefined ? [] : [{ ...first, content: `${prompt}\n\n${contentText(first.content)}` }, ...rest]
}

/**
 * Writes calls as text of the assistant, and results as a message of the user, joined with the user's next message: templates may require
 * alternating turns.
 */
function asText(format: ToolFormat, messages: readonly ChatMessage[]): ChatMessage[] {
  const list: ChatMessage[] = []
  let results: string[] = []
  const flush = () => {
    if (results.length > 0) list.push({ role: "user", content: results.join("\n") })
    results = []
  }
  for (const { tool_calls: toolCalls, tool_call_id: _, ...message } of messages) {
    if (message.role === "tool") {
      results.push(`<tool_response>\n${contentText(message.content)}\n</tool_response>`)
      continue
    }
    if (message.role === "user" && results.length > 0) {
      results.push(contentText(message.content))
      continue
    }
    flush()
    const calls = toolCalls?.map(argumentsText) ?? []
    const parts = [contentText(message.content), ...(calls.length > 0 ? [writeCalls(format.spelling, calls)] : [])]
    list.push(calls.length === 0 ? message : { ...message, content: parts.filter((part) => part !== "").join("\n") })
  }
  flush()
  return list
}

const argumentsText = ({ function: { name, arguments: args } }: ToolCall) => ({
  name,
  arguments: typeof args === "string" ? args : JSON.stringify(args),
})
