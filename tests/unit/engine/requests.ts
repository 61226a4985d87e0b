/** Requests for the shadow model, and their expected answers. */

import {
  type Engine,
  type EngineEvent,
  type GenerateRequest,
  GREEDY,
  type SamplingParams,
} from "../../../src/engine/types.ts"
import { shadowModel } from "./shadow-context.ts"

/** A request with log-probabilities, which in the shadow model are a hash of all previous tokens. */
export const request = (
  id: string,
  tokens: ArrayLike<number>,
  changes: Partial<GenerateRequest> = {},
): GenerateRequest => ({
  id,
  tokens: Int32Array.from(tokens),
  sampling: { ...GREEDY, logprobs: 0 },
  maxTokens: 4,
  stopTokens: new Set(),
  ...changes,
})

export const sampled = (seed: number, changes: Partial<SamplingParams> = {}): SamplingParams => ({
  ...GREEDY,
  logprobs: 0,
  temperature: 1,
  seed: BigInt(seed),
  ...changes,
})

export interface Answer {
  tokens: number[]
  logprobs: number[]
  /** `undefined` before the end. */
  reason?: string
  cachedTokens?: number
}

/** Reads a request. @returns an answer for each sequence. @throws the engine's error. */
export async function read(engine: Engine, asked: GenerateRequest, signal?: AbortSignal): Promise<Answer[]> {
  const answers = emptyAnswers(asked)
  for await (const event of engine.generate(asked, signal)) note(answers, event)
  return answers
}

export const emptyAnswers = ({ n = 1 }: GenerateRequest): Answer[] =>
  Array.from({ length: n }, () => ({ tokens: [], logprobs: [] }))

/** Adds an event to the answers. @throws when a sequence continues after its end. */
export function note(answers: Answer[], event: EngineEvent): void {
  const answer = answers[event.index]
  if (!answer) throw new Error(`sequence ${event.index} was not requested`)
  if (answer.reason !== undefined) throw new Error(`sequence ${event.index} continues after its end`)
  if (event.type === "end") {
    answer.reason = event.reason
    answer.cachedTokens = event.usage.cachedTokens
  } else if (event.type === "token") {
    answer.tokens.push(event.token)
    answer.logprobs.push(event.logprobs?.logprob ?? Number.NaN)
  }
}

/** The expected answer of a sequence, computed without an engine. */
export function expected(asked: GenerateRequest, choice: number, contextLength: number): Answer {
  const { sampling, stopTokens, maxTokens } = asked
  const { repetitionPenalty, frequencyPenalty, presencePenalty } = sampling
  const text = [...asked.tokens]
  const counts = new Map<number, number>()
  if (repetitionPenalty !== 1) for (const token of text) counts.set(token, 0)
  const counting = repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0
  const answer: Answer = { tokens: [], logprobs: [], reason: "length" }
  const seed = sampling.seed + BigInt(choice)
  for (let counter = 0; counter < maxTokens && text.length < contextLength; counter++) {
    const { token, logprob } = shadowModel(text, { seed, counter, penalties: counts })
    text.push(token)
    answer.tokens.push(token)
    answer.logprobs.push(Math.fround(logprob))
    if (counting) counts.set(token, (counts.get(token) ?? 0) + 1)
    if (stopTokens.has(token)) return { ...answer, reason: "stop" }
  }
  return answer
}

/** A text by the rule that the shadow model mostly follows with an odd seed. */
export function repeatingText(before: number, last: number, length: number): number[] {
  const text = [before, last]
  while (text.length < length) text.push(((text.at(-1) as number) * 7 + (text.at(-2) as number) * 3) % 13)
  return text
}

/** Random numbers from 0 to 1, fixed for a seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
