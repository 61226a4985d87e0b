/** The order in which requests run, and preemption. random-load.test.ts checks the tokens. */

import { describe, expect, test } from "bun:test"
import type { Engine, GenerateRequest } from "../../../src/engine/types.ts"
import { FakeClock } from "../../support/clock.ts"
import { expected, read, request, sampled } from "./requests.ts"
import { range, startShadow } from "./start-shadow.ts"

/** Reads all requests at once, and returns their ids in the order in which they ended. */
async function finishing(engine: Engine, requests: GenerateRequest[]): Promise<string[]> {
  const order: string[] = []
  const one = async (asked: GenerateRequest) => {
    await read(engine, asked)
    order.push(asked.id)
  }
  await Promise.all(requests.map(one))
  return order
}

const turns = async (n: number) => {
  for (let i = 0; i < n; i++) await new Promise((resolve) => setImmediate(resolve))
}

describe("order", () => {
  test("requests with smaller priority numbers run first, equal ones in the order of arrival", async () => {
    const { engine } = startShadow({ maxSeqs: 1 })
    const requests = [0, 5, -1, 0, -1].map((priority, i) => request(`${i}`, [i], { priority }))
    expect(await finishing(engine, requests)).toEqual(["2", "4", "0", "3", "1"])
  })

  test("a request of higher priority preempts a running one, which continues later", async () => {
    const { engine } = startShadow({ maxSeqs: 1 })
    const slow = read(engine, request("slow", range(0, 40), { maxTokens: 60, priority: 1 }))
    await turns(20)
    expect(engine.stats()).toMatchObject({ running: 1, nPreemptions: 0 })
    const order: string[] = []
    await Promise.all([
      slow.then(() => order.push("slow")),
      read(engine, request("same", [7], { priority: 1 })).then(() => order.push("same")),
      read(engine, request("urgent", [8])).then(() => order.push("urgent")),
    ])
    expect(order).toEqual(["urgent", "slow", "same"])
    expect(engine.stats().nPreemptions).toBe(1)
    expect((await slow)[0]?.tokens).toEqual(expected(request("", range(0, 40), { maxTokens: 60 }), 0, 512).tokens)
  })

  test("owners take turns, however many requests each sends", async () => {
    const { engine } = startShadow({ maxSeqs: 1 })
    const many = Array.from({ length: 6 }, (_, i) => request(`a${i}`, range(10 * i, 20), { key: "a", maxTokens: 8 }))
    const few = [0, 1].map((i) => request(`b${i}`, range(200 + 10 * i, 20), { key: "b", maxTokens: 8 }))
    const order = await finishing(engine, [...many, ...few])
    expect(order.slice(0, 4).sort()).toEqual(["a0", "a1", "b0", "b1"])
  })

  test("a long prompt of one owner does not delay another owner", async () => {
    const { engine } = startShadow({ maxTokens: 16 })
    const order = await finishing(engine, [
      request("long", range(0, 400), { key: "a", maxTokens: 1 }),
      request("short", [1, 2, 3], { key: "b", maxTokens: 3 }),
    ])
    expect(order).toEqual(["short", "long"])
  })

  test("a request that waits for blocks is not overtaken", async () => {
    const { engine } = startShadow({ nBlocks: 8, contextLength: 128 })
    const requests = [
      request("first", range(0, 60), { maxTokens: 30 }),
      request("big", range(100, 100), { maxTokens: 2 }),
      ...range(0, 5).map((i) => request(`small ${i}`, [i], { maxTokens: 40 })),
    ]
    expect((await finishing(engine, requests)).slice(0, 2)).toEqual(["first", "big"])
  })
})

