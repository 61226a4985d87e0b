/**
 * Answers conversations: a neutral request goes in, typed events come out. Every API that answers conversations translates its body into
 * a {@link ChatRequest}, and these events into its own responses.
 */

import type { LoadedModel, Usage } from "../../engine/types.ts"
import { promptOptions, ReasoningSplitter } from "../../text/index.ts"
import type { Tokenizer } from "../../text/tokenizer/types.ts"
import type { ToolPiece } from "../../text/tools/reader.ts"
import { ToolCallSplitter } from "../../text/tools/splitter.ts"
import {
  type Choices,
  checkPrompt,
  finished,
  makeChoices,
  type RunContext,
  runChoices,
  type ScoredToken,
  type TimedUsage,
  UsageTotal,
} from "./choices.ts"
import { encodeText, encodeToRead, lastTokens } from "./encode.ts"
import { renderChat } from "./prompt.ts"
import { type Reasoning, reasoningOf } from "./reasoning.ts"
import type { ChatRequest, ToolCall } from "./request.ts"
import { afterReasoning } from "./structured.ts"
import { withTemplate } from "./templates.ts"
import { type Calling, planTools } from "./tools.ts"

/** A conversation that is ready to be answered. */
export interface Chat {
  readonly model: LoadedModel
  readonly choices: Choices
  readonly controller: AbortController
  /** Where to look for reasoning; `undefined`: the answer has none. */
  readonly reasoning: Reasoning | undefined
  /** How calls of tools are read; `undefined`: the answer has none. */
  readonly calling?: Calling
  /** Deltas carry the ids of their tokens. */
  readonly tokenIds?: boolean
}

/** Why a choice has ended. */
type ChatFinish = "stop" | "length" | "tool_calls"

/** What a token brings with its text, if the request asks for it: its id, and its log-probabilities. */
interface Carried {
  readonly token?: number
  readonly scored?: ScoredToken
}

/** A piece of a choice's answer. Its text may be empty when it carries a token whose text is held back. */
export interface ChatDelta extends Carried {
  readonly type: "content" | "reasoning"
  readonly index: number
  readonly text: string
}

/** The beginning of a choice's call of a tool, or more of its arguments' JSON; `call` counts from 0 in each choice. */
export type ChatToolDelta =
  | {
      readonly type: "tool_call"
      readonly index: number
      readonly call: number
      readonly id: string
      readonly name: string
    }
  | { readonly type: "tool_arguments"; readonly index: number; readonly call: number; readonly text: string }

/**
 * For each choice (`index`) its deltas, then one `finish`. After all choices, one `usage`. A call begins after the end of the one before
 * it.
 */
export type ChatEvent =
  | ChatDelta
  | ChatToolDelta
  | {
      readonly type: "finish"
      readonly index: number
      readonly reason: ChatFinish
      /** The stop string that ended it. */
      readonly stopString?: string
      readonly usage: Usage
    }
  | { readonly type: "usage"; readonly usage: TimedUsage }

/**
 * Makes a request ready: plans its tools, renders and encodes its prompt, checks everything.
 * @throws RequestError that names the field at fault.
 */
export async function prepareChat(model: LoadedModel, run: RunContext, request: ChatRequest): Promise<Chat> {
  const template = withTemplate(model, request)
  const { offered, calling, constraint } = planTools(template, request)
  const prompt = renderChat(model, request, offered)
  const own = await promptTokens(model, prompt, request)
  checkPrompt(model, own, "messages")
  const tokens = afterTokens(model, request.precedingTokens ?? [], own)
  const reasoning = reasoningOf(template, prompt, request)
  const marks = [reasoning?.marks.open, reasoning?.marks.close, ...(calling?.format.marks ?? [])]
  const choices = makeChoices(model, [tokens], request, run, {
    shownTokens: markTokens(model.tokenizer, marks),
    constraint: afterReasoning(constraint, reasoning),
    ...(reasoning && request.thinkingBudget && { thinking: { ...reasoning, tokens: request.thinkingBudget } }),
  })
  return { model, choices, controller: run.controller, reasoning, calling, tokenIds: request.tokenIds }
}

