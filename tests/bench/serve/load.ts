/** Closed-loop load (a client waits for its answer) and open-loop load (requests arrive independently). */

import { complete, type Target } from "./client.ts"
import type { RequestRecord } from "./measure.ts"
import { poissonArrivals, randomPrompt } from "./random.ts"

export interface Shape {
  /** Length of every prompt, and of every answer, in tokens. */
  prompt: number
  generate: number
  /** Seed of the prompts. A new seed avoids prompts that the server has cached from another run. */
  seed: number
}

/** Runs `streams` clients, each sending its next request when the previous one is answered; `requests` in total. */
export async function closedLoop(target: Target, shape: Shape, streams: number, requests: number) {
  const records: RequestRecord[] = []
  let sent = 0
  const client = async () => {
    while (sent < requests) records.push(await complete(target, requestOf(target, shape, sent++)))
  }
  await Promise.all(Array.from({ length: streams }, client))
  return records
}

/** Sends `requests` requests as a Poisson process of `rate` per second, however many are still unanswered. */
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
