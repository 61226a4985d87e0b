/** Requests that are alike in nothing, and what a model says to each, down to the bits: what one request must not change for another. */

import type { LoadedModel } from "../../src/engine/load.ts"
import type { EngineEvent, GenerateRequest, SamplingParams } from "../../src/engine/types.ts"
import { randomNumbers } from "../unit/engine/requests.ts"

export interface MixedRequests {
  n: number
  /** Tokens of the longest prompt. */
  longest: number
  n_vocab: number
}

/** Two families of prompts that begin alike, of all lengths, and every kind of sampling. */
export function mixedRequests({ n, longest, n_vocab }: MixedRequests): GenerateRequest[] {
  const random = randomNumbers(7)
  return Array.from({ length: n }, (_, i) => {
    const length = 1 + Math.floor(random() * longest)
    const alike = i % 4 === 0 ? 0 : Math.floor(random() * 1.5 * length)
    const token = (k: number) => (k < alike ? ((i % 2) * 100 + k) % n_vocab : Math.floor(random() * n_vocab))
    const tokens = Int32Array.from({ length }, (_, k) => token(k))
    const sampling: SamplingParams = {
      temperature: [0, 0.1, 1, 1, 1][i % 5] as number,
      top_k: i % 3 === 0 ? 40 : 0,
      top_p: i % 3 === 1 ? 0.9 : 1,
      min_p: 0,
      repetition_penalty: i % 7 === 0 ? 1.2 : 1,
      frequency_penalty: i % 6 === 0 ? 0.3 : 0,
      presence_penalty: 0,
      logit_bias: new Map(i % 8 === 0 ? [[3, 1.5]] : []),
      seed: BigInt(i),
      logprobs: 3,
    }
    return { id: `r${i}`, tokens, sampling, max_tokens: 20 + Math.floor(random() * 40), stop_tokens: new Set<number>() }
  })
}

/** Everything that a request said, as text: equal bits are equal texts. @throws when it ended early */
export async function said({ engine }: LoadedModel, asked: GenerateRequest): Promise<string> {
  const events: Extract<EngineEvent, { type: "token" }>[] = []
  for await (const event of engine.generate(asked)) if (event.type === "token") events.push(event)
  if (events.length !== asked.max_tokens)
    throw new Error(`${asked.id} ended after ${events.length} of ${asked.max_tokens} tokens`)
  return JSON.stringify(events.map(({ token, logprobs }) => [token, logprobs?.logprob, logprobs?.top]))
}
