/** One request for a chat completion: runs its choices, and writes the response or its chunks. */

import {
  type Chat,
  type ChatDelta,
  type ChatEvent,
  type ChatToolDelta,
  chatEvents,
  collectChat,
} from "../../chat/chat.ts"
import { CustomInput, customInput } from "../../chat/custom-tools.ts"
import { type ReasoningPlace, withReasoning } from "../../chat/reasoning-place.ts"
import type { ChatRequest, ToolCall } from "../../chat/request.ts"
import type { ErrorShape } from "../../http/errors.ts"
import type { Job, JobContext } from "../../http/job.ts"
import type { StreamFormat } from "../../http/stream.ts"
import { VERBOSE, verboseAnswer } from "../llama-server/chat-extras.ts"
import { type LiveTimings, timingsOf } from "../llama-server/timings.ts"
import type { ChatBody, ChatChunk, ChatResponse } from "./chat-schema.ts"
import { chatLogprobsOf, promptLogprobsOf, scorePrompts } from "./logprobs.ts"
import { type ToolCallBody, toolName, usesFunctions } from "./tools-schema.ts"
import { answerHead, DATA_EVENTS, RunningUsage, usageBody } from "./wire.ts"

type ChunkChoice = ChatChunk["choices"][number]
type Delta = ChunkChoice["delta"]

/** What differs between the paths of the route. */
export interface ChatForm {
  readonly shape: ErrorShape
  /** The content of a stream's first chunk, unless it repeats a text. */
  readonly begin: "" | null
}

export class ChatJob implements Job<ChatResponse> {
  readonly format: StreamFormat
  /** The older form of calls is asked for. */
  readonly #oldCalls: boolean
  /** Names of the tools whose input is a text. */
  readonly #custom: ReadonlySet<string>
  /** Text that each choice repeats at its beginning. */
  readonly #echo: string

  constructor(
    readonly context: JobContext,
    readonly chat: Chat,
    readonly body: ChatBody,
    { messages }: ChatRequest,
    readonly site: ChatForm,
    readonly live: LiveTimings,
  ) {
    this.format = { ...DATA_EVENTS, failure: (error) => `data: ${JSON.stringify(site.shape(error))}\n\n` }
    live.promptTokens = chat.choices.requests[0]?.request.promptTokens.length ?? 0
    this.#oldCalls = usesFunctions(body)
    this.#custom = new Set(body.tools?.filter(({ type }) => type === "custom").map(toolName))
    const last = messages.at(-1)
    this.#echo = body.echo && last?.role === "assistant" ? last.content : ""
  }

  get controller(): AbortController {
    return this.context.controller
  }

