/** Shared blocks: cached prefixes, and the sequences of one request. */

import { describe, expect, test } from "bun:test"
import { emptyAnswers, expected, note, read, request, sampled } from "./requests.ts"
import { range, startShadow } from "./start-shadow.ts"

describe("the prefix cache", () => {
  test("of a prompt that shares a prefix with an earlier one, only the rest is computed", async () => {
    const { engine, context } = startShadow()
    const first = request("first", range(0, 100), { maxTokens: 1 })
    const second = request("second", [...range(0, 70), ...range(300, 10)], { maxTokens: 1 })
    expect((await read(engine, first))[0]?.cachedTokens).toBe(0)
    const [answer] = await read(engine, second)
    expect(answer).toEqual({ ...expected(second, 0, 512), cachedTokens: 64 })
    expect(context.rows).toBe(100 + 16)
    expect(engine.stats()).toMatchObject({ prefixQueryTokens: 180, prefixHitTokens: 64, promptTokens: 180 })
  })

  test("answers are cached too: the next turn of a conversation finds them", async () => {
    const { engine } = startShadow()
    const first = request("first", range(0, 40), { maxTokens: 60 })
    const [answer] = await read(engine, first)
    const turn = [...first.tokens, ...(answer?.tokens ?? []), 5]
    expect((await read(engine, request("second", turn)))[0]?.cachedTokens).toBe(96)
  })

  test("a prompt's last token is always computed", async () => {
    const { engine, context } = startShadow()
    const asked = (id: string) => request(id, range(0, 64), { maxTokens: 1 })
    await read(engine, asked("a"))
    expect((await read(engine, asked("b")))[0]).toEqual({ ...expected(asked("b"), 0, 512), cachedTokens: 48 })
    expect(context.rows).toBe(64 + 16)
  })

  test("concurrent prompts with a common prefix compute it once if one is ahead of the other", async () => {
    const { engine, context } = startShadow({ maxTokens: 32 })
    const asked = [1, 2].map((last) => request(`${last}`, [...range(0, 128), last], { maxTokens: 1 }))
    const answers = await Promise.all(asked.map((each) => read(engine, each)))
    for (const [i, [answer]] of answers.entries()) expect(answer).toMatchObject(expected(asked[i] as never, 0, 512))
    expect(context.rows).toBe(129 + 1)
  })

  test("salts keep tenants apart", async () => {
    const { engine } = startShadow()
    const asked = (id: string, cacheSalt?: string) => request(id, range(0, 50), { maxTokens: 1, cacheSalt: cacheSalt })
    for (const [id, salt] of [["a"], ["b", "x"], ["c", "y"]] as const) {
      expect((await read(engine, asked(id, salt)))[0]?.cachedTokens).toBe(0)
    }
    expect((await read(engine, asked("d", "x")))[0]?.cachedTokens).toBe(48)
  })

  test("is evicted for running requests, oldest blocks first", async () => {
    const { engine } = startShadow({ nBlocks: 8, contextLength: 128 })
    const asked = (id: string, from: number) => request(id, range(from, 49), { maxTokens: 1 })
    for (const from of [0, 100, 200]) await read(engine, asked("fill", from))
    expect(engine.stats()).toMatchObject({ blocksFree: 8 })
    expect(engine.stats().blocksCached).toBeGreaterThan(5)
    expect((await read(engine, asked("a", 200)))[0]?.cachedTokens).toBe(48)
    expect((await read(engine, asked("a", 0)))[0]?.cachedTokens).toBeLessThan(48)
  })

  test("can be switched off", async () => {
    const { engine, context } = startShadow({ prefixCache: false })
    for (const id of ["a", "b"]) {
      const asked = request(id, range(0, 50), { maxTokens: 1 })
      expect((await read(engine, asked))[0]).toEqual({ ...expected(asked, 0, 512), cachedTokens: 0 })
    }
    expect(context.rows).toBe(100)
    expect(engine.stats()).toMatchObject({ blocksCached: 0, prefixHitTokens: 0, prefixQueryTokens: 0 })
  })

  test("does not keep blocks that produced an invalid distribution", async () => {
    const { engine, context } = startShadow()
    await read(engine, request("a", range(0, 50), { maxTokens: 1 }))
    context.spoil = () => -1
    await expect(read(engine, request("b", range(0, 50)))).rejects.toThrow("NaN")
    context.spoil = (token) => token
    expect((await read(engine, request("c", range(0, 50))))[0]?.cachedTokens).toBe(0)
  })
})

