/**
 * What every API that answers conversations is made of: a chat request goes in, typed deltas come out. Chat completions, responses,
 * messages and the like each translate their own form into a {@link ChatRequest}, and these events into their own.
 */

import type { LoadedModel, Usage } from "../../engine/types.ts"
import { promptOptions } from "../../text/index.ts"
import type { Tokenizer } from "../../text/tokenizer/types.ts"
import type { ChatRequest } from "../apis/openai/chat-schema.ts"
import type { UsageBody } from "../apis/openai/generation-schema.ts"
import type { ScoredToken } from "../apis/openai/logprobs.ts"
import { AnswerParts } from "./answer-parts.ts"
import { type Choices, checkPrompt, finished, makeChoices, type Run, runChoices, UsageTotal } from "./choices.ts"
import { encodeToRead } from "./encode.ts"
import { type Reasoning, reasoningOf, renderChat } from "./prompt.ts"
import { samplingOf, stopStrings } from "./sampling.ts"
import { constraintOf } from "./structured.ts"
import { type Calling, callingOf, toolsConstraint } from "./tools.ts"

/** A conversation that is ready to be answered. */
export interface Chat {
  readonly model: LoadedModel
  readonly choices: Choices
  readonly controller: AbortController
  /** Where to look for reasoning; `undefined` where the answer has none. */
  readonly reasoning: Reasoning | undefined
  /** How calls of tools are written; `undefined` where the answer has none. */
  readonly calling?: Calling
}

/** Why a choice has ended. */
export type ChatFinish = "stop" | "length" | "tool_calls"

/** A piece of a choice's answer. Its text may be empty where it carries a scored token whose text is held back. */
export interface ChatDelta {
  readonly type: "content" | "reasoning"
  readonly index: number
  readonly text: string
  /** The token that brought it, with its log-probabilities; only where the request asks for them. */
  readonly scored?: ScoredToken
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
 * Of each choice (`index`): its deltas, then one `finish`. After all of them, one `usage`. A call begins when the one before it is
 * over.
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
      /** What it took of the engine. */
      readonly usage: Usage
    }
  | { readonly type: "usage"; readonly usage: UsageBody }

/**
 * Turns a request into choices.
 * @throws ApiError 400 naming the field that cannot be served.
 */
export async function prepareChat(model: LoadedModel, run: Run, body: ChatRequest): Promise<Chat> {
  const calling = callingOf(model, body)
  const prompt = renderChat(model, body)
  const tokens = await encodeToRead(model, prompt, promptOptions(model.tokenizer, prompt), "messages")
  checkPrompt(model, tokens, "messages")
  const reasoning = reasoningOf(model, prompt, body)
  const marks = [reasoning?.marks.open, reasoning?.marks.close, ...(calling?.format.marks ?? [])]
  const form = constraintOf(body, reasoning)
  const logprobs = body.logprobs ? (body.top_logprobs ?? 0) : undefined
  const choices = makeChoices(model, [tokens], {
    id: run.id,
    n: body.n ?? 1,
    sampling: samplingOf(body, model.engine.limits, logprobs),
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
    minTokens: body.min_tokens ?? 0,
    stop: stopStrings(body.stop),
    ignoreEos: body.ignore_eos ?? false,
    shownTokens: markTokens(model.tokenizer, marks),
    constraint: calling ? toolsConstraint(calling, body, reasoning, form) : form,
    standing: run.standing,
  })
  return { model, choices, controller: run.controller, reasoning, calling }
}

/** The marks, where they are tokens that text usually leaves out. */
function markTokens(tokenizer: Tokenizer, marks: readonly (string | undefined)[]): ReadonlySet<number> | undefined {
  const ids = marks.map((mark) => (mark === undefined ? undefined : tokenizer.idOf(mark)))
  const hidden = ids.filter((id) => id !== undefined && tokenizer.isSpecial(id)) as number[]
  return hidden.length === 0 ? undefined : new Set(hidden)
}

/**
 * Answers it, once. Aborting its controller stops every choice within a step.
 * @throws EngineError, OverloadedError, or what the controller was aborted with
 */
export async function* chatEvents({
  model,
  choices,
  controller,
  reasoning,
  calling,
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
    const scored = token !== undefined && logprobs !== undefined ? { token, logprobs } : undefined
    if (part === undefined) {
      if (scored !== undefined) yield { type: "content", index, text, scored }
      else if (text !== "") yield { type: "content", index, text }
      continue
    }
    if (token !== undefined && part.thinking) reasoningTokens++
    yield* part.push(text, scored)
  }
  const details = reasoning && { completion_tokens_details: { reasoning_tokens: reasoningTokens } }
  yield { type: "usage", usage: { ...usage.toJSON(), ...details } }
}

/** A call of a tool, whole. */
export interface ChatToolCall {
  readonly id: string
  readonly name: string
  /** JSON; cut off where the answer is (`length`). */
  arguments: string
}

/** One choice's whole answer. */
export interface ChatAnswer {
  content: string
  /** Empty for models that do not think. */
  reasoning: string
  readonly toolCalls: ChatToolCall[]
  reason: ChatFinish
  stopString?: string
  /** Empty unless log-probabilities were asked for. */
  readonly scored: ScoredToken[]
}

/** Answers it, once, and gathers the events of each choice. */
export async function collectChat(chat: Chat): Promise<{ answers: ChatAnswer[]; usage: UsageBody }> {
  const answers = chat.choices.list.map((): ChatAnswer => {
    return { content: "", reasoning: "", toolCalls: [], reason: "stop", scored: [] }
  })
  let usage: UsageBody = new UsageTotal().toJSON()
  for await (const event of chatEvents(chat)) {
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
      if (call !== undefined) call.arguments += event.text
      continue
    }
    answer[event.type] += event.text
    if (event.scored !== undefined) answer.scored.push(event.scored)
  }
  return { answers, usage }
}
