import { describe, expect, test } from "bun:test"
import fc from "fast-check"
import { Detokenizer } from "../../../src/text/detokenizer.ts"
import type { Tokenizer } from "../../../src/text/tokenizer/types.ts"
import { incompleteTail } from "../../../src/text/utf8.ts"
import { build, tinyBpe, tinySpm, vocabulary, vocabularyTest } from "./support.ts"

function stream(tokenizer: Tokenizer, ids: Iterable<number>, options = {}): string[] {
  const detokenizer = new Detokenizer(tokenizer, options)
  return [...Array.from(ids, (id) => detokenizer.push(id)), detokenizer.flush()]
}

describe("characters are never cut", () => {
  const tokenizer = build(tinyBpe([]))
  test("an emoji of four tokens is emitted with the last token", () => {
    expect(stream(tokenizer, tokenizer.encode("a😀b"))).toEqual(["a", "", "", "", "😀", "b", ""])
  })
  test("an incomplete character becomes U+FFFD, at once if the next byte cannot continue it, else at the end", () => {
    const [e2, h82] = tokenizer.encode("\u20ac")
    const x = tokenizer.encode("x")[0]
    expect(stream(tokenizer, [e2, h82, x] as number[])).toEqual(["", "", "\ufffdx", ""])
    expect(stream(tokenizer, [e2, h82] as number[])).toEqual(["", "", "\ufffd"])
  })
  test("holds back exactly the bytes that TextDecoder holds back", () => {
    const byte = fc.oneof(
      fc.integer({ min: 0, max: 255 }),
      fc.constantFrom(0xe0, 0xed, 0xf0, 0xf4, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf),
    )
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 6 }), (bytes) => {
        const all = Uint8Array.from(bytes)
        const tail = incompleteTail(all)
        // Some continuation completes the tail to a single character; without one the tail is a single U+FFFD.
        const decode = (part: Uint8Array) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(part)
        expect(decode(all.subarray(0, all.length - tail)) + (tail > 0 ? "\ufffd" : "")).toBe(decode(all))
        const rests = [0x80, 0xbf].flatMap((next) => [[next], [next, 0x80], [next, 0x80, 0x80]])
        const held = all.subarray(all.length - tail)
        const completed = rests.map((rest) => decode(Uint8Array.of(...held, ...rest)))
        if (tail > 0) expect(completed.some((text) => [...text].length === 1 && text !== "\ufffd")).toBe(true)
      }),
      { numRuns: 3000, seed: 5 },
    )
  })
})

describe("pushes join to the decoded text", () => {
  for (const name of ["gpt-2", "llama-spm"] as const) {
    for (const special of [false, true]) {
      vocabularyTest(`${name}, ${special ? "with" : "without"} special tokens: any tokens`, async () => {
        const tokenizer = await vocabulary(name)
        // Byte tokens produce incomplete characters, so they are drawn often.
        const id = fc.oneof(fc.integer({ min: 0, max: tokenizer.vocabSize - 1 }), fc.integer({ min: 0, max: 260 }))
        fc.assert(
          fc.property(fc.array(id, { maxLength: 40 }), (ids) => {
            expect(stream(tokenizer, ids, { special, continuation: false }).join("")).toBe(
              tokenizer.decode(ids, { special }),
            )
          }),
          { numRuns: 500, seed: 2 },
        )
      })
    }
    vocabularyTest(`${name}: tokens of random texts`, async () => {
      const tokenizer = await vocabulary(name)
      fc.assert(
        fc.property(fc.string({ unit: "grapheme", maxLength: 40 }), (text) => {
          const pushes = stream(tokenizer, tokenizer.encode(text), { continuation: false })
          expect(pushes.join("")).toBe(name === "llama-spm" ? text.replaceAll("▁", " ") : text)
          for (const push of pushes) expect(push.isWellFormed()).toBe(true)
        }),
        { numRuns: 300, seed: 3 },
      )
    })
  }
})

describe("SentencePiece's leading space", () => {
  const tokenizer = build(tinySpm({ "▁": -1, a: -1, "▁a": 0 }))
  const ids = tokenizer.encode("a a")
  test("is kept in a continuation", () => expect(stream(tokenizer, ids).join("")).toBe(" a a"))
  test("is removed once from a whole text", () => {
    expect(stream(tokenizer, ids, { continuation: false }).join("")).toBe("a a")
    expect(stream(tokenizer, tokenizer.encode("  a"), { continuation: false }).join("")).toBe("  a")
  })
  test("is also removed after a skipped BOS", () => {
    expect(stream(tokenizer, [1, ...ids], { continuation: false }).join("")).toBe("a a")
  })
})

test("special tokens are skipped unless requested", () => {
  const tokenizer = build(tinyBpe([]))
  const ids = tokenizer.encode("a<|end|><tool>", { special: true })
  expect(stream(tokenizer, ids).join("")).toBe("a<tool>")
  expect(stream(tokenizer, ids, { special: true }).join("")).toBe("a<|end|><tool>")
})

test("special tokens in the list of shown tokens are text", () => {
  const tokenizer = build(tinyBpe([]))
  const ids = tokenizer.encode("a<|end|><|begin|>", { special: true })
  const shown = new Set([tokenizer.idOf("<|begin|>") ?? -1])
  expect(stream(tokenizer, ids, { shown }).join("")).toBe("a<|begin|>")
})
