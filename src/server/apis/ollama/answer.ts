/** Answers → the pieces of Ollama's streams, and those → whole answers. */

import { parseJson } from "../../../json.ts"
import { type Chat, type ChatEvent, chatEvents } from "../../chat/chat.ts"
import type { ScoredToken } from "../../chat/choices.ts"
import type { ApiFields } from "../../chat/request.ts"
import type { StreamFormat } from "../../http/stream.ts"
import { chatLogprobsOf } from "../openai/logprobs.ts"
import { ollamaError } from "./errors.ts"
import type { OllamaChatResponse, OllamaGenerateResponse } from "./schema.ts"

export const JSON_LINES_TYPE = "application/x-ndjson"

/** Streams of one JSON object a line. @param fields The names of fields in errors. */
export const jsonLines = (fields: ApiFields): StreamFormat => ({
  contentType: JSON_LINES_TYPE,
  event: (item) => `${JSON.stringify(item)}\n`,
  end: "",
  failure: (error) => `${JSON.stringify(ollamaError(fields)(error))}\n`,
  ping: "",
})

/** What is known of an answer before its first piece. */
export interface AnswerHead {
  /** The model's name in the request. */
  readonly model: string
  /** When the request arrived, and when its model was in memory, in milliseconds (`performance.now()`). */
  readonly arrivedAt: number
  readonly loadedAt: number
}

type Message = OllamaChatResponse["message"]
type ToolCall = NonNullable<Message["tool_calls"]>[number]

/** A piece of an answer. */
interface Piece extends Omit<Message, "role"> {
  readonly logprobs?: OllamaChatResponse["logprobs"]
}
/** What comes after an answer. */
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

async function* parts({ arrivedAt, loadedAt }: AnswerHead, chat: Chat): AsyncGenerator<Part, void, void> {
  const { tokenizer } = chat.model
  const scores = (scored?: ScoredToken) => scored && { logprobs: chatLogprobsOf(tokenizer, [scored]).content ?? [] }
  let finish: Finish | undefined
  let call: Call | undefined
  /** A call is sent whole: at the beginning of the next call, or at the end. */
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
      // Clients divide by the durations.
      const ending = {
        done_reason: finish?.reason === "length" ? ("length" as const) : ("stop" as const),
        total_duration: nanoseconds(performance.now() - arrivedAt),
        load_duration: nanoseconds(loadedAt - arrivedAt),
        prompt_eval_count: event.usage.promptTokens,
        prompt_eval_duration: Math.max(1, nanoseconds(finish?.usage.prefillMs ?? 0)),
        eval_count: event.usage.completionTokens,
        eval_duration: Math.max(1, nanoseconds(finish?.usage.decodeMs ?? 0)),
      }
      yield { ending, finish }
    } else {
      const { type, text, scored } = event
      const piece = type === "reasoning" ? { content: "", thinking: text } : { content: text }
      yield { piece: { ...piece, ...scores(scored) } }
    }
  }
}

/** Collects a call of a tool. */
class Call {
  #text = ""
  constructor(readonly start: Extract<ChatEvent, { type: "tool_call" }>) {}

  add(text: string): void {
    this.#text += text
  }

  /** The whole call; `undefined` if the answer was cut off within its arguments, which cannot be sent in part. */
  made(): ToolCall | undefined {
    const { id, name, call } = this.start
    try {
      return { id, function: { index: call, name, arguments: parseJson(this.#text) as Record<string, unknown> } }
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

/** @param withContext Send the conversation's tokens with the last piece. */
export async function* generateAnswer(
  head: AnswerHead,
  chat: Chat,
  withContext: boolean,
): AsyncGenerator<OllamaGenerateResponse, void, void> {
  const { model } = head
  let said = ""
  for await (const part of parts(head, chat)) {
    if ("ending" in part) {
      const context = withContext ? { context: contextAfter(chat, said, part.finish) } : {}
      yield { model, created_at: now(), response: "", done: true, ...part.ending, ...context }
    } else {
      const { content: response, thinking, logprobs } = part.piece
      said += response
      const more = { ...(thinking !== undefined && { thinking }), ...(logprobs && { logprobs }) }
      yield { model, created_at: now(), response, done: false, ...more }
    }
  }
}

/** The tokens of prompt and answer, and the end token if the model has ended its turn. */
function contextAfter({ model: { tokenizer }, choices }: Chat, said: string, finish: Finish | undefined): number[] {
  const prompt = choices.requests[0]?.request.promptTokens ?? []
  const end = tokenizer.eotId ?? tokenizer.eosId
  const ended = finish?.reason === "stop" && finish.stopString === undefined && end !== undefined
  return [...prompt, ...tokenizer.encode(said), ...(ended ? [end] : [])]
}

/** A chat's pieces as one object. */
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
  if (last === undefined) throw new Error(NO_EVENT)
  return { ...last, message, ...(logprobs.length > 0 && { logprobs }) }
}

/** The pieces of a generated text as one object. */
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
  if (last === undefined) throw new Error(NO_EVENT)
  return { ...last, response, ...(thinking !== undefined && { thinking }), ...(logprobs.length > 0 && { logprobs }) }
}

const NO_EVENT = "the engine sent no event for this request, not even its end"
