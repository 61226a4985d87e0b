import { describe, expect, test } from "bun:test"
import { TokenizerError } from "../../../src/text/tokenizer/errors.ts"
import { readTokenizerSource } from "../../../src/text/tokenizer/source.ts"
import { build, pieces, tinyBpe, tinySpm } from "./support.ts"

describe("byte-level BPE", () => {
  const merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "Ġw o", "Ã ©", "a a", "aa aa"]
  const tokenizer = build(tinyBpe(merges))

  test("merges by rank, leftmost first", () => {
    expect(pieces(tokenizer, "hello")).toEqual(["hello"])
    expect(pieces(tokenizer, "hello world")).toEqual(["hello", "Ġwo", "r", "l", "d"])
    expect(pieces(tokenizer, "aaaaaaa")).toEqual(["aaaa", "aa", "a"])
  })
  test("the heap for long pieces gives the same merges as the scan for short pieces", () => {
    expect(pieces(tokenizer, "a".repeat(403))).toEqual([...Array(100).fill("aaaa"), "aa", "a"])
    expect(pieces(tokenizer, "hell".repeat(30))).toEqual(Array(30).fill("hell"))
  })
  test("encodes characters of several bytes", () => {
    expect(pieces(tokenizer, "é")).toEqual(["Ã©"])
    expect(pieces(tokenizer, "è")).toEqual(["Ã", "¨"])
    expect(tokenizer.decode(tokenizer.encode("é€😀"))).toBe("é€😀")
  })
  test("a merge whose result is not a token becomes bytes", () => {
    const metadata = tinyBpe(merges)
    const tokens = (metadata.get("tokenizer.ggml.tokens") as string[]).filter(
      (token) => token !== "hell" && token !== "hello",
    )
    metadata.set("tokenizer.ggml.tokens", tokens)
    expect(pieces(build(metadata), "hell")).toEqual(["h", "e", "l", "l"])
  })
  test("llama-bpe encodes a piece that is a token as that token, regardless of the merges", () => {
    const metadata = tinyBpe(["a b", "c d", "b c"], { "tokenizer.ggml.pre": "llama-bpe" })
    const tokens = metadata.get("tokenizer.ggml.tokens") as string[]
    tokens[tokens.indexOf("bc")] = "abcd"
    expect(pieces(build(metadata), "abcd")).toEqual(["abcd"])
    metadata.set("tokenizer.ggml.pre", "qwen2")
    expect(pieces(build(metadata), "abcd")).toEqual(["ab", "cd"])
  })
  test("strings and bytes give the same ids", () => {
    const text = "hello wörld 😀\u0000"
    expect(tokenizer.encode(new TextEncoder().encode(text))).toEqual(tokenizer.encode(text))
  })
  test("lone surrogates and invalid bytes become U+FFFD", () => {
    expect(tokenizer.decode(tokenizer.encode("a\ud800b"))).toBe("a\ufffdb")
    expect(tokenizer.decode(tokenizer.encode(Uint8Array.of(0x61, 0xff, 0x62)))).toBe("a\ufffdb")
  })
  test("a byte-order mark is text", () => {
    expect(tokenizer.decode(tokenizer.encode("\ufeffx"))).toBe("\ufeffx")
    expect(tokenizer.decode(tokenizer.encode(new TextEncoder().encode("\ufeffx")))).toBe("\ufeffx")
  })
  test("a vocabulary that lacks a byte refuses texts that need it", () => {
    const metadata = tinyBpe([])
    const tokens = metadata.get("tokenizer.ggml.tokens") as string[]
    tokens[tokens.indexOf("q")] = "qq"
    expect(() => build(metadata).encode("q")).toThrow(expect.objectContaining({ code: "no_byte_token" }))
    metadata.set("tokenizer.ggml.unknown_token_id", 0)
    expect([...build(metadata).encode("q")]).toEqual([0])
  })
})