async function promptTokens(model: LoadedModel, prompt: string, request: ChatRequest): Promise<Int32Array> {
  const options = promptOptions(model.tokenizer, prompt)
  const addBos = options.addBos && request.addSpecialTokens !== false
  if (request.keptPromptTokens === undefined) return encodeToRead(model, prompt, { ...options, addBos }, "messages")
  return lastTokens(model, await encodeText(model, prompt, { ...options, addBos }), request)
}

/** The prompt after the tokens of an earlier conversation. @throws RequestError when both together do not fit. */
function afterTokens(model: LoadedModel, preceding: readonly number[], prompt: Int32Array): Int32Array {
  if (preceding.length === 0) return prompt
  // Only the first text begins with the model's beginning token.
  const rest = prompt[0] === model.tokenizer.bosId ? prompt.subarray(1) : prompt
  const tokens = Int32Array.from([...preceding, ...rest])
  checkPrompt(model, tokens, "precedingTokens")
  return tokens
}

/** The ids of those marks that are control tokens, which are left out of a text by default. */
function markTokens(tokenizer: Tokenizer, marks: readonly (string | undefined)[]): ReadonlySet<number> | undefined {
  const ids = marks.map((mark) => (mark === undefined ? undefined : tokenizer.idOf(mark)))
  const hidden = ids.filter((id) => id !== undefined && tokenizer.isSpecial(id)) as number[]
  return hidden.length === 0 ? undefined : new Set(hidden)
}

/**
 * Generates the answer; to be called once. Aborting the chat's controller stops every choice within a step.
 * @throws RequestError, EngineError, OverloadedError, or the reason of the controller's abort
 */
export async function* chatEvents({
  model,
  choices,
  controller,
  reasoning,
  calling,
  tokenIds = false,
}: Chat): AsyncGenerator<ChatEvent, void, void> {
  const usage = new UsageTotal()
  const plain = reasoning === undefined && calling === undefined
  const parts = plain ? undefined : choices.list.map(({ index }) => new AnswerParts(index, reasoning, calling))
  let reasoningTokens = 0
  for await (const { index, event } of runChoices(model, choices, controller)) {
    const part = parts?.[index]
    if (event.type === "end") {
      if (part !== undefined) yield* part.flush()
      const choice = choices.list[index]
      const { stopString, usage: cost } = event
      if (choice !== undefined) usage.add(choice, cost)
      const ended = finished(event.reason, controller.signal)
      const reason = ended === "stop" && part?.called ? "tool_calls" : ended
      yield { type: "finish", index, reason, ...(stopString !== undefined && { stopString }), usage: cost }
      continue
    }
    const { text, token, logprobs } = event
    // An end token is reported for its id alone.
    const ends = text === "" && token !== undefined && choices.endTokens.has(token)
    const carried = {
      ...(tokenIds && token !== undefined && { token }),
      ...(token !== undefined && logprobs !== undefined && !ends && { scored: { token, logprobs } }),
    }
    const isEmpty = carried.token === undefined && carried.scored === undefined
    if (part === undefined) {
      if (text !== "" || !isEmpty) yield { type: "content", index, text, ...carried }
      continue
    }
    if (token !== undefined && !ends && part.thinking) reasoningTokens++
    yield* part.push(text, isEmpty ? undefined : carried)
  }
  yield { type: "usage", usage: { ...usage.total(), ...(reasoning && { reasoningTokens }) } }
}

type Delta = ChatDelta | ChatToolDelta

/** Splits one choice's text, as it arrives, into reasoning, content and calls of tools. */
class AnswerParts {
  readonly #reasoning: ReasoningSplitter | undefined
  readonly #calls: ToolCallSplitter | undefined

  constructor(
    readonly index: number,
    reasoning: Reasoning | undefined,
    readonly calling: Calling | undefined,
  ) {
    this.#reasoning = reasoning && new ReasoningSplitter(reasoning.marks, reasoning.inside)
    this.#calls = calling && new ToolCallSplitter(calling.format, calling.names)
  }

