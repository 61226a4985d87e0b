/** Ollama's requests → ours. */

import type { LoadedModel } from "../../../engine/types.ts"
import { reasoningMarks } from "../../../text/index.ts"
import { invalidRequest } from "../../http/errors.ts"
import type { ChatMessageBody, ChatRequest } from "../openai/chat-schema.ts"
import type { OllamaChatRequest, OllamaGenerateRequest, OllamaMessage, OllamaOptions } from "./schema.ts"

type Request = OllamaChatRequest | OllamaGenerateRequest

/** What Ollama samples with where a request does not say. */
const DEFAULTS = { temperature: 0.8, top_k: 40, top_p: 0.9 }

/** @throws ApiError 400 where the model cannot think, and should. */
export function toChatRequest(model: LoadedModel, body: Request, messages: ChatMessageBody[]): ChatRequest {
  return {
    model: model.name,
    messages,
    ...samplingOf(body.options),
    ...thinkingOf(model, body.think),
    ...("tools" in body && { tools: body.tools }),
    response_format: formatOf(body.format),
    logprobs: body.logprobs,
    top_logprobs: body.top_logprobs,
  }
}

/** The names of a refused request's fields, where Ollama's are others. */
export const fieldNames = (body: Request): Readonly<Record<string, string>> => ({
  reasoning_effort: "think",
  response_format: "format",
  ...("messages" in body ? {} : { messages: "prompt" }),
})

function samplingOf(options: OllamaOptions) {
  const { seed, num_predict } = options ?? {}
  return {
    temperature: options?.temperature ?? DEFAULTS.temperature,
    top_k: options?.top_k ?? DEFAULTS.top_k,
    top_p: options?.top_p ?? DEFAULTS.top_p,
    min_p: options?.min_p,
    repetition_penalty: options?.repeat_penalty,
    presence_penalty: options?.presence_penalty,
    frequency_penalty: options?.frequency_penalty,
    seed: typeof seed === "number" && seed >= 0 ? seed : undefined,
    stop: options?.stop,
    max_completion_tokens: typeof num_predict === "number" && num_predict > 0 ? num_predict : undefined,
  }
}

function formatOf(format: Request["format"]): ChatRequest["response_format"] {
  if (!format) return undefined
  if (format === "json") return { type: "json_object" }
  return { type: "json_schema", json_schema: { name: "format", schema: format } }
}

function thinkingOf({ name, chatTemplate }: LoadedModel, think: Request["think"]): Partial<ChatRequest> {
  if (think === undefined || think === null) return {}
  if (think === false) return { reasoning_effort: "none" }
  if (chatTemplate === undefined || reasoningMarks(chatTemplate.source()) === undefined)
    throw invalidRequest(`'think': "${name}" does not support thinking; leave the field out.`, "think", "invalid_value")
  if (think !== true) return { reasoning_effort: think }
  return chatTemplate.mentions("enable_thinking") ? { chat_template_kwargs: { enable_thinking: true } } : {}
}

/** Messages in OpenAI's form, where calls have ids and results name them. */
export function toMessages(messages: readonly OllamaMessage[]): ChatMessageBody[] {
  let calls = 0
  /** Calls that no result has answered yet. */
  const open: { id: string; name: string }[] = []
  /** The call of that id, or name, or else the oldest. */
  const answered = ({ tool_call_id, tool_name }: OllamaMessage): string => {
    const wanted = tool_call_id
      ? open.findIndex(({ id }) => id === tool_call_id)
      : open.findIndex(({ name }) => !tool_name || name === tool_name)
    const [call] = open.splice(Math.max(0, wanted), wanted < 0 ? 0 : 1)
    return call?.id ?? tool_call_id ?? callId(calls++)
  }
  return messages.map((message): ChatMessageBody => {
    const { role, content, thinking, tool_calls, tool_name } = message
    if (role === "tool")
      return { role, content, tool_call_id: answered(message), ...(tool_name && { name: tool_name }) }
    if (role !== "assistant") return { role, content }
    const made = tool_calls?.map(({ id, function: { name, arguments: values } }) => {
      const call = { id: id ?? callId(calls++), name }
      open.push(call)
      return { id: call.id, type: "function" as const, function: { name, arguments: JSON.stringify(values) } }
    })
    return {
      role,
      content: content ?? null,
      ...(thinking && { reasoning_content: thinking }),
      ...(made !== undefined && made.length > 0 && { tool_calls: made }),
    }
  })
}

/** Nine letters and digits, which is what the templates of Mistral's models take. */
const callId = (n: number): string => `call${String(n).padStart(5, "0")}`