describe("chunks", () => {
  test("between two tokens of decoding requests, at most one chunk of other prompts is computed", async () => {
    const { engine, context } = startShadow({ maxTokens: 64, chunkTokens: 8 })
    const rows: { total: number; running: number }[] = []
    let before = 0
    context.before = () => {
      rows.push({ total: context.rows - before, running: engine.stats().running })
      before = context.rows
    }
    const streams = [1, 2, 3].map((i) => read(engine, request(`s${i}`, [i], { maxTokens: 40 })))
    await turns(10)
    const from = engine.stats()
    const long = read(engine, request("long", range(0, 200), { maxTokens: 1 }))
    await Promise.all([...streams, long])
    expect(from.generatedTokens).toBeGreaterThan(3)
    expect(Math.max(...rows.map(({ total }) => total))).toBe(11)
    // Every step gave each of the three requests a token, regardless of the prompt.
    expect(engine.stats().generatedTokens).toBe(121)
    expect(engine.stats().steps).toBeLessThanOrEqual(42)
  })

  test("are smaller late in a long prompt, where a token costs more, down to a quarter", async () => {
    const tokenCost = (context: number) => 1 + context / 50
    const { engine, context } = startShadow({ chunkTokens: 40, tokenCost })
    const stream = read(engine, request("stream", [1], { maxTokens: 60 }))
    await turns(5)
    const chunks: number[] = []
    let before = context.rows
    context.before = () => {
      if (context.rows > before + 1) chunks.push(context.rows - before - 1)
      before = context.rows
    }
    await Promise.all([stream, read(engine, request("long", range(0, 200), { maxTokens: 1 }))])
    // 40; 40 / (1 + 40 / 50); 40 / (1 + 62 / 50); … never below 10, and then the rest.
    expect(chunks).toEqual([40, 22, 17, 15, 13, 12, 11, 11, 10, 10, 10, 10, 10, 9])
  })

  test("have at least one token", async () => {
    const { engine } = startShadow({ chunkTokens: 1, tokenCost: () => 100 })
    const stream = read(engine, request("stream", [1], { maxTokens: 60 }))
    const [[long]] = [await read(engine, request("long", range(0, 30), { maxTokens: 1 }))]
    expect(long?.reason).toBe("length")
    await stream
  })

  test("do not apply to a prompt that runs alone", async () => {
    const { engine } = startShadow({ maxTokens: 64, chunkTokens: 8 })
    await read(engine, request("a", range(0, 128), { maxTokens: 1 }))
    expect(engine.stats().steps).toBe(2)
  })
})

describe("when blocks run out", () => {
  test("the newest request is preempted and computed again, with the same tokens", async () => {
    const { engine, context } = startShadow({ nBlocks: 8, contextLength: 128, maxSeqs: 3 })
    const asked = [0, 1, 2].map((i) => request(`${i}`, range(50 * i, 20), { maxTokens: 60, sampling: sampled(2 * i) }))
    const order: string[] = []
    const answers = await Promise.all(
      asked.map(async (each) => {
        const answer = await read(engine, each)
        order.push(each.id)
        return answer[0]
      }),
    )
    expect(order).toEqual(["0", "1", "2"])
    for (const [i, answer] of answers.entries()) expect(answer).toMatchObject(expected(asked[i] as never, 0, 128))
    const { nPreemptions, blocksFree, generatedTokens } = engine.stats()
    expect(nPreemptions).toBeGreaterThan(0)
    expect({ blocksFree, generatedTokens }).toEqual({ blocksFree: 8, generatedTokens: 180 })
    expect(context.rows).toBeGreaterThan(3 * 79)
  })

  test("a request is not admitted if it would cause a preemption at once", async () => {
    const { engine } = startShadow({ nBlocks: 4, contextLength: 64 })
    const asked = [request("a", range(0, 32), { maxTokens: 20 }), request("b", range(100, 20), { maxTokens: 20 })]
    expect(await finishing(engine, asked)).toEqual(["a", "b"])
    expect(engine.stats().nPreemptions).toBe(0)
  })

  test("a preempted request finds its full blocks in the prefix cache", async () => {
    const { engine, context } = startShadow({ maxSeqs: 1, nBlocks: 32 })
    const slow = read(engine, request("slow", range(0, 70), { maxTokens: 20, priority: 1 }))
    await turns(4)
    const { generatedTokens } = engine.stats()
    await read(engine, request("urgent", [9], { maxTokens: 1 }))
    await slow
    const again = 70 + generatedTokens - 16 * Math.floor((70 + generatedTokens - 1) / 16)
    // The request's own tokens, the urgent request, and again the tokens of the last partial block except the one that was due anyway.
    expect(context.rows).toBe(70 + 19 + 1 + again - 1)
    expect(engine.stats()).toMatchObject({ nPreemptions: 1, prefixHitTokens: 0 })
  })

  test("a single request may fill the cache, and ends with `length`", async () => {
    const { engine } = startShadow({ nBlocks: 4, contextLength: 1000 })
    expect(engine.limits.contextLength).toBe(64)
    const [answer] = await read(engine, request("a", range(0, 30), { maxTokens: 500 }))
    expect(answer).toMatchObject({ reason: "length" })
    expect(answer?.tokens).toHaveLength(34)
  })

  test("a prompt larger than the cache is refused", async () => {
    const { engine } = startShadow({ nBlocks: 4, contextLength: 1000 })
    const refused = read(engine, request("a", range(0, 64)))
    await expect(refused).rejects.toMatchObject({ name: "ContextOverflowError", code: "context_length_exceeded" })
  })
})

