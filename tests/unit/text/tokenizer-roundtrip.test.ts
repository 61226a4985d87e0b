import { describe, expect } from "bun:test"
import fc from "fast-check"
import { costOf } from "../../support/cost.ts"
import { seeded, VOCABULARIES, vocabulary, vocabularyTest } from "./support.ts"

const SAMPLES = [
  "",
  "\u0000",
  "a\u0000b\u0000\u0000",
  "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 👍🏽",
  "日本語、中文，한국어",
  "e\u0301 vs é, ﬁ vs fi",
  "مرحبا بالعالم שלום",
  "हिन्दी ไทย தமிழ்",
  "\ufeffBOM",
  "\r\n \t\v\f\u0085\u00a0\u2028\u3000",
  "\ud83d\ude00\u{10ffff}\ue000",
]

describe("decode reverses encode", () => {
  for (const name of VOCABULARIES) {
    // SentencePiece writes a space as ▁, so there the character ▁ itself is decoded as a space.
    const expected = (text: string) =>
      name === "llama-spm" ? text.toWellFormed().replaceAll("▁", " ") : text.toWellFormed()

    vocabularyTest(`${name}: chosen texts`, async () => {
      const tokenizer = await vocabulary(name)
      expect(SAMPLES.map((text) => tokenizer.decode(tokenizer.encode(text)))).toEqual(SAMPLES.map(expected))
    })
    vocabularyTest(`${name}: random Unicode, lone surrogates among it`, async () => {
      const tokenizer = await vocabulary(name)
      const unit = fc.oneof(
        fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)),
        fc.string({ unit: "grapheme", maxLength: 3 }),
        fc.constantFrom(" ", "\n", "\t", "<s>", "<|im_end|>", "\ud83d", "\ude00"),
      )
      fc.assert(
        fc.property(fc.array(unit, { maxLength: 60 }), (parts) => {
          const text = parts.join("")
          expect(tokenizer.decode(tokenizer.encode(text))).toBe(expected(text))
        }),
        { numRuns: 300, seed: 1 },
      )
    })
  }
})

describe("1 MB of any text costs little", () => {
  const random = seeded(3)
  const randomText = (length: number, below: number, from: number) =>
    Array.from({ length }, () => String.fromCodePoint(from + random(below))).join("")
  const MB = 1_000_000
  const texts: Record<string, string> = {
    "one letter": "a".repeat(MB),
    "one symbol": "<".repeat(MB),
    spaces: " ".repeat(MB),
    "spaces before a word": `${" ".repeat(MB)}x`,
    newlines: "\n".repeat(MB),
    "spaces and newlines": " \n".repeat(MB / 2),
    digits: "1234567".repeat(MB / 7),
    "one CJK character": "漢".repeat(MB / 3),
    "one emoji": "😀".repeat(MB / 4),
    "random ASCII": randomText(MB, 95, 32),
    "random Unicode": randomText(MB / 3, 0xd000, 0x20),
    English: "The quick brown fox jumps over the lazy dog, twice in 2024.\n".repeat(MB / 60),
  }
  for (const name of VOCABULARIES) {
    vocabularyTest(name, async () => {
      const tokenizer = await vocabulary(name)
      for (const [what, text] of Object.entries(texts)) {
        // The best of three: the first run also compiles the code.
        let best = Number.POSITIVE_INFINITY
        for (let attempt = 0; attempt < 3 && best >= 10; attempt++) {
          const cost = await costOf(() => expect(tokenizer.encode(text).length).toBeGreaterThan(0))
          best = Math.min(best, cost / (Buffer.byteLength(text) / MB))
        }
        expect(`${what}: ${best < 10 ? "little" : best.toFixed(1)}`).toBe(`${what}: little`)
      }
    })
  }
})