describe("SentencePiece-style", () => {
  const scores = {
    "▁": -9,
    h: -8,
    i: -8,
    t: -8,
    e: -8,
    r: -8,
    "▁h": -3,
    "▁hi": -1,
    th: -2,
    er: -2,
    the: -1.5,
    "▁t": -4,
  }
  const tokenizer = build(tinySpm(scores))

  test("the pair with the highest score merges first, and a space is added before the text", () => {
    expect(pieces(tokenizer, "hi")).toEqual(["▁hi"])
    expect(pieces(tokenizer, "hi there")).toEqual(["▁hi", "▁", "the", "r", "e"])
  })
  test("of equal scores the leftmost pair merges first", () => {
    const equal = build(
      tinySpm({ a: -1, b: -1, c: -1, ab: -0.5, bc: -0.5 }, { "tokenizer.ggml.add_space_prefix": false }),
    )
    expect(pieces(equal, "abc")).toEqual(["ab", "c"])
  })
  test("characters without a token become bytes", () => {
    expect(pieces(tokenizer, "é")).toEqual(["▁", "<0xC3>", "<0xA9>"])
    expect(tokenizer.decode(tokenizer.encode("é 😀\n"))).toBe("é 😀\n")
  })
  test("the file chooses whether a space is added, and decoding a whole text removes it", () => {
    const plain = build(tinySpm(scores, { "tokenizer.ggml.add_space_prefix": false }))
    expect(pieces(plain, "hi")).toEqual(["h", "i"])
    expect(plain.decode(plain.encode(" hi"))).toBe(" hi")
    expect(tokenizer.decode(tokenizer.encode("hi"))).toBe("hi")
    expect(tokenizer.decode(tokenizer.encode(" hi"))).toBe(" hi")
    expect(tokenizer.encode("")).toHaveLength(0)
  })
  test("with tokens that span words the text is not split", () => {
    const spanning = build(tinySpm({ ...scores, "i▁": -0.2, "i▁t": -0.1 }))
    expect(pieces(spanning, "hi th")).toEqual(["▁h", "i▁t", "h"])
  })
  test("BOS is added; EOS and the unknown token have SentencePiece's default ids", () => {
    expect([tokenizer.bosId, tokenizer.eosId, tokenizer.unkId]).toEqual([1, 2, 0])
    expect(tokenizer.addBos).toBe(true)
    expect(pieces(tokenizer, "hi", { addBos: true })).toEqual(["<s>", "▁hi"])
    expect(tokenizer.decode(tokenizer.encode("hi", { addBos: true }))).toBe("hi")
    expect(tokenizer.decode(tokenizer.encode("hi", { addBos: true }), { special: true })).toBe("<s> hi")
  })
  test("without byte tokens an unknown character is the unknown token", () => {
    const metadata = tinySpm(scores)
    metadata.set(
      "tokenizer.ggml.tokens",
      (metadata.get("tokenizer.ggml.tokens") as string[]).map((token) =>
        token.startsWith("<0x") ? `x${token}` : token,
      ),
    )
    expect(pieces(build(metadata), "é")).toEqual(["▁", "<unk>"])
  })
})

describe("fields", () => {
  const code = (metadata: Map<string, unknown>): string => {
    try {
      build(metadata)
    } catch (error) {
      if (error instanceof TokenizerError) return `${error.code}: ${error.message}`
      throw error
    }
    return "built"
  }
  test("an unknown pre-tokenizer is refused with its name and the known names", () => {
    expect(code(tinyBpe([], { "tokenizer.ggml.pre": "no-such" }))).toMatch(
      /^unknown_pre_tokenizer: .*"no-such".*llama-bpe.*qwen2/,
    )
  })
  test("a missing pre-tokenizer selects the default", () => {
    const metadata = tinyBpe([])
    metadata.delete("tokenizer.ggml.pre")
    expect(build(metadata).pre).toBe("default")
  })
  test("an unknown model is refused", () => {
    expect(code(tinyBpe([], { "tokenizer.ggml.model": "rwkv" }))).toMatch(/^unknown_model: .*rwkv/)
  })
  for (const field of ["model", "tokens", "merges"]) {
    test(`${field} missing`, () => {
      const metadata = tinyBpe([])
      metadata.delete(`tokenizer.ggml.${field}`)
      expect(code(metadata)).toMatch(new RegExp(`^missing_field: .*tokenizer.ggml.${field}`))
    })
  }
  test("fields of a wrong type or length are refused", () => {
    expect(code(tinyBpe([], { "tokenizer.ggml.tokens": "x" }))).toStartWith("bad_field")
    expect(code(tinyBpe([], { "tokenizer.ggml.tokens": ["a", 1] }))).toStartWith("bad_field")
    expect(code(tinyBpe([], { "tokenizer.ggml.token_type": Int32Array.of(1) }))).toStartWith("bad_field")
    expect(code(tinyBpe([], { "tokenizer.ggml.add_bos_token": 1 }))).toStartWith("bad_field")
    expect(code(tinyBpe([], { "tokenizer.ggml.eos_token_id": 1.5 }))).toStartWith("bad_field")
    expect(code(tinyBpe([], { "tokenizer.ggml.merges": ["ab"] }))).toStartWith("bad_field")
  })
  test("a special token's id outside the vocabulary counts as absent", () => {
    const get = (key: string) => tinyBpe([], { "tokenizer.ggml.bos_token_id": 1 << 20 }).get(key)
    expect(readTokenizerSource(get).bosId).toBeUndefined()
  })
  test("ids that are not in the vocabulary are refused", () => {
    const tokenizer = build(tinyBpe([]))
    for (const id of [-1, tokenizer.vocabSize, 0.5]) {
      expect(() => tokenizer.piece(id)).toThrow(TokenizerError)
      expect(() => tokenizer.decode([id])).toThrow(TokenizerError)
    }
  })
})
