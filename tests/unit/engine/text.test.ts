/** Text generation: what ends a text, what is shown of it, and rules that are given as texts. */

import { describe, expect, test } from "bun:test"
import { generateText, type TextEvent, type TextRequest } from "../../../src/engine/text.ts"
import { badWordTokens, breakerTokens, encodeInside } from "../../../src/engine/token-rules.ts"
import { type Engine, type EngineEvent, type GenerateRequest, GREEDY } from "../../../src/engine/types.ts"
import { tokenizerFromMetadata } from "../../../src/text/index.ts"
import { TINY_TOKENS, tinyTokenizer } from "../../support/tiny-tokenizer.ts"

const metadata = tinyTokenizer(300)
const tokenizer = tokenizerFromMetadata((key) => metadata[key]?.value)
const { IM_START, IM_END } = TINY_TOKENS
const encode = (text: string): number[] => [...tokenizer.encode(text)]
const only = (text: string): number => {
  const [token, ...rest] = encode(text)
  if (token === undefined || rest.length > 0) throw new Error(`${text} is not one token`)
  return token
}

/** An engine that says these tokens, and ends at stop tokens and where it is told to. */
function saying(tokens: readonly number[]): Engine & { asked: GenerateRequest[] } {
  const ended = new Set<number>()
  const asked: GenerateRequest[] = []
  async function* generate(request: GenerateRequest): AsyncGenerator<EngineEvent> {
    asked.push(request)
    const usage = { promptTokens: 1, completionTokens: 1, cachedTokens: 0, prefillMs: 1, decodeMs: 1 }
    for (const token of tokens) {
      if (ended.has(0)) {
        yield { type: "end", index: 0, reason: "cancelled", usage }
        return
      }
      yield { type: "token", index: 0, token }
      if (!request.stopTokens.has(token) && !request.stopTokenIds?.has(token)) continue
      yield { type: "end", index: 0, reason: "stop", usage }
      return
    }
    yield { type: "end", index: 0, reason: "length", usage }
  }
  return {
    asked,
    generate,
    endSequence: (_, index) => ended.add(index),
  } as Partial<Engine> as Engine & { asked: GenerateRequest[] }
}

async function say(tokens: readonly number[], changes: Partial<TextRequest> = {}) {
  const engine = saying(tokens)
  const request: TextRequest = {
    ...{ id: "a", promptTokens: Int32Array.of(5), sampling: GREEDY, maxTokens: 100, stop: [] },
    ...changes,
  }
  let text = ""
  const pieces: number[] = []
  let end: Extract<TextEvent, { type: "end" }> | undefined
  for await (const event of generateText({ tokenizer, engine }, request)) {
    if (event.type === "end") {
      const { usage: _, index: __, type: ___, ...rest } = event
      end = { ...rest } as typeof end
      continue
    }
    text += event.text
    if (event.token !== undefined) pieces.push(event.token)
  }
  return { text, end, pieces, asked: engine.asked[0] }
}

describe("the end of a text", () => {
  const tokens = [...encode("abc. def"), IM_END]

  test("is an end token, whose text is not shown", async () => {
    expect(await say(tokens)).toMatchObject({ text: "abc. def", end: { reason: "stop" } })
    expect((await say(tokens)).end).not.toHaveProperty("stopToken")
  })

  test("is a stop string, which is left out or included", async () => {
    expect(await say(tokens, { stop: ["c."] })).toMatchObject({ text: "ab", end: { reason: "stop", stopString: "c." } })
    const included = await say(tokens, { stop: ["c."], includeStop: true })
    expect(included).toMatchObject({ text: "abc.", end: { reason: "stop", stopString: "c." } })
  })

  test("is a stop token, which is left out or included, and reported", async () => {
    const stopTokenIds = new Set([only(".")])
    const { asked, ...left } = await say(tokens, { stopTokenIds })
    expect(left).toMatchObject({ text: "abc", end: { reason: "stop", stopToken: only(".") } })
    expect(asked?.stopTokenIds).toEqual(stopTokenIds)
    expect((await say(tokens, { stopTokenIds, includeStop: true })).text).toBe("abc.")
    expect((await say(tokens, { stopTokenIds, ignoreEos: true })).end).toMatchObject({ stopToken: only(".") })
  })

  test("is the stop string that comes before the stop token's text", async () => {
    const { text, end } = await say(tokens, { stopTokenIds: new Set([only("d")]), stop: ["."], includeStop: true })
    expect(text).toBe("abc.")
    expect(end).toMatchObject({ stopString: "." })
    expect(end).not.toHaveProperty("stopToken")
  })

  test("with includeStop and shown control tokens, is the end token's text", async () => {
    const shown = { skipSpecialTokens: false }
    expect((await say(tokens, shown)).text).toBe("abc. def")
    expect((await say(tokens, { ...shown, includeStop: true })).text).toBe("abc. def<|im_end|>")
    expect((await say(tokens, { includeStop: true })).text).toBe("abc. def")
  })
})

