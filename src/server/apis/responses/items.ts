/** The items that a response is made from: as they are kept, and as the messages that chat templates know. */

import { invalidRequest } from "../../http/errors.ts"
import type { ChatMessageBody } from "../openai/conversation-schema.ts"
import type { InputItem, ItemReference, StoredItem } from "./items-schema.ts"
import type { ResponseRequest } from "./schema.ts"

export const newId = (prefix: string): string => `${prefix}_${crypto.randomUUID().replaceAll("-", "")}`

/**
 * The request's own input: every item whole and with an id, every content in parts.
 * @param find Items of stored responses.
 * @throws ApiError 400 for a reference to none.
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
 * The conversation, with the instructions in front. What is one message of the assistant's for a template, a response has as several
 * items: reasoning, a text, calls. System messages in front become one, since templates expect no more.
 */
export function toMessages(instructions: string | null | undefined, items: readonly StoredItem[]): ChatMessageBody[] {
  const messages: ChatMessageBody[] = instructions ? [{ role: "system", content: instructions }] : []
  let thought = ""
  const assistant = (more: Partial<ChatMessageBody>) => {
    messages.push({ role: "assistant", content: "", ...(thought !== "" && { reasoning_content: thought }), ...more })
    thought = ""
  }
  const other = (message: ChatMessageBody) => {
    // It thought, and then was cut off.
    if (thought !== "") assistant({})
    messages.push(message)
  }
  for (const item of items) {
    if (item.type === "reasoning") {
      thought += joined(item.content.length > 0 ? item.content : item.summary)
    } else if (item.type === "function_call") {
      const { call_id: id, name, arguments: args } = item
      const call = { id, type: "function" as const, function: { name, arguments: args } }
      const last = messages.at(-1)
      if (last?.role !== "assistant" || thought !== "") assistant({ tool_calls: [call] })
      else last.tool_calls = [...(last.tool_calls ?? []), call]
    } else if (item.type === "function_call_output") {
      other({ role: "tool", tool_call_id: item.call_id, content: item.output })
    } else if (item.role === "assistant") {
      assistant({ content: joined(item.content) })
    } else {
      const content = joined(item.content)
      const [first] = messages
      const leading = messages.length === 1 && isSystem(first?.role) && isSystem(item.role) && thought === ""
      if (leading && first !== undefined) first.content = `${first.content}\n\n${content}`
      else other({ role: item.role, content })
    }
  }
  if (thought !== "") assistant({})
  return messages
}

const isSystem = (role: string | undefined): boolean => role === "system" || role === "developer"
