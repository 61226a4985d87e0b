/** Conversations with tools, as chat templates can write them. */

import { type ChatMessage, contentText, type ToolCall } from "../chat-messages.ts"
import type { ToolSupport } from "./family.ts"
import { type ToolFormat, writeCalls } from "./format.ts"

/** Earlier calls and their results in a form that the template takes. */
export function withCalls({ format, replays }: ToolSupport, messages: readonly ChatMessage[]): ChatMessage[] {
  if (!replays) return written(format, messages)
  return messages.flatMap((message) => format.replay?.(message) ?? [message])
}

/** What has to be said of the tools, behind the system prompt or as one. */
export function describedInSystem(messages: readonly ChatMessage[], prompt: string): ChatMessage[] {
  const [first, ...rest] = messages
  if (first?.role !== "system") return [{ role: "system", content: prompt }, ...messages]
  const said = contentText(first.content)
  return [{ ...first, content: said === "" ? prompt : `${said}\n\n${prompt}` }, ...rest]
}

/** The same for templates that take no system prompt: in front of the first message. */
export function describedInFirst(messages: readonly ChatMessage[], prompt: string): ChatMessage[] {
  const [first, ...rest] = messages
  return first === undefined ? [] : [{ ...first, content: `${prompt}\n\n${contentText(first.content)}` }, ...rest]
}

/** Calls as the model wrote them; results as the user's, with what he says next: templates may insist on turns. */
function written(format: ToolFormat, messages: readonly ChatMessage[]): ChatMessage[] {
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
    const said = contentText(message.content)
    const text = [said, ...(calls.length > 0 ? [writeCalls(format.spelling, calls)] : [])]
    list.push(calls.length === 0 ? message : { ...message, content: text.filter((part) => part !== "").join("\n") })
  }
  flush()
  return list
}

const argumentsText = ({ function: { name, arguments: args } }: ToolCall) => ({
  name,
  arguments: typeof args === "string" ? args : JSON.stringify(args),
})
