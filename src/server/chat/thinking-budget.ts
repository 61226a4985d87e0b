/** Ends the thoughts of a model at a limit of tokens, and lets it answer. */

import { generateText, type TextEvent, type TextRequest } from "../../engine/text.ts"
import type { LoadedModel, Usage } from "../../engine/types.ts"
import { ReasoningSplitter } from "../../text/index.ts"
import type { Reasoning } from "./reasoning.ts"

/** Where the thoughts of a request are, and the most tokens that they may have. */
export interface ThinkingBudget extends Reasoning {
  readonly tokens: number
}

/**
 * As `generateText`, for a request of one sequence. At the limit, the sequence is ended, and goes on in a second request after the mark
 * that closes thoughts, which is part of the text and of the token counts. Penalties by the output start anew there.
 * @throws as `generateText` does
 */
export async function* generateWithin(
  model: Pick<LoadedModel, "tokenizer" | "engine">,
  request: TextRequest,
  budget: ThinkingBudget,
  signal?: AbortSignal,
): AsyncGenerator<TextEvent, void, void> {
  const splitter = new ReasoningSplitter(budget.marks, budget.inside)
  const made: number[] = []
  let thoughts = 0
  let usage: Usage | undefined
  for await (const event of generateText(model, request, signal)) {
    const cut = thoughts >= budget.tokens
    if (event.type === "end") {
      if (!cut || event.reason !== "cancelled" || signal?.aborted) yield event
      else usage = event.usage
      continue
    }
    // Nothing after the limit counts: the engine may have been a step ahead.
    if (cut) continue
    yield event
    const within = splitter.reasoning
    splitter.push(event.text)
    if (event.token === undefined) continue
    made.push(event.token)
    if (within && splitter.reasoning && ++thoughts >= budget.tokens) model.engine.endSequence(request.id, 0)
  }
  if (usage === undefined) return

  const close = `\n${budget.marks.close}\n\n`
  const closing = model.tokenizer.encode(close, { special: true })
  yield { type: "text", index: 0, text: close }
  const nMade = made.length + closing.length
  const maxTokens = request.maxTokens - nMade
  if (maxTokens < 1) {
    yield { type: "end", index: 0, reason: "length", usage: { ...usage, completionTokens: nMade } }
    return
  }
  const { constraint, minTokens = 0, ...rest } = request
  const answer: TextRequest = {
    ...rest,
    id: `${request.id}-answer`,
    promptTokens: Int32Array.from([...request.promptTokens, ...made, ...closing]),
    maxTokens,
    ...(minTokens > nMade && { minTokens: minTokens - nMade }),
    ...(constraint && { constraint: { ...constraint, reasoning: undefined } }),
  }
  for await (const event of generateText(model, answer, signal)) {
    if (event.type === "text") yield event
    else {
      const { completionTokens, decodeMs } = event.usage
      const whole = { ...usage, completionTokens: nMade + completionTokens, decodeMs: usage.decodeMs + decodeMs }
      yield { ...event, usage: whole }
    }
  }
}
