/** The items of a response's input: as they are stored, and as messages. */

import { stringifyJson } from "../../../json.ts"
import { customArguments } from "../../chat/custom-tools.ts"
import { type Message, UNSEEN_IMAGE } from "../../chat/request.ts"
import { invalidRequest } from "../../http/errors.ts"
import { noteIgnored } from "../../http/lenient.ts"
import type { InputItem, ItemReference, StoredItem } from "./items-schema.ts"
import type { ResponseRequest } from "./schema.ts"
import type { ToolName } from "./tools.ts"

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
  return input.flatMap((item, i) => {
    if (item.type === "hosted" || "tools" in item) return []
    if (item.type !== "item_reference") return [wholeItem(item)]
    const found = find(item.id)
    if (found !== undefined) return [found]
    const param = `input[${i}].id`
    throw invalidRequest(`'${param}': there is no stored item '${item.id}'.`, param, "item_not_found")
  })
}

type Status = StoredItem["status"]
const statusOf = (status: string | null | undefined): Status =>
  status === "incomplete" || status === "in_progress" ? status : "completed"

type OwnItem = Exclude<InputItem, ItemReference | { type: "hosted" } | { tools: unknown }>

function wholeItem(item: OwnItem): StoredItem {
  const head = (prefix: string) => ({ id: item.id || newId(prefix), status: statusOf(item.status) })
  switch (item.type) {
    case "reasoning":
      return { type: item.type, ...head("rs"), summary: item.summary ?? [], content: reasoningOf(item) }
    case "function_call": {
      const { type, call_id, name, namespace, arguments: args } = item
      return { type, ...head("fc"), call_id, name, ...(namespace && { namespace }), arguments: args }
    }
    case "custom_tool_call": {
      const { type, call_id, name, namespace, input } = item
      return { type, ...head("ctc"), call_id, name, ...(namespace && { namespace }), input }
    }
    case "local_shell_call":
    case "shell_call":
    case "apply_patch_call": {
      const name = item.type.slice(0, -"_call".length)
      const args = stringifyJson(item.action ?? item.operation ?? {})
      return { type: "function_call", ...head("fc"), call_id: item.call_id ?? item.id ?? "", name, arguments: args }
    }
    case "function_call_output":
    case "custom_tool_call_output": {
      const { type, call_id, output } = item
      return {
        type,
        ...head("fco"),
        call_id,
        output: typeof output === "string" ? output : output.map(textOf).join(""),
      }
    }
    case "local_shell_call_output":
    case "shell_call_output":
    case "apply_patch_call_output": {
      const { output, call_id } = item
      const text = typeof output === "string" ? output : stringifyJson(output ?? item.status ?? "")
      return { type: "function_call_output", ...head("fco"), call_id: call_id ?? item.id ?? "", output: text }
    }
    default: {
      const { role, content } = item
      const texts = typeof content === "string" ? [content] : content.map(textOf)
      const type = "message" as const
      if (role !== "assistant")
        return { type, ...head("msg"), role, content: texts.map((text) => ({ type: "input_text", text })) }
      return {
        type,
        ...head("msg"),
        role,
        content: texts.map((text) => ({ type: "output_text", text, annotations: [] })),
      }
    }
  }
}

type Part =
  | Exclude<Extract<InputItem, { role: unknown }>["content"], string>[number]
  | Exclude<Extract<InputItem, { type: "function_call_output" | "custom_tool_call_output" }>["output"], string>[number]

function textOf(part: Part): string {
  if (part.type === "input_image") return UNSEEN_IMAGE
  return part.type === "refusal" ? part.refusal : part.text
}
const joined = (parts: readonly { readonly text: string }[]): string => parts.map(({ text }) => text).join("")

/** What marks content that {@link sealed} made. */
const SEAL = "rocmforge-reasoning-1:"

/**
 * Reasoning in the form of `encrypted_content`, for clients that do not store responses and send nothing else of it back. It is encoded,
 * not encrypted: the client has the text anyway.
 */
export const sealed = (text: string): string => SEAL + Buffer.from(text).toString("base64")

type Reasoning = Extract<InputItem, { type: "reasoning" }>

function reasoningOf({ content, encrypted_content: seal }: Reasoning): { type: "reasoning_text"; text: string }[] {
  const type = "reasoning_text" as const
  if (content && content.length > 0) return content.map(({ text }) => ({ type, text }))
  if (!seal) return []
  if (seal.startsWith(SEAL)) return [{ type, text: Buffer.from(seal.slice(SEAL.length), "base64").toString() }]
  noteIgnored("input[].encrypted_content")
  return []
}

/**
 * The conversation, after the instructions. What is one message of the assistant's for a template, is several items of a response:
 * reasoning, a text, calls. Leading system messages are joined, since templates expect one at most.
 * @param nameOf The name under which the model knows a tool.
 */
export function toMessages(
  instructions: string | null | undefined,
  items: readonly StoredItem[],
  nameOf: (name: ToolName) => string,
): Message[] {
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
    } else if (item.type === "function_call" || item.type === "custom_tool_call") {
      const args = item.type === "function_call" ? item.arguments : customArguments(item.input)
      const call = { id: item.call_id, name: nameOf(item), arguments: args }
      const last = messages.at(-1)
      if (last?.role !== "assistant" || reasoning !== "") pushAssistant({ toolCalls: [call] })
      else messages.splice(-1, 1, { ...last, toolCalls: [...(last.toolCalls ?? []), call] })
    } else if ("output" in item) {
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
