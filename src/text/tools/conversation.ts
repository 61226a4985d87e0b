/** Conversations with tools, as chat templates can write them. */

import { type ChatMessage, contentText, type ToolCall } from "../chat-messages.ts"
import type { ToolSupport } from "./family.ts"
import { type ToolFormat, writeCalls } from "./format.ts"
import { llama3 } from "./llama3.ts"
import { mistralList, mistralNamed } from "./mistral.ts"

/** Earlier calls and their results in a form that the template takes. */
export function withCalls({ format, replays }: ToolSupport, messages: readonly ChatMessage[]): ChatMessage[] {
  return replays ? native(format, messages) : written(format, messages)
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

/** What templates of a family refuse, in a form that they take. */
function native(format: ToolFormat, messages: readonly ChatMessage[]): ChatMessage[] {
  if (format === mistralList || format === mistralNamed) return messages.map(withShortIds)
  if (format === llama3) return messages.flatMap(oneCallEach)
  return [...messages]
}

/** Mistral's ids are 9 letters or digits; others become such, the same wherever they stand. */
function withShortIds({ tool_calls, tool_call_id, ...message }: ChatMessage): ChatMessage {
  return {
    ...message,
    ...(tool_calls && { tool_calls: tool_calls.map((call) => ({ ...call, id: shortId(call.id ?? "") })) }),
    ...(tool_call_id !== undefined && { tool_call_id: shortId(tool_call_id) }),
  }
}

const shortId = (id: string): string =>
  /^[a-zA-Z0-9]{9}$/.test(id) ? id : Bun.hash(id).toString(36).padStart(9, "0").slice(-9)

/** Llama's templates take one call a message. */
function oneCallEach(message: ChatMessage): ChatMessage[] {
  const calls = message.tool_calls ?? []
  if (calls.length < 2) return [message]
  return calls.map((call, i) => ({ ...message, content: i === 0 ? message.content : "", tool_calls: [call] }))
}

/** Calls as the model wrote them; results as the user's, those of one turn in one message. */
function written(format: ToolFormat, messages: readonly ChatMessage[]): ChatMessage[] {
  const list: ChatMessage[] = []
  let results: string[] = []
  const flush = () => {
    if (results.length > 0) list.push({ role: "user", content: results.join("\n") })
    results = []
  }
  for (const { tool_calls, tool_call_id: _, ...message } of messages) {
    if (message.role === "tool") {
      results.push(`<tool_response>\n${contentText(message.content)}\n</tool_response>`)
      continue
    }
    flush()
    const calls = tool_calls?.map(argumentsText) ?? []
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
