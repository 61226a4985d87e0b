import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openGguf } from "../../src/gguf/reader.ts"
import { chatTemplateFromMetadata, encodePrompt, tokenizerFromMetadata } from "../../src/text/index.ts"
import { tinyModel, writeTinyModel } from "../support/tiny-model.ts"
import { TINY_TOKENS } from "../support/tiny-tokenizer.ts"

describe("tiny models", () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rocmforge-tiny-"))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  test("the same options give the same bytes, another seed gives others", () => {
    expect(tinyModel({ seed: 3 })).toEqual(tinyModel({ seed: 3 }))
    expect(tinyModel({ seed: 3 })).not.toEqual(tinyModel({ seed: 4 }))
  })

  test("they contain a working tokenizer and chat template", async () => {
    const path = join(folder, "tiny.gguf")
    await writeTinyModel(path, { vocab: 400 })
    const gguf = await openGguf(path)
    const get = (key: string) => gguf.metadata.get(key)?.value
    const tokenizer = tokenizerFromMetadata(get)
    const text = "the thing and the other, 猫 \u0000\n"
    const ids = tokenizer.encode(text)
    expect(ids.length).toBeLessThan(new TextEncoder().encode(text).length)
    expect(tokenizer.decode(ids)).toBe(text)

    const template = chatTemplateFromMetadata(get, tokenizer)
    const prompt = template.render({ messages: [{ role: "user", content: "hi" }], addGenerationPrompt: true })
    expect(prompt).toBe("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    expect([...encodePrompt(tokenizer, prompt)].filter((id) => id < TINY_TOKENS.FIRST_BYTE)).toEqual([1, 2, 1])
  })
})