describe("several sequences of a request", () => {
  for (const prefixCache of [true, false]) {
    test(`read the prompt once and share its full blocks, the cache ${prefixCache ? "on" : "off"}`, async () => {
      const { engine, context } = startShadow({ prefixCache: prefixCache, nBlocks: 16, maxTokens: 512 })
      const asked = request("a", range(0, 72), { n: 4, maxTokens: 10, sampling: sampled(4) })
      let held = 0
      context.before = () => {
        held = Math.max(held, 16 - engine.stats().blocksFree)
      }
      const answers = await read(engine, asked)
      for (const [i, answer] of answers.entries())
        expect(answer).toEqual({ ...expected(asked, i, 512), cachedTokens: 0 })
      // The prompt once, its last 8 tokens for each other sequence, and all generated tokens except the last of each sequence.
      expect(context.rows).toBe(72 + 3 * 8 + 4 * 9)
      expect(held).toBeLessThanOrEqual(4 + 4 * 2)
      expect(engine.stats()).toMatchObject({
        promptTokens: 72,
        generatedTokens: 40,
        blocksFree: 16,
        prefixHitTokens: 0,
      })
    })
  }

  test("equal separate requests with consecutive seeds", async () => {
    const { engine } = startShadow()
    const asked = request("a", range(0, 20), { n: 3, maxTokens: 12, sampling: sampled(6) })
    const together = await read(engine, asked)
    for (const i of [0, 1, 2]) {
      const [alone] = await read(engine, { ...asked, n: 1, sampling: sampled(6 + i) })
      expect(together[i]).toMatchObject({ tokens: alone?.tokens as number[], logprobs: alone?.logprobs as number[] })
    }
    expect(new Set(together.map(({ tokens }) => tokens.join())).size).toBe(3)
  })

  test("end once each, even if more than can run at once", async () => {
    const { engine } = startShadow({ maxSeqs: 2, nBlocks: 12, contextLength: 100 })
    const asked = request("a", range(0, 33), { n: 9, maxTokens: 40, sampling: sampled(2) })
    const answers = await read(engine, asked)
    for (const [i, answer] of answers.entries()) expect(answer).toMatchObject(expected(asked, i, 100))
  })

  test("can be ended one by one, and the others continue", async () => {
    const { engine } = startShadow({ maxSeqs: 4 })
    const asked = request("a", range(0, 20), { n: 4, maxTokens: 12, sampling: sampled(6) })
    const whole = await read(engine, asked)
    const answers = emptyAnswers(asked)
    for await (const event of engine.generate(asked)) {
      note(answers, event)
      // The first sequence after its first token, the second after its fourth.
      if (event.type === "token" && event.index < 2 && answers[event.index]?.tokens.length === 1 + 3 * event.index)
        engine.endSequence("a", event.index)
    }
    expect(answers.map(({ tokens, reason }) => [tokens.length, reason])).toEqual([
      [1, "cancelled"],
      [4, "cancelled"],
      [12, "length"],
      [12, "length"],
    ])
    for (const [i, { tokens }] of answers.entries())
      expect(tokens).toEqual(whole[i]?.tokens.slice(0, tokens.length) ?? [])
    engine.endSequence("a", 0)
    engine.endSequence("nobody", 9)
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocksFree: 64 })
  })

  test("are all cancelled together", async () => {
    const { engine } = startShadow({ maxSeqs: 2 })
    const stop = new AbortController()
    const reasons: string[] = []
    for await (const event of engine.generate(request("a", [1], { n: 5, maxTokens: 200 }), stop.signal)) {
      if (event.type === "end") reasons.push(event.reason)
      else if (event.index === 1) stop.abort()
      if (stop.signal.aborted) expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocksFree: 64 })
    }
    expect(reasons).toEqual(Array(5).fill("cancelled"))
  })
})
