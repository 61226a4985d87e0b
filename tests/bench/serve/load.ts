/** Two shapes of load: clients that wait for their answers, and clients that do not wait for each other. */

import { complete, type Target } from "./client.ts"
import type { RequestRecord } from "./measure.ts"
import { poissonArrivals, randomPrompt } from "./random.ts"

export interface Shape {
  /** Tokens of every prompt, and of every answer. */
  prompt: number
  generate: number
  /** Makes the prompts differ from those of other runs, which the server may have cached. */
  seed: number
}

/** `streams` clients, each sending its next request when the last one is answered, `requests` in all. */
export async function closedLoop(target: Target, shape: Shape, streams: number, requests: number) {
  const records: RequestRecord[] = []
  let sent = 0
  const client = async () => {
    while (sent < requests) records.push(await complete(target, requestOf(target, shape, sent++)))
  }
  await Promise.all(Array.from({ length: streams }, client))
  return records
}

/** `requests` requests that arrive as a Poisson process with `rate` a second, however many are still unanswered. */
export async function openLoop(target: Target, shape: Shape, rate: number, requests: number): Promise<RequestRecord[]> {
  const start = performance.now()
  const arrivals = poissonArrivals(requests, rate, shape.seed)
  return await Promise.all(
    arrivals.map(async (arrival, i) => {
      const due = start + arrival
      await Bun.sleep(Math.max(0, due - performance.now()))
      return await complete(target, { ...requestOf(target, shape, i), due })
    }),
  )
}

function requestOf(target: Target, { prompt, generate, seed }: Shape, index: number) {
  return { prompt: randomPrompt(prompt, seed * 1_000_003 + index, target.n_vocab), max_tokens: generate }
}