  /** Whether the next text is reasoning, as far as the text so far tells. */
  get thinking(): boolean {
    return this.#reasoning?.reasoning ?? false
  }

  /** Whether there are calls, and all of them complete. Valid after {@link flush}. */
  get called(): boolean {
    return this.#calls?.called ?? false
  }

  /** The deltas of one token's text. The first text among them carries what the token brings. */
  push(text: string, carried?: Carried): Delta[] {
    const { reasoning, content } = this.#reasoning?.push(text) ?? { reasoning: "", content: text }
    const deltas = this.#deltas(reasoning, this.#calls?.push(content) ?? contentPiece(content))
    if (carried === undefined) return deltas
    const [first, ...rest] = deltas
    if (first?.type === "content" || first?.type === "reasoning") return [{ ...first, ...carried }, ...rest]
    return [{ type: "content", index: this.index, text: "", ...carried }, ...deltas]
  }

  /** The deltas of the text that was held back. */
  flush(): Delta[] {
    const { reasoning, content } = this.#reasoning?.flush() ?? { reasoning: "", content: "" }
    const pieces = this.#calls && [...this.#calls.push(content), ...this.#calls.flush()]
    return this.#deltas(reasoning, pieces ?? contentPiece(content))
  }

  #deltas(reasoning: string, pieces: readonly ToolPiece[]): Delta[] {
    const { index } = this
    const deltas: Delta[] = reasoning === "" ? [] : [{ type: "reasoning", index, text: reasoning }]
    // The splitter has counted the calls that begin among these pieces already.
    let call = (this.#calls?.calls ?? 0) - pieces.filter(({ type }) => type === "call").length - 1
    for (const piece of pieces) {
      if (piece.type === "content") {
        if (!this.calling?.required) deltas.push({ type: "content", index, text: piece.text })
      } else if (piece.type === "arguments") deltas.push({ type: "tool_arguments", index, call, text: piece.text })
      else {
        const id = this.calling?.format.newId() ?? ""
        deltas.push({ type: "tool_call", index, call: ++call, id, name: piece.name })
      }
    }
    return deltas
  }
}

const contentPiece = (text: string): ToolPiece[] => (text === "" ? [] : [{ type: "content", text }])

/** One choice's whole answer. */
interface ChatAnswer {
  content: string
  /** Empty for models that do not think. */
  reasoning: string
  readonly toolCalls: ToolCall[]
  reason: ChatFinish
  stopString?: string
  /** Empty unless log-probabilities were asked for. */
  readonly scored: ScoredToken[]
  /** Empty unless the ids of tokens were asked for. */
  readonly tokens: number[]
}

/**
 * Generates the answer, and collects the events of each choice; to be called once. @throws as {@link chatEvents} does
 * @param events The chat's events, where a caller has changed them.
 */
export async function collectChat(
  chat: Chat,
  events: AsyncIterable<ChatEvent> = chatEvents(chat),
): Promise<{ answers: ChatAnswer[]; usage: TimedUsage }> {
  const answers = chat.choices.list.map((): ChatAnswer => {
    return { content: "", reasoning: "", toolCalls: [], reason: "stop", scored: [], tokens: [] }
  })
  let usage = new UsageTotal().total()
  for await (const event of events) {
    if (event.type === "usage") {
      usage = event.usage
      continue
    }
    const answer = answers[event.index]
    if (answer === undefined) continue
    if (event.type === "finish") {
      answer.reason = event.reason
      answer.stopString = event.stopString
      continue
    }
    if (event.type === "tool_call") {
      answer.toolCalls[event.call] = { id: event.id, name: event.name, arguments: "" }
      continue
    }
    if (event.type === "tool_arguments") {
      const call = answer.toolCalls[event.call]
      if (call !== undefined) answer.toolCalls[event.call] = { ...call, arguments: call.arguments + event.text }
      continue
    }
    answer[event.type] += event.text
    if (event.scored !== undefined) answer.scored.push(event.scored)
    if (event.token !== undefined) answer.tokens.push(event.token)
  }
  return { answers, usage }
}
