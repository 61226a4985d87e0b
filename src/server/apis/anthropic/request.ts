/** Anthropic's requests → neutral ones. */

import { stringifyJson } from "../../../json.ts"
import {
  type ChatRequest,
  type Conversation,
  type Message,
  type RequestedForm,
  type Tool,
  type ToolChoice,
  UNSEEN_IMAGE,
} from "../../chat/request.ts"
import { noteIgnored } from "../../http/lenient.ts"
import type { Block, MessageParam } from "./blocks-schema.ts"
import { clientTool } from "./client-tools.ts"
import type { CountTokensRequest, MessagesRequest } from "./schema.ts"
import { isCustom, isOffered } from "./tools-schema.ts"

export const toChatRequest = (body: MessagesRequest): ChatRequest => ({
  ...toConversation(body),
  maxTokens: body.max_tokens,
  stop: body.stop_sequences?.filter((text) => text !== ""),
  temperature: body.temperature ?? undefined,
  topP: body.top_p ?? undefined,
  topK: body.top_k ?? undefined,
  thinkingBudget: body.thinking?.type === "enabled" ? (body.thinking.budget_tokens ?? undefined) : undefined,
  form: toForm(body),
})

/** The system prompt becomes the first message. When the last message is the assistant's, the answer continues it. */
export function toConversation(body: CountTokensRequest): Conversation {
  const { system, messages, thinking } = body
  const first: Message[] = system ? [{ role: "system", content: textOf(system) }] : []
  return {
    messages: combined([...first, ...messages.flatMap(toMessages)]),
    ...toTools(body),
    continueFinalMessage: messages.at(-1)?.role === "assistant",
    ...(thinking?.type === "disabled"
      ? { thinking: false }
      : {
          ...(thinking?.type === "enabled" && { thinking: true }),
          reasoningEffort: body.output_config?.effort ?? undefined,
        }),
  }
}

function toForm({ output_config: config, output_format: older }: CountTokensRequest): RequestedForm | undefined {
  const schema = (config?.format ?? older)?.schema
  return schema && { field: "responseFormat", form: { type: "json_schema", schema } }
}

function toTools({
  tools,
  tool_choice: choice,
}: CountTokensRequest): Pick<Conversation, "tools" | "toolChoice" | "parallelToolCalls"> {
  const offered = (tools ?? []).flatMap((tool): Tool[] => {
    if (isCustom(tool)) {
      const { name, description, input_schema: parameters, strict } = tool
      return [{ name, description: description ?? undefined, parameters, strict: strict ?? undefined }]
    }
    if (isOffered(tool)) return [{ name: tool.name ?? tool.type, ...clientTool(tool.type) }]
    noteIgnored(`tools[].type=${tool.type}`, false)
    return []
  })
  if (offered.length === 0) return {}
  return {
    tools: offered,
    toolChoice: choice ? toToolChoice(choice) : undefined,
    parallelToolCalls: choice?.disable_parallel_tool_use ? false : undefined,
  }
}

function toToolChoice(choice: NonNullable<CountTokensRequest["tool_choice"]>): ToolChoice {
  if (choice.type === "tool") return { function: choice.name }
  return choice.type === "any" ? "required" : choice.type
}

/** An assistant's message becomes one message. In a user's, each result becomes a message, and the texts become one after them. */
function toMessages({ role, content }: MessageParam): Message[] {
  if (typeof content === "string") return [{ role, content }]
  if (role === "assistant") return [assistantMessage(content)]
  const results = content.flatMap((block) => (block.type === "tool_result" ? [resultMessage(block)] : []))
  const text = textOf(content)
  return results.length > 0 && text === "" ? results : [...results, { role, content: text }]
}

function assistantMessage(content: readonly Block[]): Message {
  const thinking = content.map((block) => (block.type === "thinking" ? block.thinking : "")).join("")
  const calls = content.filter((block) => block.type === "tool_use")
  return {
    role: "assistant",
    content: textOf(content),
    ...(thinking !== "" && { reasoning: thinking }),
    ...(calls.length > 0 && {
      toolCalls: calls.map(({ id, name, input }) => ({ id, name, arguments: stringifyJson(input ?? {}) })),
    }),
  }
}

const resultMessage = (block: Extract<Block, { type: "tool_result" }>): Message => ({
  role: "tool",
  toolCallId: block.tool_use_id,
  content: (block.is_error ? "Error: " : "") + textOf(block.content ?? ""),
})

/** The text of the blocks, joined. */
const textOf = (content: string | readonly Block[]): string =>
  typeof content === "string" ? content : content.map(blockText).join("")

function blockText(block: Block): string {
  switch (block.type) {
    case "text":
      return block.text
    case "document": {
      const { title, context, source } = block
      const text = source.type === "text" ? source.data : textOf(source.content)
      return `${[title, context, text].filter(Boolean).join("\n")}\n`
    }
    case "search_result":
      return `${block.title}\n${block.source}\n${textOf(block.content)}\n`
    case "tool_reference":
      return `${block.tool_name}\n`
    case "image":
      return UNSEEN_IMAGE
    case "compaction":
      return block.content ?? ""
    default:
      return ""
  }
}

/**
 * Messages as templates expect them, by the rules of Anthropic's API: the system messages at the beginning are one, and so are messages
 * of the same role that follow each other. Results are in the order of their calls.
 */
function combined(messages: readonly Message[]): Message[] {
  const list: Message[] = []
  for (const message of messages) {
    const last = list.at(-1)
    const isFirst = list.length === 1
    if (message.role === "tool") insertResult(list, message)
    else if (last?.role === message.role && (message.role !== "system" || isFirst))
      list.splice(-1, 1, both(last, message))
    else list.push(message)
  }
  return list
}

function both(first: Message, second: Message): Message {
  const join = (separator: string, ...parts: (string | undefined)[]) => parts.filter(Boolean).join(separator)
  const reasoning = join("\n\n", first.reasoning, second.reasoning)
  const calls = [...(first.toolCalls ?? []), ...(second.toolCalls ?? [])]
  return {
    role: first.role,
    content: join("\n\n", first.content, second.content),
    ...(reasoning !== "" && { reasoning }),
    ...(calls.length > 0 && { toolCalls: calls }),
  }
}

/** Adds a result after those of earlier calls of the same message. */
function insertResult(list: Message[], result: Message): void {
  let start = list.length
  while (list[start - 1]?.role === "tool") start--
  const order = list[start - 1]?.toolCalls?.map(({ id }) => id) ?? []
  const place = ({ toolCallId = "" }: Message) => order.indexOf(toolCallId) + 1 || Number.POSITIVE_INFINITY
  let at = list.length
  while (at > start && place(list[at - 1] as Message) > place(result)) at--
  list.splice(at, 0, result)
}