test("control tokens are text where they are not skipped", async () => {
  const tokens = [...encode("a"), IM_START, ...encode("b")]
  expect((await say(tokens)).text).toBe("ab")
  expect((await say(tokens, { skipSpecialTokens: false })).text).toBe("a<|im_start|>b")
})

describe("stop strings in a text that has a form", () => {
  const constraint = { type: "json_object", param: "x" } as const

  test("do not end the text within the strings of JSON", async () => {
    const tokens = encode('{"a stop": "stop"} stop z')
    const { text, end } = await say(tokens, { stop: ["stop"], constraint })
    expect(text).toBe('{"a stop": "stop"} ')
    expect(end).toMatchObject({ stopString: "stop" })
    expect((await say(tokens, { stop: ["stop"], constraint, stopEverywhere: true })).text).toBe('{"a ')
  })

  test("do not extend across text in which they do not count", async () => {
    const { text, end } = await say(encode('st"x"op st'), { stop: ["stop", 'st"x"op'], constraint })
    expect(text).toBe('st"x"op st')
    expect(end).toMatchObject({ reason: "length" })
  })

  test("count after minTokens, wherever a string began before", async () => {
    const tokens = encode('"a. b. c" d. e')
    const { text } = await say(tokens, { stop: ["."], minTokens: 3, constraint })
    expect(text).toBe('"a. b. c" d')
  })

  test("count everywhere in a text that keeps to an expression", async () => {
    const pattern = { type: "regex", pattern: ".*", param: "x" } as const
    expect((await say(encode('"a. b"'), { stop: ["."], constraint: pattern })).text).toBe('"a')
  })
})

describe("rules that are given as texts", () => {
  test("a bad word is one sequence at the start of a text, and one after a space", () => {
    expect(badWordTokens(tokenizer, ["the", " the"])).toEqual([encode("the"), encode(" the")])
    expect(() => badWordTokens(tokenizer, [" "])).toThrow("empty")
    expect(() =>
      badWordTokens(
        tokenizer,
        Array.from({ length: 1025 }, () => "x"),
      ),
    ).toThrow("at most 1024")
  })

  test("a breaker is every token with its text, and every way to begin it", () => {
    const breakers = breakerTokens(tokenizer, ["the"])
    for (let id = 0; id < tokenizer.vocabSize; id++) {
      const piece = tokenizer.tokenText(id) ?? ""
      expect(breakers.some(([head, ...tail]) => head === id && tail.length === 0)).toBe(piece.includes("the"))
    }
    expect(breakers).toContainEqual(encode("t").concat(encode("he")))
    expect(breakers).toContainEqual(encode("th").concat(encode("e")))
    expect(breakerTokens(tokenizer, ["the"])).toBe(breakers)
    expect(breakerTokens(tokenizer)).toContainEqual(encode("\n"))
    expect(() =>
      breakerTokens(
        tokenizer,
        Array.from({ length: 65 }, (_, i) => `${i}`),
      ),
    ).toThrow("at most 64")
  })

  test("a vocabulary that adds a space to texts adds none inside of one", () => {
    const spm = {
      addSpacePrefix: true,
      encode: (text: string) => Int32Array.from([..."_", ...text], (c) => c.charCodeAt(0)),
    }
    expect(encodeInside(spm as never, "ab")).toEqual([97, 98])
  })
})
