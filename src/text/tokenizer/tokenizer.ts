import { incompleteTail } from "../utf8.ts"
import { BpeModel, type TextModel } from "./bpe.ts"
import { pieceToBytes } from "./byte-map.ts"
import { TokenizerError } from "./errors.ts"
import { IdBuffer } from "./id-buffer.ts"
import { preTokenizer } from "./pre-tokenizers.ts"
import { type MetadataLookup, readTokenizerSource } from "./source.ts"
import { SpecialSplitter } from "./special-splitter.ts"
import { findSpecialTokens, stripRules } from "./special-tokens.ts"
import { SpmModel } from "./spm.ts"
import { type DecodeOptions, type EncodeOptions, type Tokenizer, type TokenizerSource, TokenType } from "./types.ts"

const encoder = new TextEncoder()
/** Keeps U+FEFF, which is text here and no byte-order mark. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

const SPACE = 0x20
const NO_BYTES = new Uint8Array(0)

class GgufTokenizer implements Tokenizer {
  readonly vocabSize: number
  readonly longestToken: number
  readonly kind: "bpe" | "spm"
  readonly pre: string | undefined
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly eotId: number | undefined
  readonly unkId: number | undefined
  readonly padId: number | undefined
  readonly eogIds: ReadonlySet<number>
  readonly fim: { readonly prefix?: number; readonly suffix?: number; readonly middle?: number }
  readonly addBos: boolean
  readonly addEos: boolean
  readonly addSpacePrefix: boolean

  readonly #tokens: readonly string[]
  readonly #types: Uint8Array
  readonly #ids: ReadonlyMap<string, number>
  readonly #model: TextModel
  readonly #allSpecial: SpecialSplitter
  readonly #userDefined: SpecialSplitter
  readonly #bytes: (Uint8Array | undefined)[]
  /** `null`: it has none of its own. */
  readonly #texts: (string | null | undefined)[]

  /** Keeps `source.tokens`, and may change `source.tokenTypes`. */
  constructor(source: TokenizerSource) {
    const { tokens } = source
    this.#tokens = tokens
    this.#types = source.tokenTypes
    this.vocabSize = tokens.length
    // As the vocabulary writes them, which is no shorter than their texts.
    this.longestToken = tokens.reduce((most, { length }) => Math.max(most, length), 1)
    this.#bytes = new Array(tokens.length)
    this.#texts = new Array(tokens.length)
    const ids = new Map<string, number>()
    for (const [id, token] of tokens.entries()) if (token.length > 0) ids.set(token, id)
    this.#ids = ids

    this.kind = source.model === "llama" ? "spm" : "bpe"
    const spm = this.kind === "spm"
    const inVocab = (id: number) => (id < tokens.length ? id : undefined)
    // SentencePiece's own defaults; byte-level vocabularies have no common ones.
    this.bosId = source.bosId ?? (spm ? inVocab(1) : undefined)
    this.eosId = source.eosId ?? (spm ? inVocab(2) : undefined)
    this.unkId = source.unkId ?? (spm ? inVocab(0) : undefined)
    this.padId = source.padId

    const special = findSpecialTokens({ ...source, eosId: this.eosId }, ids)
    this.eotId = special.eotId
    this.eogIds = special.eogIds
    this.fim = special.fim

    const matched = matchedIds(this.#types)
    const strip = stripRules(source, ids, matched.all)
    this.#userDefined = new SpecialSplitter(matched.user, tokens, strip)
    this.#allSpecial = new SpecialSplitter(matched.all, tokens, strip)

    if (spm) {
      this.pre = undefined
      this.addSpacePrefix = source.addSpacePrefix ?? true
      this.addBos = (source.addBos ?? true) && this.bosId !== undefined
      this.#model = new SpmModel(ids, tokens, source.scores ?? [], this.addSpacePrefix, this.unkId)
    } else {
      const pre = preTokenizer(source.pre)
      this.pre = pre.name
      this.addSpacePrefix = false
      this.addBos = (source.addBos ?? pre.addBos) && this.bosId !== undefined
      this.#model = new BpeModel(ids, tokens.length, source.merges ?? [], pre, this.unkId)
    }
    this.addEos = (source.addEos ?? false) && this.eosId !== undefined
  }

  encode(text: string | Uint8Array, options: EncodeOptions = {}): Int32Array {
    const wellFormed = typeof text === "string" ? text.toWellFormed() : decoder.decode(text)
    const out = new IdBuffer((wellFormed.length >> 2) + 1)
    if (options.addBos && this.bosId !== undefined) out.push(this.bosId)
    let afterSpecial = true
    ;(options.special ? this.#allSpecial : this.#userDefined).split(wellFormed, {
      text: (part) => {
        this.#model.encode(part, afterSpecial, out)
        afterSpecial = false
      },
      token: (id) => {
        out.push(id)
        afterSpecial = true
      },
    })
    return out.take()
  }

  tokenBytes(id: number): Uint8Array {
    this.#check(id)
    let bytes = this.#bytes[id]
    if (!bytes) {
      bytes = this.#computeBytes(id)
      this.#bytes[id] = bytes
    }
    return bytes
  }

  tokenText(id: number): string | undefined {
    let text = this.#texts[id]
    if (text === undefined) {
      const bytes = this.tokenBytes(id)
      text = incompleteTail(bytes) > 0 ? null : decoder.decode(bytes)
      this.#texts[id] = text
    }
    return text ?? undefined
  }

  #computeBytes(id: number): Uint8Array {
    const text = this.#tokens[id] as string
    switch (this.#types[id]) {
      case TokenType.control:
      case TokenType.userDefined:
      case TokenType.unknown:
        return encoder.encode(text)
      case TokenType.byte: {
        const hex = /^<0x([0-9A-Fa-f]{2})>$/.exec(text)?.[1]
        return hex === undefined ? encoder.encode(text) : Uint8Array.of(Number.parseInt(hex, 16))
      }
      default:
        return this.kind === "spm" ? encoder.encode(text.replaceAll("▁", " ")) : pieceToBytes(text)
    }
  }

  piece(id: number): string {
    this.#check(id)
    return this.#tokens[id] as string
  }

  idOf(piece: string): number | undefined {
    return this.#ids.get(piece)
  }

  isSpecial(id: number): boolean {
    this.#check(id)
    return this.#types[id] === TokenType.control || this.#types[id] === TokenType.unknown
  }

  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const parts: Uint8Array[] = []
    let size = 0
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as number
      let bytes = options.special || !this.isSpecial(id) ? this.tokenBytes(id) : NO_BYTES
      if (this.addSpacePrefix && size === 0 && parts.length === 0 && bytes[0] === SPACE && !this.isSpecial(id)) {
        bytes = bytes.subarray(1)
      } else if (bytes.length === 0) continue
      parts.push(bytes)
      size += bytes.length
    }
    const whole = new Uint8Array(size)
    let at = 0
    for (const part of parts) {
      whole.set(part, at)
      at += part.length
    }
    return decoder.decode(whole)
  }

  #check(id: number): void {
    if (!(Number.isInteger(id) && id >= 0 && id < this.vocabSize)) {
      throw new TokenizerError("bad_token_id", `token id ${id} is not in this vocabulary of ${this.vocabSize} tokens`)
    }
  }
}

/** Ids of the tokens that are found in text as themselves: the user-defined ones, and all of them. */
function matchedIds(types: Uint8Array): { user: number[]; all: number[] } {
  const user: number[] = []
  const all: number[] = []
  for (const [id, type] of types.entries()) {
    if (type === TokenType.userDefined) user.push(id)
    if (type === TokenType.userDefined || type === TokenType.control || type === TokenType.unknown) all.push(id)
  }
  return { user, all }
}

/**
 * Builds the tokenizer of a GGUF file from its metadata.
 * @param get looks up a metadata key: numeric arrays as typed arrays, string arrays as string[], scalars as themselves.
 * @throws TokenizerError naming the field that is missing, wrong or not supported.
 */
export function tokenizerFromMetadata(get: MetadataLookup): Tokenizer {
  return new GgufTokenizer(readTokenizerSource(get))
}
