/** Varied requests and their exact outputs, for tests that requests do not affect each other. */

import {
  type EngineEvent,
  type GenerateRequest,
  GREEDY,
  type LoadedModel,
  type SamplingParams,
} from "../../src/engine/types.ts"
import { randomNumbers } from "../unit/engine/requests.ts"

interface MixedRequests {
  n: number
  /** Length of the longest prompt, in tokens. */
  longest: number
  nVocab: number
}

/** Requests with prompts of all lengths, in two families with common prefixes, and every kind of sampling. */
export function mixedRequests({ n, longest, nVocab }: MixedRequests): GenerateRequest[] {
  const random = randomNumbers(7)
  return Array.from({ length: n }, (_, i) => {
    const length = 1 + Math.floor(random() * longest)
    const alike = i % 4 === 0 ? 0 : Math.floor(random() * 1.5 * length)
    const token = (k: number) => (k < alike ? ((i % 2) * 100 + k) % nVocab : Math.floor(random() * nVocab))
    const tokens = Int32Array.from({ length }, (_, k) => token(k))
    const sampling: SamplingParams = {
      ...GREEDY,
      temperature: [0, 0.1, 1, 1, 1][i % 5] as number,
      topK: i % 3 === 0 ? 40 : 0,
      topP: i % 3 === 1 ? 0.9 : 1,
      repetitionPenalty: i % 7 === 0 ? 1.2 : 1,
      frequencyPenalty: i % 6 === 0 ? 0.3 : 0,
      typicalP: i % 11 === 2 ? 0.8 : 1,
      topNSigma: i % 11 === 3 ? 1.5 : 0,
      xtcProbability: i % 11 === 4 ? 0.5 : 0,
      mirostat: i % 11 === 5 ? 2 : i % 11 === 6 ? 1 : 0,
      dynatempRange: i % 11 === 7 ? 0.5 : 0,
      dryMultiplier: i % 11 === 8 ? 0.8 : 0,
      repeatLastN: i % 2 === 0 ? 16 : -1,
      temperatureLast: i % 4 === 3,
      badWords: i % 11 === 9 ? [[5], [6, 7]] : [],
      allowedTokens: i % 11 === 10 ? new Set(Array.from({ length: 50 }, (_, k) => k)) : undefined,
      logitBias: new Map(i % 8 === 0 ? [[3, 1.5]] : []),
      seed: BigInt(i),
      logprobs: 3,
    }
    return { id: `r${i}`, tokens, sampling, maxTokens: 20 + Math.floor(random() * 40), stopTokens: new Set<number>() }
  })
}

/** All tokens and log-probabilities of a request as text; equal texts mean equal bits. @throws when the request ended early */
export async function said({ engine }: LoadedModel, asked: GenerateRequest): Promise<string> {
  const events: Extract<EngineEvent, { type: "token" }>[] = []
  for await (const event of engine.generate(asked)) if (event.type === "token") events.push(event)
  if (events.length !== asked.maxTokens)
    throw new Error(`${asked.id} ended after ${events.length} of ${asked.maxTokens} tokens`)
  return JSON.stringify(events.map(({ token, logprobs }) => [token, logprobs?.logprob, logprobs?.top]))
}
