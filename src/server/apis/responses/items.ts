/** The items of a response's input: as they are stored, and as messages. */

import type { Message } from "../../chat/request.ts"
import { invalidRequest } from "../../http/errors.ts"
import type { InputItem, ItemReference, StoredItem } from "./items-schema.ts"
import type { ResponseRequest } from "./schema.ts"

export const newId = (prefix: string): string => `${prefix}_${crypto.randomUUID().replaceAll("-", "")}`

/**
 * The request's own input, in full: every item has an id, every content is a list of parts.
 * @param find Finds an item of a stored response.
 * @throws ApiError 400 for a reference to an unknown item.
 */
export function inputItems(
  input: ResponseRequest["input"],
  find: (id: string) => StoredItem | undefined,
): readonly StoredItem[] {
  if (typeof input === "string") return [wholeItem({ role: "user", content: input })]
  return input.map((item, i) => {
    if (item.type !== "item_reference") return wholeItem(item)
    const found = find(item.id)
    if (found !== undefined) return found
    const param = `input[${i}].id`
    throw invalidRequest(`'${param}': there is no stored item '${item.id}'.`, param, "item_not_found")
  })
}

function wholeItem(item: Exclude<InputItem, ItemReference>): StoredItem {
  const status = item.status ?? "completed"
  switch (item.type) {
    case "reasoning":
      return {
        type: item.type,
        id: item.id ?? newId("rs"),
        status,
        summary: item.summary ?? [],
        content: item.content ?? [],
      }
    case "function_call": {
      const { type, call_id, name, arguments: args } = item
      return { type, id: item.id ?? newId("fc"), status, call_id, name, arguments: args }
    }
    case "function_call_output": {
      const { type, call_id, output } = item
      return { type, id: item.id ?? newId("fco"), status, call_id, output: joined(output) }
    }
    default: {
      const { role, content } = item
      const head = { type: "message" as const, id: item.id ?? newId("msg"), status }
      const texts = typeof content === "string" ? [content] : content.map(textOf)
      if (role !== "assistant") return { ...head, role, content: texts.map((text) => ({ type: "input_text", text })) }
      return { ...head, role, content: texts.map((text) => ({ type: "output_text", text, annotations: [] })) }
    }
  }
}

type Part = Exclude<Extract<InputItem, { role: unknown }>["content"], string>[number]

const textOf = (part: Part): string => (part.type === "refusal" ? part.refusal : part.text)
const joined = (parts: string | readonly { readonly text: string }[]): string =>
  typeof parts === "string" ? parts : parts.map(({ text }) => text).join("")

/**
 * The conversation, after the instructions. What is one message of the assistant's for a template, is several items of a response:
 * reasoning, a text, calls. Leading system messages are joined, since templates expect one at most.
 */
export function toMessages(instructions: string | null | undefined, items: readonly StoredItem[]): Message[] {
  const messages: Message[] = instructions ? [{ role: "system", content: instructions }] : []
  let reasoning = ""
  const pushAssistant = (part: Partial<Message>) => {
    messages.push({ role: "assistant", content: "", ...(reasoning !== "" && { reasoning }), ...part })
    reasoning = ""
  }
  const pushOther = (message: Message) => {
    // Reasoning without an answer: the response was cut off.
    if (reasoning !== "") pushAssistant({})
    messages.push(message)
  }
  for (const item of items) {
    if (item.type === "reasoning") {
      reasoning += joined(item.content.length > 0 ? item.content : item.summary)
    } else if (item.type === "function_call") {
      const call = { id: item.call_id, name: item.name, arguments: item.arguments }
      const last = messages.at(-1)
      if (last?.role !== "assistant" || reasoning !== "") pushAssistant({ toolCalls: [call] })
      else messages.splice(-1, 1, { ...last, toolCalls: [...(last.toolCalls ?? []), call] })
    } else if (item.type === "function_call_output") {
      pushOther({ role: "tool", toolCallId: item.call_id, content: item.output })
    } else if (item.role === "assistant") {
      pushAssistant({ content: joined(item.content) })
    } else {
      const content = joined(item.content)
      const role = item.role === "developer" ? "system" : item.role
      const [first] = messages
      const leading = messages.length === 1 && first?.role === "system" && role === "system" && reasoning === ""
      if (leading && first !== undefined) messages[0] = { ...first, content: `${first.content}\n\n${content}` }
      else pushOther({ role, content })
    }
  }
  if (reasoning !== "") pushAssistant({})
  return messages
}
