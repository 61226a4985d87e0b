/**
 * What every API that answers conversations is made of: a chat request goes in, typed deltas come out. Chat completions, responses,
 * messages and the like each translate their own form into a {@link ChatRequest}, and these events into their own.
 */

import type { LoadedModel } from "../engine/load.ts"
import { type Choices, checkPrompt, finished, makeChoices, type Run, runChoices, UsageTotal } from "./generation.ts"
import type { ScoredToken } from "./logprobs.ts"
import { chatPrompt } from "./prompt.ts"
import { samplingOf, stopStrings } from "./sampling.ts"
import type { ChatRequest } from "./schemas/chat.ts"
import type { UsageBody } from "./schemas/generation.ts"

/** A conversation that is ready to be answered. */
export interface Chat {
  readonly model: LoadedModel
  readonly choices: Choices
  readonly controller: AbortController
}

/** Why a choice has ended. */
export type ChatFinish = "stop" | "length"

/** A piece of a choice's answer. Its text may be empty where it carries a scored token whose text is held back. */
export interface ChatDelta {
  readonly type: "content"
  readonly index: number
  readonly text: string
  /** The token that brought it, with its log-probabilities; only where the request asks for them. */
  readonly scored?: ScoredToken
}

/** Of each choice (`index`): its deltas, then one `finish`. After all of them, one `usage`. */
export type ChatEvent =
  | ChatDelta
  | {
      readonly type: "finish"
      readonly index: number
      readonly reason: ChatFinish
      /** The stop string that ended it. */
      readonly stop_string?: string
    }
  | { readonly type: "usage"; readonly usage: UsageBody }

/**
 * Turns a request into choices.
 * @throws ApiError 400 naming the field that cannot be served.
 */
export async function prepareChat(model: LoadedModel, run: Run, body: ChatRequest): Promise<Chat> {
  const prompt = chatPrompt(model, body.messages)
  checkPrompt(model, prompt, "messages")
  const logprobs = body.logprobs ? (body.top_logprobs ?? 0) : undefined
  const choices = makeChoices(model, [prompt], {
    id: run.id,
    n: body.n ?? 1,
    sampling: samplingOf(body, model.engine.limits, logprobs),
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
    stop: stopStrings(body.stop),
    ignoreEos: body.ignore_eos ?? false,
    standing: run.standing,
  })
  return { model, choices, controller: run.controller }
}

/**
 * Answers it, once. Aborting its controller stops every choice within a step.
 * @throws EngineError, OverloadedError, or what the controller was aborted with
 */
export async function* chatEvents({ model, choices, controller }: Chat): AsyncGenerator<ChatEvent, void, void> {
  const usage = new UsageTotal()
  for await (const { index, event } of runChoices(model, choices, controller)) {
    if (event.type === "end") {
      const choice = choices.list[index]
      if (choice !== undefined) usage.add(choice, event.usage)
      const { stop_string } = event
      const reason = finished(event.reason, controller.signal)
      yield { type: "finish", index, reason, ...(stop_string !== undefined && { stop_string }) }
      continue
    }
    const { text, token, logprobs } = event
    if (token !== undefined && logprobs !== undefined)
      yield { type: "content", index, text, scored: { token, logprobs } }
    else if (text !== "") yield { type: "content", index, text }
  }
  yield { type: "usage", usage: usage.toJSON() }
}

/** One choice's whole answer. */
export interface ChatAnswer {
  content: string
  reason: ChatFinish
  stop_string?: string
  /** Empty unless log-probabilities were asked for. */
  readonly scored: ScoredToken[]
}

/** Answers it, once, and gathers the events of each choice. */
export async function collectChat(chat: Chat): Promise<{ answers: ChatAnswer[]; usage: UsageBody }> {
  const answers = chat.choices.list.map((): ChatAnswer => ({ content: "", reason: "stop", scored: [] }))
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
      answer.stop_string = event.stop_string
      continue
    }
    answer.content += event.text
    if (event.scored !== undefined) answer.scored.push(event.scored)
  }
  return { answers, usage }
}
