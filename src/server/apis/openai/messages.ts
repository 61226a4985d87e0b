/** The messages of a conversation as clients send them → neutral ones. */

import { stringifyJson } from "../../../json.ts"
import { customArguments } from "../../chat/custom-tools.ts"
import type { Message, ToolCall } from "../../chat/request.ts"
import type { ChatMessageBody, MessagePart } from "./conversation-schema.ts"

type CallBody = NonNullable<ChatMessageBody["tool_calls"]>[number]
type Arguments = NonNullable<CallBody["function"]>["arguments"]

/** Every call has an id, and every result the id of its call, where the messages show which it is. */
export function toMessages(messages: readonly ChatMessageBody[]): Message[] {
  const calls = new CallIds()
  return messages.map((message): Message => {
    const { role, name } = message
    const common = { content: contentOf(message), ...(name && { name }) }
    if (role === "tool" || role === "function") return { role: "tool", ...common, toolCallId: calls.answered(message) }
    if (role !== "assistant") return { role: role === "developer" ? "system" : role, ...common }
    const { tool_calls, function_call } = message
    const made = [...(tool_calls ?? []), ...(function_call ? [{ function: function_call }] : [])]
    const toolCalls = made.map((call) => calls.made(call))
    const reasoning = message.reasoning_content ?? message.reasoning ?? thoughtsOf(message.content)
    return { role, ...common, ...(reasoning && { reasoning }), ...(toolCalls.length > 0 && { toolCalls }) }
  })
}

/** The ids of a conversation's calls. */
class CallIds {
  #count = 0
  /** Calls without a result so far. */
  readonly #open: ToolCall[] = []

  made({ id, type, function: called, custom }: Partial<CallBody>): ToolCall {
    const own =
      type === "custom" && custom
        ? { name: custom.name, arguments: customArguments(custom.input) }
        : { name: called?.name ?? "", arguments: argumentsText(called?.arguments) }
    const call = { id: id || this.#newId(), ...own }
    this.#open.push(call)
    return call
  }

  /** The id of the call that a result answers: its own, or that of the first open call, of the same name if there is a name. */
  answered({ tool_call_id: id, name }: ChatMessageBody): string | undefined {
    const place = this.#open.findIndex((call) => (id ? call.id === id : !name || call.name === name))
    const [call] = place < 0 ? [] : this.#open.splice(place, 1)
    return id || call?.id
  }

  /** Nine letters and digits, which is the form that the templates of Mistral's models require. */
  #newId(): string {
    return `call${String(this.#count++).padStart(5, "0")}`
  }
}

const argumentsText = (value: Arguments): string =>
  typeof value === "object" && value !== null ? stringifyJson(value) : value?.trim() ? value : "{}"

/** A message's text; a refusal is the text of a message that has no other. */
function contentOf({ content, refusal }: ChatMessageBody): string {
  const text = typeof content === "string" ? content : (content ?? []).map(partText).join("")
  return text === "" ? (refusal ?? "") : text
}

function partText(part: MessagePart): string {
  if (part.type === "refusal") return part.refusal
  return "text" in part && part.type !== "thinking" && part.type !== "reasoning" ? (part.text ?? "") : ""
}

/** The reasoning among the parts of a message. */
function thoughtsOf(content: ChatMessageBody["content"]): string {
  if (typeof content === "string") return ""
  const thoughts = (content ?? []).map((part) => {
    if (part.type !== "thinking" && part.type !== "reasoning") return ""
    const { thinking, text } = part
    if (typeof thinking === "string") return thinking
    return thinking ? thinking.map((each) => each.text ?? "").join("") : (text ?? "")
  })
  return thoughts.join("")
}