describe("overload", () => {
  test("a full queue refuses the next request at once, with the time to retry after", async () => {
    const { engine } = startShadow({ maxSeqs: 1, maxQueue: 2 })
    const running = read(engine, request("running", [1], { maxTokens: 30 }))
    await turns(5)
    const queued = [2, 3].map((i) => read(engine, request(`queued ${i}`, [i], { n: 3 })))
    const refused = await read(engine, request("refused", [4])).catch((error: unknown) => error)
    expect(refused).toMatchObject({ name: "OverloadedError", code: "queue_full" })
    expect((refused as { retryAfter: number }).retryAfter).toBeGreaterThanOrEqual(1)
    expect(engine.stats()).toMatchObject({ running: 1, waiting: 6 })
    await Promise.all([running, ...queued])
    expect((await read(engine, request("refused", [4])))[0]?.reason).toBe("length")
  })

  test("a preempted request does not count as waiting to begin", async () => {
    const { engine } = startShadow({ maxSeqs: 1, maxQueue: 1 })
    const slow = read(engine, request("slow", [1], { maxTokens: 60, priority: 1 }))
    await turns(5)
    const urgent = read(engine, request("urgent", [2], { maxTokens: 30 }))
    await turns(5)
    expect(engine.stats()).toMatchObject({ running: 1, waiting: 1, nPreemptions: 1 })
    const third = read(engine, request("third", [3]))
    expect((await Promise.all([slow, urgent, third])).flat().map(({ reason }) => reason)).toEqual(
      Array(3).fill("length"),
    )
  })

  test("a deadline ends running and waiting requests and frees their blocks", async () => {
    const clock = new FakeClock()
    const { engine } = startShadow({ maxSeqs: 1, clock })
    const running = read(engine, request("running", [1], { maxTokens: 400, deadlineMs: 40 }))
    const waiting = read(engine, request("waiting", [2], { maxTokens: 400, deadlineMs: 20 }))
    await turns(10)
    const outcomes = Promise.allSettled([running, waiting])
    await clock.advance(19)
    expect(engine.stats()).toMatchObject({ running: 1, waiting: 1 })
    await clock.advance(1)
    expect(engine.stats()).toMatchObject({ running: 1, waiting: 0 })
    await clock.advance(20)
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { name: "OverloadedError", code: "deadline" } })
    }
    expect(engine.stats().generatedTokens).toBeGreaterThan(5)
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocksFree: 64 })
    const early = request("early", [3], { maxTokens: 3, deadlineMs: 60_000 })
    expect((await read(engine, early))[0]?.reason).toBe("length")
    expect(clock.waits).toEqual([])
  })
})
