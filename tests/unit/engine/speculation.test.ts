/** Speculative decoding: drafts, when they pause, and that they change only the number of steps. */

import { describe, expect, test } from "bun:test"
import { NgramIndex } from "../../../src/engine/ngram.ts"
import { MAX_DRAFT, Speculator } from "../../../src/engine/speculator.ts"
import { expected, read, repeatingText, request, sampled } from "./requests.ts"
import { range, startShadow } from "./start-shadow.ts"

/** The draft after a text of letters. */
function draft(text: string, limit: number): string {
  const index = new NgramIndex((position) => text.charCodeAt(position))
  return String.fromCharCode(...index.propose(text.length, limit))
}

describe("a draft", () => {
  test("is the earlier continuation of the last three tokens", () => {
    expect(draft("the cat sat on the c", 6)).toBe("at sat")
    expect(draft("abcdefgh-abc", 4)).toBe("defg")
  })

  test("continues the longest match, then the latest match", () => {
    expect(draft("1abc2 0abc3 xabc4 0abc", 1)).toBe("3")
    expect(draft("1abc2 3abc4 5abc", 1)).toBe("4")
  })

  test("repeats itself if the match reaches the end of the text", () => {
    expect(draft("xyxyxyxy", 5)).toBe("xyxyx")
    expect(draft("aaaa", 3)).toBe("aaa")
  })

  test("is empty without a match", () => {
    expect(draft("abcdefg", 4)).toBe("")
    expect(draft("ab-ab", 4)).toBe("")
    expect(draft("a", 4)).toBe("")
    expect(draft("", 4)).toBe("")
  })

  test("includes tokens added since the last draft", () => {
    const text: number[] = [1, 2, 3, 4]
    const index = new NgramIndex((position) => text[position] ?? -1)
    expect(index.propose(4, 2)).toEqual([])
    text.push(9, 1, 2, 3)
    expect(index.propose(8, 2)).toEqual([4, 9])
  })

  test("reads no more tokens of a text of a hundred thousand tokens than of a short text", () => {
    /** Tokens that a draft reads, on average, after a text of `length`. */
    const looks = (length: number): number => {
      let n = 0
      const index = new NgramIndex((position) => {
        n++
        return position % 1000 === 0 ? position : position % 7
      })
      index.propose(length, 1)
      n = 0
      for (let i = 1; i <= 1000; i++) index.propose(length + i, MAX_DRAFT)
      return n / 1000
    }
    expect(looks(100_000)).toBeLessThan(1.1 * looks(1000))
  })
})

describe("drafting", () => {
  const cyclic = (position: number) => position % 5

  test("lengthens drafts while all their tokens are accepted, and shortens them to the accepted length", () => {
    const speculator = new Speculator(cyclic)
    const lengths: number[] = []
    for (let n = 50; n < 55; n++) {
      const { length } = speculator.propose(n, 100, 0.3)
      lengths.push(length)
      speculator.record(length, length)
    }
    expect(lengths).toEqual([3, 5, 7, MAX_DRAFT, MAX_DRAFT])
    speculator.record(MAX_DRAFT, 2)
    expect(speculator.propose(60, 100, 0.3)).toHaveLength(3)
    expect(speculator.propose(60, 2, 0.3)).toHaveLength(2)
    expect(speculator.propose(60, 0, 0.3)).toHaveLength(0)
  })

  test("pauses where it does not pay, longer each time, and resumes where it does", () => {
    const speculator = new Speculator(cyclic)
    const trials: number[] = []
    for (let n = 50; n < 2000; n++) {
      const { length } = speculator.propose(n, 100, 0.5)
      if (length > 0) {
        trials.push(n)
        speculator.record(length, 0)
      }
    }
    expect(trials.length).toBeLessThan(20)
    expect(trials.at(-1)).toBeGreaterThan(900)
    let n_drafted = 0
    for (let n = 2000; n < 3000; n++) {
      const { length } = speculator.propose(n, 100, 0.5)
      speculator.record(length, length)
      n_drafted += length
    }
    expect(n_drafted).toBeGreaterThan(2000)
  })
})

describe("an engine with drafts", () => {
  const cheap = { record: () => {}, leastAcceptance: () => 0.1 }

  test("generates the same in fewer steps, each token with its own draw and penalties", async () => {
    for (const penalties of [{}, { frequencyPenalty: 0.5 }, { repetitionPenalty: 1.1, presencePenalty: 1 }]) {
      const asked = request("a", range(0, 20), { maxTokens: 200, sampling: sampled(5, penalties) })
      const { engine } = startShadow({ maxDrafted: 16, stepCost: cheap })
      expect(await read(engine, asked)).toEqual([{ ...expected(asked, 0, 512), cachedTokens: 0 }])
      const { steps, generatedTokens, draftedTokens, acceptedTokens, blocksFree } = engine.stats()
      expect({ generatedTokens, blocksFree }).toEqual({ generatedTokens: 200, blocksFree: 64 })
      expect(steps).toBe(200 - acceptedTokens)
      expect(acceptedTokens).toBeGreaterThan(20)
      expect(draftedTokens).toBeGreaterThan(acceptedTokens)
    }
  })

  const repeating = repeatingText(1, 2, 200)

  test("stops at a stop token in the middle of a draft", async () => {
    const { engine } = startShadow({ maxDrafted: 16, stepCost: cheap })
    let before_the_end = 0
    for (const stop of range(0, 13)) {
      const { draftedTokens } = engine.stats()
      const asked = request("a", repeating, { maxTokens: 100, sampling: sampled(5), stopTokens: new Set([stop]) })
      const [answer] = await read(engine, asked)
      expect(answer).toMatchObject(expected(asked, 0, 512))
      if (engine.stats().draftedTokens - draftedTokens >= (answer?.tokens.length ?? 0)) before_the_end++
    }
    expect(before_the_end).toBeGreaterThan(0)
  })

  test("does not draft beyond the last token of the request", async () => {
    const { engine, context } = startShadow({ maxDrafted: 16, maxTokens: 256, stepCost: cheap })
    await read(engine, request("a", repeating, { maxTokens: 2, sampling: sampled(5) }))
    expect(engine.stats()).toMatchObject({ draftedTokens: 0, steps: 2 })
    expect(context.rows).toBe(201)
  })

  test("does not draft when it is off, nor beyond the limits of a step", async () => {
    const asked = request("a", range(0, 20), { maxTokens: 100, sampling: sampled(5) })
    const off = startShadow({ stepCost: cheap })
    await read(off.engine, asked)
    expect(off.engine.stats()).toMatchObject({ draftedTokens: 0, steps: 100 })
    // The shadow context refuses a step of more than 10 rows, or more than 8 + 4 outputs.
    const narrow = startShadow({ maxTokens: 10, maxDrafted: 4, stepCost: cheap })
    const many = range(1, 8).map((i) => ({ ...asked, id: `${i}`, sampling: sampled(2 * i + 1) }))
    await Promise.all(many.map((each) => read(narrow.engine, each)))
    expect(narrow.engine.stats().acceptedTokens).toBeGreaterThan(0)
  })
})
