/** A conversation's events → the response, and the events of its stream. */

import type { Tokenizer } from "../../../text/tokenizer/types.ts"
import type { ChatDelta, ChatEvent } from "../../chat/chat.ts"
import type { ScoredToken, TokenUsage } from "../../chat/choices.ts"
import { CustomInput } from "../../chat/custom-tools.ts"
import type { ApiError } from "../../http/errors.ts"
import type { ResponseHead } from "../../http/job.ts"
import { chatLogprobsOf } from "../openai/logprobs.ts"
import { FIELDS } from "./errors.ts"
import { formatBodyOf } from "./format-schema.ts"
import { newId, sealed } from "./items.ts"
import type { OutputItem, OutputLogprobs } from "./items-schema.ts"
import { type ResponseBody, type ResponseEvent, type ResponseRequest, SEALED_REASONING } from "./schema.ts"
import { allTools, type FlatTool, flatTools } from "./tools.ts"
import { choiceBody, toolBodies } from "./tools-schema.ts"

/** A response before its first token. */
export const newResponse = (head: ResponseHead, body: ResponseRequest): ResponseBody => ({
  id: head.id,
  object: "response",
  created_at: head.created,
  completed_at: null,
  status: body.background ? "queued" : "in_progress",
  error: null,
  incomplete_details: null,
  model: head.model,
  output: [],
  instructions: body.instructions ?? null,
  previous_response_id: body.previous_response_id ?? null,
  max_output_tokens: body.max_output_tokens ?? null,
  metadata: body.metadata ?? {},
  temperature: body.temperature ?? 1,
  top_p: body.top_p ?? 1,
  top_logprobs: body.top_logprobs ?? 0,
  store: body.store ?? true,
  background: body.background ?? false,
  parallel_tool_calls: body.parallel_tool_calls ?? true,
  tools: toolBodies(allTools(body)),
  tool_choice: choiceBody(body.tool_choice),
  truncation: body.truncation ?? "disabled",
  text: { format: formatBodyOf(body.text?.format) },
  reasoning: { effort: body.reasoning?.effort ?? null, summary: null },
})

/** The response as it is now. Only its output changes in place; its schemas cannot be cloned, since they may have raw numbers. */
export const snapshot = (response: ResponseBody): ResponseBody => ({
  ...response,
  output: structuredClone(response.output),
})

type Call = Extract<OutputItem, { call_id: string }>
type Unnumbered<Event> = Event extends { sequence_number: number } ? Omit<Event, "sequence_number"> : never

/** Writes the events of one response, and updates the response with each of them. */
export class ResponseWriter {
  #sequence = 0
  /** The last item of the output, while more of it may come. */
  #open: OutputItem | undefined
  /** Scored tokens whose text is held back, so that it is not known yet which item they belong to. */
  #held: ScoredToken[] = []

  /** Reads the arguments of a custom tool's call. */
  #input = new CustomInput()
  readonly #tools: readonly FlatTool[]
  readonly #seals: boolean

  /** @param response Is updated as events are written. */
  constructor(
    readonly response: ResponseBody,
    readonly tokenizer: Tokenizer,
    readonly withLogprobs: boolean,
    body: Pick<ResponseRequest, "tools" | "input" | "include">,
  ) {
    this.#tools = flatTools(body)
    this.#seals = body.include?.includes(SEALED_REASONING) ?? false
  }

  begin(): ResponseEvent[] {
    const events = [this.#ofResponse("response.created")]
    if (this.response.status === "queued") events.push(this.#ofResponse("response.queued"))
    this.response.status = "in_progress"
    return [...events, this.#ofResponse("response.in_progress")]
  }

  /** The events for one event of the conversation. */
  *write(event: ChatEvent): Generator<ResponseEvent, void, void> {
    const { response } = this
    switch (event.type) {
      case "reasoning":
      case "content":
        yield* this.#text(event)
        break
      case "tool_call": {
        yield* this.#end()
        yield* this.#begin(this.#call(event.id, event.name))
        break
      }
      case "tool_arguments":
        yield* this.#arguments(event.text)
        break
      case "finish":
        // An answer without a token is an empty message.
        if (response.output.length === 0) yield* this.#begin(newItem("content", this.withLogprobs))
        response.status = event.reason === "length" ? "incomplete" : "completed"
        yield* this.#end(response.status)
        if (event.reason === "length") response.incomplete_details = { reason: "max_output_tokens" }
        break
      case "usage":
        response.usage = usageOf(event.usage)
        response.completed_at = seconds()
        yield this.#ofResponse(response.status === "incomplete" ? "response.incomplete" : "response.completed")
    }
  }

  /** The event for a failure. */
  fail(error: ApiError): ResponseEvent {
    this.#break("failed")
    const { status } = error
    const code = status === 429 ? "rate_limit_exceeded" : status < 500 ? "invalid_prompt" : "server_error"
    this.response.error = { code, message: error.shown(FIELDS).message }
    return this.#ofResponse("response.failed")
  }

  /** Marks the response as cancelled. */
  cancel(): void {
    this.#break("cancelled")
  }

  #break(status: "failed" | "cancelled"): void {
    if (this.#open !== undefined) this.#open.status = "incomplete"
    this.response.status = status
    this.response.completed_at = seconds()
  }

  *#text({ type, text: delta, scored }: ChatDelta): Generator<ResponseEvent> {
    let item = this.#open
    if (type === "reasoning") this.#held = []
    else if (scored !== undefined) this.#held.push(scored)
    if (delta === "" && item?.type !== "message") return
    if (item?.type !== ITEM_TYPES[type]) {
      yield* this.#end()
      item = newItem(type, this.withLogprobs)
      yield* this.#begin(item)
    }
    const place = this.#part(item)
    if (item.type === "reasoning") {
      const [part] = item.content
      if (part !== undefined) part.text += delta
      yield this.#number({ type: "response.reasoning_text.delta", ...place, delta })
    } else if (item.type === "message") {
      const [part] = item.content
      const logprobs = this.#logprobs(this.#held.splice(0))
      if (part !== undefined) part.text += delta
      part?.logprobs?.push(...logprobs)
      yield this.#number({ type: "response.output_text.delta", ...place, delta, logprobs })
    }
  }

  /** @param offered The tool's name in the prompt. */
  #call(call_id: string, offered: string): Call {
    const tool = this.#tools.find((one) => one.offered === offered)
    const { name = offered, namespace } = tool ?? {}
    const head = { status: "in_progress" as const, call_id, name, ...(namespace !== undefined && { namespace }) }
    if (tool?.param.type !== "custom") return { type: "function_call", id: newId("fc"), ...head, arguments: "" }
    this.#input = new CustomInput()
    return { type: "custom_tool_call", id: newId("ctc"), ...head, input: "" }
  }

  *#arguments(json: string): Generator<ResponseEvent> {
    const item = this.#open
    const isCustom = item?.type === "custom_tool_call"
    const delta = isCustom ? this.#input.push(json) : json
    if (isCustom && delta !== "") {
      item.input += delta
      yield this.#number({ type: "response.custom_tool_call_input.delta", ...this.#place(item), delta })
    }
    if (item?.type !== "function_call" || delta === "") return
    item.arguments += delta
    yield this.#number({ type: "response.function_call_arguments.delta", ...this.#place(item), delta })
  }

