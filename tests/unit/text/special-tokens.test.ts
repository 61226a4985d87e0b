import { describe, expect, test } from "bun:test"
import { TokenType } from "../../../src/text/tokenizer/types.ts"
import { build, pieces, tinyBpe, tinySpm, vocabulary, vocabularyTest } from "./support.ts"

describe("special tokens in text", () => {
  const tokenizer = build(tinyBpe(["a b"]))

  test("control tokens are plain text unless requested", () => {
    expect(pieces(tokenizer, "ab<|end|>ab")).not.toContain("<|end|>")
    expect(pieces(tokenizer, "ab<|end|>ab", { special: true })).toEqual(["ab", "<|end|>", "ab"])
  })
  test("user-defined tokens are always found", () => {
    expect(pieces(tokenizer, "ab<tool>ab")).toEqual(["ab", "<tool>", "ab"])
    expect(tokenizer.isSpecial(tokenizer.idOf("<tool>") as number)).toBe(false)
  })
  test("decoding skips control tokens unless requested", () => {
    const ids = tokenizer.encode("ab<|end|><tool>", { special: true })
    expect(tokenizer.decode(ids)).toBe("ab<tool>")
    expect(tokenizer.decode(ids, { special: true })).toBe("ab<|end|><tool>")
  })
  test("the longest token wins, also directly beside another", () => {
    const metadata = tinyBpe([])
    const tokens = metadata.get("tokenizer.ggml.tokens") as string[]
    const types = metadata.get("tokenizer.ggml.token_type") as Int32Array
    tokens.push("<x>", "<x>y")
    metadata.set("tokenizer.ggml.token_type", Int32Array.from([...types, TokenType.userDefined, TokenType.userDefined]))
    expect(pieces(build(metadata), "<x><x>y<x")).toEqual(["<x>", "<x>y", "<", "x"])
  })
  test("SentencePiece adds a space before the text after a special token", () => {
    const spm = build(tinySpm({ "▁": -1, a: -1, "▁a": 0 }))
    expect(pieces(spm, "a</s>a", { special: true })).toEqual(["▁a", "</s>", "▁a"])
  })
  test("the special tokens of Phi-3 include the white space after them", () => {
    const metadata = tinySpm({ "▁": -1, a: -1, "▁a": 0 }, { "general.name": "Phi-3 Mini" })
    expect(pieces(build(metadata), "a</s> \n a", { special: true })).toEqual(["▁a", "</s>", "▁a"])
    metadata.delete("general.name")
    expect(pieces(build(metadata), "a</s> a", { special: true })).toEqual(["▁a", "</s>", "▁", "▁a"])
  })
})

describe("tokens that end a generation", () => {
  test("include EOS and tokens recognized by name", () => {
    const metadata = tinyBpe([])
    const tokens = metadata.get("tokenizer.ggml.tokens") as string[]
    const types = metadata.get("tokenizer.ggml.token_type") as Int32Array
    tokens.push("<|im_end|>", "<|im_start|>", "</s>")
    metadata.set(
      "tokenizer.ggml.token_type",
      Int32Array.from([...types, TokenType.normal, TokenType.control, TokenType.normal]),
    )
    const tokenizer = build(metadata)
    const names = [...tokenizer.eogIds].map((id) => tokenizer.piece(id)).sort()
    // </s> is normal text here (an HTML tag) and does not end a generation.
    expect(names).toEqual(["<|end|>", "<|im_end|>"])
    // A marker of type "normal" is a marker as well.
    expect(tokenizer.isSpecial(tokenizer.idOf("<|im_end|>") as number)).toBe(true)
  })
  vocabularyTest("of real vocabularies", async () => {
    const ends = async (name: Parameters<typeof vocabulary>[0]) => {
      const tokenizer = await vocabulary(name)
      return [...tokenizer.eogIds].map((id) => tokenizer.piece(id)).sort()
    }
    expect(await ends("llama-spm")).toEqual(["</s>"])
    expect(await ends("gpt-2")).toEqual(["<|endoftext|>"])
    expect(await ends("llama-bpe")).toEqual(["<|end_of_text|>", "<|eot_id|>"])
    expect(await ends("qwen2")).toEqual(["<|endoftext|>", "<|file_sep|>", "<|fim_pad|>", "<|im_end|>", "<|repo_name|>"])
  })
  test("<|end|> ends a message, not the turn, in the harmony format", () => {
    const metadata = tinyBpe([])
    const tokens = metadata.get("tokenizer.ggml.tokens") as string[]
    const types = metadata.get("tokenizer.ggml.token_type") as Int32Array
    tokens.push("<|return|>", "<|call|>")
    metadata.set("tokenizer.ggml.token_type", Int32Array.from([...types, TokenType.control, TokenType.control]))
    metadata.set("tokenizer.ggml.eos_token_id", tokens.indexOf("<|return|>"))
    const tokenizer = build(metadata)
    expect([...tokenizer.eogIds].map((id) => tokenizer.piece(id)).sort()).toEqual(["<|call|>", "<|return|>"])
  })
})

describe("BOS", () => {
  test("without a flag in the file, llama-bpe adds it and gpt-2 does not", () => {
    expect(build(tinyBpe([], { "tokenizer.ggml.pre": "llama-bpe" })).addBos).toBe(true)
    expect(build(tinyBpe([])).addBos).toBe(false)
    expect(
      build(tinyBpe([], { "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.add_bos_token": false })).addBos,
    ).toBe(false)
  })
})
