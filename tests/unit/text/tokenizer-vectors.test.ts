import { describe, expect } from "bun:test"
import golden from "../../golden/text/pre-tokenizers.json"
import { VOCABULARIES, vocabulary, vocabularyFile, vocabularyTest } from "./support.ts"

describe("llama.cpp's published vectors", () => {
  for (const name of VOCABULARIES) {
    vocabularyTest(name, async () => {
      const tokenizer = await vocabulary(name)
      const texts = (await Bun.file(vocabularyFile(name, ".inp")).text()).split("\n__ggml_vocab_test__\n")
      const lines = (await Bun.file(vocabularyFile(name, ".out")).text()).split("\n")
      expect(texts.length).toBeGreaterThan(40)
      const expected = texts.map((_, i) => (lines[i] ?? "").trim())
      const actual = texts.map((text) => tokenizer.encode(text).join(" "))
      expect(actual).toEqual(expected)
    })
  }
})

// Ids from llama.cpp for the GPT-2 vocabulary with the names of other pre-tokenizers; see the script beside the data.
describe("every pre-tokenizer on the GPT-2 vocabulary", () => {
  for (const [pre, expected] of Object.entries(golden.ids)) {
    vocabularyTest(pre, async () => {
      const tokenizer = await vocabulary("gpt-2", { "tokenizer.ggml.pre": pre })
      expect(golden.texts.map((text) => tokenizer.encode(text).join(" "))).toEqual(expected)
    })
  }
})