  *#begin(item: OutputItem): Generator<ResponseEvent> {
    const { output } = this.response
    this.#open = item
    output.push(item)
    const bare = "content" in item ? { ...item, content: [] } : { ...item }
    yield this.#number({ type: "response.output_item.added", output_index: output.length - 1, item: bare })
    if (!("content" in item)) return
    const [part] = structuredClone(item.content)
    if (part !== undefined) yield this.#number({ type: "response.content_part.added", ...this.#part(item), part })
  }

  *#end(status: "completed" | "incomplete" = "completed"): Generator<ResponseEvent> {
    const item = this.#open
    if (item === undefined) return
    this.#open = undefined
    if (item.type === "function_call") {
      const { name, arguments: args } = item
      yield this.#number({ type: "response.function_call_arguments.done", ...this.#place(item), name, arguments: args })
    } else if (item.type === "custom_tool_call") {
      const { input } = item
      yield this.#number({ type: "response.custom_tool_call_input.done", ...this.#place(item), input })
    } else yield* this.#endPart(item)
    if (item.type === "reasoning" && this.#seals) item.encrypted_content = sealed(item.content[0]?.text ?? "")
    item.status = status
    const { output_index } = this.#place(item)
    yield this.#number({ type: "response.output_item.done", output_index, item: structuredClone(item) })
  }

  *#endPart(item: Exclude<OutputItem, Call>): Generator<ResponseEvent> {
    const place = this.#part(item)
    const [part] = structuredClone(item.content)
    if (part === undefined) return
    const { text } = part
    if (part.type === "reasoning_text") yield this.#number({ type: "response.reasoning_text.done", ...place, text })
    else yield this.#number({ type: "response.output_text.done", ...place, text, logprobs: part.logprobs ?? [] })
    yield this.#number({ type: "response.content_part.done", ...place, part })
  }

  #place(item: OutputItem) {
    return { item_id: item.id, output_index: this.response.output.length - 1 }
  }

  /** Messages and reasoning have one part. */
  #part(item: OutputItem) {
    return { ...this.#place(item), content_index: 0 }
  }

  #logprobs(scored: readonly ScoredToken[]): OutputLogprobs {
    if (scored.length === 0) return []
    const { content } = chatLogprobsOf(this.tokenizer, scored)
    const exact = <T extends { bytes: number[] | null }>(entry: T) => ({ ...entry, bytes: entry.bytes ?? [] })
    return (content ?? []).map((entry) => ({ ...exact(entry), top_logprobs: entry.top_logprobs.map(exact) }))
  }

  #ofResponse(type: Extract<ResponseEvent, { response: ResponseBody }>["type"]): ResponseEvent {
    return this.#number({ type, response: snapshot(this.response) } as Unnumbered<ResponseEvent>)
  }

  #number(event: Unnumbered<ResponseEvent>): ResponseEvent {
    return { ...event, sequence_number: this.#sequence++ } as ResponseEvent
  }
}

const ITEM_TYPES = { content: "message", reasoning: "reasoning" } as const

function newItem(type: ChatDelta["type"], withLogprobs: boolean): OutputItem {
  const status = "in_progress"
  if (type === "reasoning")
    return { type, id: newId("rs"), status, summary: [], content: [{ type: "reasoning_text", text: "" }] }
  const part = { type: "output_text" as const, text: "", annotations: [], ...(withLogprobs && { logprobs: [] }) }
  return { type: "message", id: newId("msg"), status, role: "assistant", content: [part] }
}

const usageOf = ({
  promptTokens,
  cachedTokens,
  completionTokens,
  reasoningTokens = 0,
}: TokenUsage): NonNullable<ResponseBody["usage"]> => ({
  input_tokens: promptTokens,
  input_tokens_details: { cached_tokens: cachedTokens, cache_write_tokens: 0 },
  output_tokens: completionTokens,
  output_tokens_details: { reasoning_tokens: reasoningTokens },
  total_tokens: promptTokens + completionTokens,
})

const seconds = (): number => Math.floor(Date.now() / 1000)
