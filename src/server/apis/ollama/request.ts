/** Ollama's requests: their bodies, the models they name, and the neutral requests that they become. */

import type { LoadedModel } from "../../../engine/types.ts"
import { stringifyJson } from "../../../json.ts"
import { reasoningMarks } from "../../../text/index.ts"
import type { ChatRequest, Conversation, Message, RequestedForm, ToolCall } from "../../chat/request.ts"
import { readJson } from "../../http/body.ts"
import { noteIgnored } from "../../http/lenient.ts"
import { toConversation } from "../openai/request.ts"
import type { OllamaChatRequest, OllamaGenerateRequest, OllamaMessage, OllamaOptions } from "./schema.ts"

type Body = OllamaChatRequest | OllamaGenerateRequest

/**
 * Reads a request's JSON body. Ollama's documentation uses `curl -d`, which sends the content type of a form, so any content type is
 * accepted, but not from a browser, where any page can send a form. Browsers say where a POST comes from.
 * @throws ApiError as `readJson` does
 */
export function readOllamaJson(request: Request, limit: number): Promise<unknown> {
  if (request.headers.has("origin") || request.headers.has("sec-fetch-site")) return readJson(request, limit)
  const headers = new Headers(request.headers)
  headers.set("content-type", "application/json")
  return readJson(new Request(request, { headers }), limit)
}

/** The tag of a name that has no other. */
const LATEST = ":latest"

/** A model's name with its tag. */
export const taggedName = (name: string): string =>
  name.slice(name.lastIndexOf("/") + 1).includes(":") ? name : name + LATEST

/** Ollama's sampling defaults. */
const DEFAULTS = { temperature: 0.8, topK: 40, topP: 0.9 }

export const toChatRequest = (model: LoadedModel, body: Body, messages: readonly Message[]): ChatRequest => ({
  messages,
  tools: "tools" in body ? toConversation({ messages: [], tools: body.tools }).tools : undefined,
  ...samplingOf(body.options),
  ...thinkingOf(model, body.think),
  form: formOf(body.format),
  logprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
})

function samplingOf(options: OllamaOptions): Omit<ChatRequest, keyof Conversation> {
  const { seed, num_predict: limit, stop } = options ?? {}
  return {
    temperature: options?.temperature ?? DEFAULTS.temperature,
    topK: options?.top_k ?? DEFAULTS.topK,
    topP: Math.min(1, options?.top_p ?? DEFAULTS.topP),
    minP: options?.min_p ?? undefined,
    typicalP: options?.typical_p ?? undefined,
    mirostat: options?.mirostat ?? undefined,
    mirostatTau: options?.mirostat_tau ?? undefined,
    mirostatEta: options?.mirostat_eta ?? undefined,
    repeatLastN: options?.repeat_last_n ?? undefined,
    repetitionPenalty: options?.repeat_penalty ?? undefined,
    presencePenalty: options?.presence_penalty ?? undefined,
    frequencyPenalty: options?.frequency_penalty ?? undefined,
    seed: typeof seed === "number" && seed >= 0 ? seed : undefined,
    stop: typeof stop === "string" ? [stop] : (stop ?? undefined),
    maxTokens: typeof limit === "number" && limit > 0 ? limit : undefined,
  }
}

function formOf(format: Body["format"]): RequestedForm | undefined {
  if (!format) return undefined
  const form = format === "json" ? { type: "json_object" as const } : { type: "json_schema" as const, schema: format }
  return { field: "responseFormat", form }
}

function thinkingOf(
  { chatTemplate }: LoadedModel,
  think: Body["think"],
): Pick<Conversation, "thinking" | "reasoningEffort" | "templateVariables"> {
  if (think === undefined || think === null || think === "") return {}
  if (think === false) return { thinking: false }
  if (chatTemplate === undefined || reasoningMarks(chatTemplate.source()) === undefined) {
    noteIgnored("think")
    return {}
  }
  if (think !== true) return { reasoningEffort: think === "max" ? "xhigh" : think }
  return chatTemplate.mentions("enable_thinking") ? { templateVariables: { enable_thinking: true } } : {}
}

/** Messages whose calls have ids, by which results name them. */
export function toMessages(messages: readonly OllamaMessage[]): Message[] {
  let calls = 0
  /** Calls without a result so far. */
  const open: ToolCall[] = []
  /** The id of the call that a result answers: the one with its id or name, or else the oldest. */
  const answeredCall = ({ tool_call_id: id, tool_name, name: other }: OllamaMessage): string => {
    const name = tool_name ?? other
    const place = id ? open.findIndex((call) => call.id === id) : open.findIndex((call) => !name || call.name === name)
    const [call] = open.splice(Math.max(0, place), place < 0 ? 0 : 1)
    return call?.id ?? id ?? callId(calls++)
  }
  return messages.map((message): Message => {
    const { role, thinking, tool_calls: made = [] } = message
    const name = message.tool_name ?? message.name
    const content = message.content ?? ""
    if (role === "tool") return { role, content, toolCallId: answeredCall(message), ...(name && { name }) }
    if (role !== "assistant") return { role, content, ...(name && { name }) }
    const toolCalls = (made ?? []).map(({ id, function: { name, arguments: values } }) => {
      return {
        id: id ?? callId(calls++),
        name,
        arguments: typeof values === "string" ? values : stringifyJson(values ?? {}),
      }
    })
    open.push(...toolCalls)
    return { role, content, ...(thinking && { reasoning: thinking }), ...(toolCalls.length > 0 && { toolCalls }) }
  })
}

/** Nine letters and digits, which is the form that the templates of Mistral's models require. */
const callId = (n: number): string => `call${String(n).padStart(5, "0")}`