  async complete(): Promise<ChatResponse> {
    const { chat, body } = this
    const promptScores = await this.#promptScores()
    const { answers, usage } = await collectChat(chat, this.#events())
    return {
      ...this.#head(),
      object: "chat.completion",
      ...this.#promptIds(),
      choices: answers.map(({ content, reasoning, toolCalls, scored, tokens, reason }, index) => ({
        index,
        message: {
          role: "assistant",
          content: content === "" && toolCalls.length > 0 ? null : this.#echo + content,
          ...(this.#showsReasoning && reasoningFields(reasoning)),
          ...this.#calls(toolCalls),
          refusal: null,
        },
        logprobs: body.logprobs || body.n_probs ? this.#logprobs(scored) : null,
        finish_reason: this.#reason(reason),
        ...(body.return_token_ids && { token_ids: tokens }),
      })),
      usage: usageBody(usage),
      timings: timingsOf(usage),
      ...(body.verbose && { [VERBOSE]: verboseAnswer(chat, answers[0]?.content ?? "", usage) }),
      ...promptScores,
    }
  }

  async *chunks(): AsyncGenerator<ChatChunk> {
    const { stream_options: options, return_token_ids: withIds } = this.body
    const withUsage = options?.include_usage === true
    const running = options?.continuous_usage_stats ? new RunningUsage(this.chat.choices) : undefined
    const begun = new Set<number>()
    const inputs = new CustomInputs(this.#custom)
    const usageNow = () => (running ? { usage: running.body() } : withUsage ? { usage: null } : {})
    const chunk = (...choices: ChunkChoice[]): ChatChunk => ({
      ...this.#head(),
      object: "chat.completion.chunk",
      choices,
      ...usageNow(),
    })
    const only = (index: number, delta: Delta, reason: ChunkChoice["finish_reason"] = null) =>
      chunk({ index, delta, logprobs: null, finish_reason: reason })

    const { live } = this
    const { timings_per_token: perToken, return_progress: withProgress } = this.body
    const timed = (part: ChatChunk) => (perToken ? { ...part, timings: live.body() } : part)
    const begin = (index: number): ChatChunk => {
      const first = begun.size === 0
      begun.add(index)
      const content = this.#echo || this.site.begin
      return { ...only(index, { role: "assistant", content }), ...(first && this.#promptIds()) }
    }

    for await (const event of live.withProgress(this.#events())) {
      if ("total" in event) {
        if (!begun.has(0)) yield begin(0)
        if (withProgress) yield { ...timed(chunk()), prompt_progress: event }
        continue
      }
      if (event.type === "usage") {
        if (withUsage) yield { ...chunk(), usage: usageBody(event.usage), timings: timingsOf(event.usage) }
        continue
      }
      const { index } = event
      if (!begun.has(index)) yield begin(index)
      if (event.type === "finish") yield only(index, {}, this.#reason(event.reason))
      else if (event.type === "tool_call" || event.type === "tool_arguments") {
        const delta = this.#oldCalls ? functionCallDelta(event) : inputs.delta(event)
        if (delta !== undefined) yield only(index, delta)
      } else {
        if (event.token !== undefined) {
          running?.count()
          live.token()
        }
        const { scored, token } = event
        const part = chunk({
          index,
          delta: textDelta(event),
          logprobs: scored === undefined ? null : this.#logprobs([scored]),
          finish_reason: null,
          ...(withIds && { token_ids: token === undefined ? [] : [token] }),
        })
        yield timed(part)
      }
    }
  }

  #events(): AsyncGenerator<ChatEvent, void, void> {
    const chat = this.body.timings_per_token ? { ...this.chat, tokenIds: true } : this.chat
    const { reasoning } = chat
    const events = chatEvents(chat)
    return reasoning === undefined ? events : withReasoning(events, this.#reasoningPlace, reasoning.marks)
  }

  get #reasoningPlace(): ReasoningPlace {
    const { include_reasoning: included, reasoning_format: format, reasoning } = this.body
    if (included === false || reasoning?.exclude) return "nowhere"
    return format === "none" ? "content" : format === "deepseek-legacy" ? "both" : "apart"
  }

  get #showsReasoning(): boolean {
    const place = this.#reasoningPlace
    return this.chat.reasoning !== undefined && (place === "apart" || place === "both")
  }

  #head() {
    return answerHead("chatcmpl", this.chat.model, this.context, this.body.request_id)
  }

  #promptIds(): { prompt_token_ids?: number[] } {
    const [prompt] = this.chat.choices.requests
    return this.body.return_token_ids && prompt ? { prompt_token_ids: [...prompt.request.promptTokens] } : {}
  }

  async #promptScores(): Promise<Pick<ChatResponse, "prompt_logprobs">> {
    const { chat, body, context } = this
    const tokens = chat.choices.requests[0]?.request.promptTokens
    const { prompt_logprobs: top } = body
    if (typeof top !== "number" || tokens === undefined) return {}
    const [scores = []] = await scorePrompts(chat.model, context, [tokens], top)
    return { prompt_logprobs: promptLogprobsOf(chat.model.tokenizer, tokens, scores) }
  }

  #logprobs(scored: Parameters<typeof chatLogprobsOf>[1]) {
    return chatLogprobsOf(this.chat.model.tokenizer, scored, this.body.return_tokens_as_token_ids ?? false)
  }

  #calls(calls: readonly ToolCall[]): Pick<ChatResponse["choices"][number]["message"], "tool_calls" | "function_call"> {
    const [first] = calls
    if (first === undefined) return {}
    if (this.#oldCalls) return { function_call: { name: first.name, arguments: first.arguments } }
    return { tool_calls: calls.map((call) => this.#call(call)) }
  }

  #call({ id, name, arguments: text }: ToolCall): ToolCallBody {
    return this.#custom.has(name)
      ? { id, type: "custom", custom: { name, input: customInput(text) } }
      : { id, type: "function", function: { name, arguments: text } }
  }

  #reason(reason: "stop" | "length" | "tool_calls") {
    return reason === "tool_calls" && this.#oldCalls ? "function_call" : reason
  }
}

/** Clients look for the reasoning under either name. */
const reasoningFields = (text: string) => ({ reasoning_content: text, reasoning: text })

const textDelta = ({ type, text }: ChatDelta): Delta =>
  type === "reasoning" ? reasoningFields(text) : { content: text }

const functionCallDelta = (event: ChatToolDelta): Delta => ({
  function_call: event.type === "tool_call" ? { name: event.name, arguments: "" } : { arguments: event.text },
})

/** Writes the deltas of calls; those of custom tools have their input in place of JSON. */
class CustomInputs {
  readonly #open = new Map<string, CustomInput>()

  /** @param names Names of the custom tools. */
  constructor(readonly names: ReadonlySet<string>) {}

  /** `undefined`: nothing to send. */
  delta(event: ChatToolDelta): Delta | undefined {
    const { index: choice, call: index } = event
    const key = `${choice}/${index}`
    if (event.type === "tool_call") {
      const { id, name } = event
      if (!this.names.has(name))
        return { tool_calls: [{ index, id, type: "function", function: { name, arguments: "" } }] }
      this.#open.set(key, new CustomInput())
      return { tool_calls: [{ index, id, type: "custom", custom: { name, input: "" } }] }
    }
    const custom = this.#open.get(key)
    if (custom === undefined) return { tool_calls: [{ index, function: { arguments: event.text } }] }
    const input = custom.push(event.text)
    return input === "" ? undefined : { tool_calls: [{ index, custom: { input } }] }
  }
}
