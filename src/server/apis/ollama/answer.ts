/** Answers → the pieces that Ollama's streams are made of, and those → whole answers. */

import { type Chat, type ChatEvent, chatEvents } from "../../chat/chat.ts"
import type { StreamFormat } from "../../http/stream.ts"
import { chatLogprobsOf, type ScoredToken } from "../openai/logprobs.ts"
import { ollamaErrorBody } from "./errors.ts"
import type { OllamaChatResponse, OllamaGenerateResponse } from "./schema.ts"

/** One JSON object a line. */
export const JSON_LINES: StreamFormat = {
  contentType: "application/x-ndjson",
  event: (item) => `${JSON.stringify(item)}\n`,
  end: "",
  failure: (error) => `${JSON.stringify(ollamaErrorBody(error))}\n`,
  ping: "",
}

/** What is known of an answer before it is made. */
export interface AnswerHead {
  /** As the request calls it. */
  readonly model: string
  /** When the request came and when it had its model, in milliseconds (`performance.now()`). */
  readonly came: number
  readonly loaded: number
}

type Message = OllamaChatResponse["message"]
type ToolCall = NonNullable<Message["tool_calls"]>[number]

/** More of an answer. */
interface Piece extends Omit<Message, "role"> {
  readonly logprobs?: OllamaChatResponse["logprobs"]
}
/** All that there is to say behind an answer. */
type Ending = Pick<OllamaChatResponse, "done_reason" | keyof Durations>
interface Durations {
  total_duration?: number
  load_duration?: number
  prompt_eval_count?: number
  prompt_eval_duration?: number
  eval_count?: number
  eval_duration?: number
}
type Part = { readonly piece: Piece } | { readonly ending: Ending; readonly finish: Finish | undefined }
type Finish = Extract<ChatEvent, { type: "finish" }>

export const nanoseconds = (ms: number): number => Math.round(ms * 1e6)

async function* parts({ came, loaded }: AnswerHead, chat: Chat): AsyncGenerator<Part, void, void> {
  const { tokenizer } = chat.model
  const scores = (scored?: ScoredToken) => scored && { logprobs: chatLogprobsOf(tokenizer, [scored]).content ?? [] }
  let finish: Finish | undefined
  let call: Call | undefined
  /** A call is sent whole, when the next one or the end shows that it is. */
  const calls = function* (): Generator<Part> {
    const made = call?.made()
    call = undefined
    if (made !== undefined) yield { piece: { content: "", tool_calls: [made] } }
  }
  for await (const event of chatEvents(chat)) {
    if (event.type === "tool_call") {
      yield* calls()
      call = new Call(event)
    } else if (event.type === "tool_arguments") call?.add(event.text)
    else if (event.type === "finish") {
      yield* calls()
      finish = event
    } else if (event.type === "usage") {
      const ending = {
        done_reason: finish?.reason === "length" ? ("length" as const) : ("stop" as const),
        total_duration: nanoseconds(performance.now() - came),
        load_duration: nanoseconds(loaded - came),
        prompt_eval_count: event.usage.prompt_tokens,
        prompt_eval_duration: nanoseconds(finish?.usage.prefillMs ?? 0),
        eval_count: event.usage.completion_tokens,
        eval_duration: nanoseconds(finish?.usage.decodeMs ?? 0),
      }
      yield { ending, finish }
    } else {
      const { type, text, scored } = event
      const piece = type === "reasoning" ? { content: "", thinking: text } : { content: text }
      yield { piece: { ...piece, ...scores(scored) } }
    }
  }
}

/** A tool's call in the making. */
class Call {
  #text = ""
  constructor(readonly begun: Extract<ChatEvent, { type: "tool_call" }>) {}

  add(text: string): void {
    this.#text += text
  }

  /** `undefined` where the answer was cut off within its arguments: there is no way to say half of them. */
  made(): ToolCall | undefined {
    const { id, name, call } = this.begun
    try {
      return { id, function: { index: call, name, arguments: JSON.parse(this.#text) } }
    } catch {
      return undefined
    }
  }
}

const now = (): string => new Date().toISOString()

export async function* chatAnswer(head: AnswerHead, chat: Chat): AsyncGenerator<OllamaChatResponse, void, void> {
  const { model } = head
  const role = "assistant" as const
  for await (const part of parts(head, chat)) {
    if ("ending" in part) yield { model, created_at: now(), message: { role, content: "" }, done: true, ...part.ending }
    else {
      const { logprobs, ...said } = part.piece
      yield { model, created_at: now(), message: { role, ...said }, done: false, ...(logprobs && { logprobs }) }
    }
  }
}

/** @param withContext Give the conversation's tokens with the last piece. */
export async function* generateAnswer(
  head: AnswerHead,
  chat: Chat,
  withContext: boolean,
): AsyncGenerator<OllamaGenerateResponse, void, void> {
  const { model } = head
  let said = ""
  for await (const part of parts(head, chat)) {
    if ("ending" in part) {
      const context = withContext ? { context: contextBehind(chat, said, part.finish) } : {}
      yield { model, created_at: now(), response: "", done: true, ...part.ending, ...context }
    } else {
      const { content: response, thinking, logprobs } = part.piece
      said += response
      const more = { ...(thinking !== undefined && { thinking }), ...(logprobs && { logprobs }) }
      yield { model, created_at: now(), response, done: false, ...more }
    }
  }
}

/** Prompt and answer as tokens, and the end of the turn where the model has ended it. */
function contextBehind({ model: { tokenizer }, choices }: Chat, said: string, finish: Finish | undefined): number[] {
  const prompt = choices.requests[0]?.request.promptTokens ?? []
  const end = tokenizer.eotId ?? tokenizer.eosId
  const ended = finish?.reason === "stop" && finish.stopString === undefined && end !== undefined
  return [...prompt, ...tokenizer.encode(said), ...(ended ? [end] : [])]
}

/** The one object that a chat's pieces make up. */
export async function wholeChat(pieces: AsyncIterable<OllamaChatResponse>): Promise<OllamaChatResponse> {
  let last: OllamaChatResponse | undefined
  const message: Message = { role: "assistant", content: "" }
  const logprobs: NonNullable<OllamaChatResponse["logprobs"]> = []
  for await (const piece of pieces) {
    const { content, thinking, tool_calls } = piece.message
    message.content += content
    if (thinking !== undefined) message.thinking = (message.thinking ?? "") + thinking
    if (tool_calls !== undefined) message.tool_calls = [...(message.tool_calls ?? []), ...tool_calls]
    logprobs.push(...(piece.logprobs ?? []))
    last = piece
  }
  if (last === undefined) throw new Error(NOTHING)
  return { ...last, message, ...(logprobs.length > 0 && { logprobs }) }
}

/** The one object that the pieces of a generated text make up. */
export async function wholeText(pieces: AsyncIterable<OllamaGenerateResponse>): Promise<OllamaGenerateResponse> {
  let last: OllamaGenerateResponse | undefined
  let response = ""
  let thinking: string | undefined
  const logprobs: NonNullable<OllamaGenerateResponse["logprobs"]> = []
  for await (const piece of pieces) {
    response += piece.response
    if (piece.thinking !== undefined) thinking = (thinking ?? "") + piece.thinking
    logprobs.push(...(piece.logprobs ?? []))
    last = piece
  }
  if (last === undefined) throw new Error(NOTHING)
  return { ...last, response, ...(thinking !== undefined && { thinking }), ...(logprobs.length > 0 && { logprobs }) }
}

const NOTHING = "the engine said nothing of this request, not even that it ended"
