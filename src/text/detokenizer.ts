import type { Tokenizer } from "./tokenizer/types.ts"
import { incompleteTail } from "./utf8.ts"

interface DetokenizerOptions {
  /** Render control and unknown tokens as text. Default false: they give no text. */
  special?: boolean
  /** Control tokens that are rendered even so, because a parser of the text looks for them (marks of tool calls, of reasoning). */
  shown?: ReadonlySet<number>
  /**
   * The tokens continue a text, as generated tokens do, so a leading space is part of it. Default true. With false the tokens are a
   * whole text and the pushes join to the result of `tokenizer.decode`: the space that encoding added before the text is dropped.
   */
  continuation?: boolean
}

const SPACE = 0x20

/** Decodes a stream of tokens into pieces of text, none of which ends within a UTF-8 character. One instance serves one sequence. */
export class Detokenizer {
  readonly #tokenizer: Tokenizer
  readonly #special: boolean
  readonly #shown: ReadonlySet<number> | undefined
  #dropSpace: boolean
  /** The incomplete character at the end of the bytes so far, at most 3 bytes. */
  #held = new Uint8Array(0)
  /** Treats U+FEFF as text, not as a byte-order mark. */
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true })

  constructor(tokenizer: Tokenizer, options: DetokenizerOptions = {}) {
    this.#tokenizer = tokenizer
    this.#special = options.special ?? false
    this.#shown = options.shown
    this.#dropSpace = tokenizer.addSpacePrefix && options.continuation === false
  }

  /**
   * Returns the text that this token completes, possibly "". Bytes that cannot become a character appear as U+FFFD.
   * @throws TokenizerError `bad_token_id`
   */
  push(id: number): string {
    const special = this.#tokenizer.isSpecial(id)
    if (special && !this.#special && !this.#shown?.has(id)) return ""
    if (this.#held.length === 0 && !this.#dropSpace) {
      const text = this.#tokenizer.tokenText(id)
      if (text !== undefined) return text
    }
    let bytes = this.#tokenizer.tokenBytes(id)
    if (bytes.length === 0) return ""
    if (this.#dropSpace && !special && bytes[0] === SPACE) bytes = bytes.subarray(1)
    this.#dropSpace = false

    const joined = new Uint8Array(this.#held.length + bytes.length)
    joined.set(this.#held)
    joined.set(bytes, this.#held.length)
    const complete = joined.length - incompleteTail(joined)
    this.#held = joined.slice(complete)
    return this.#decoder.decode(joined.subarray(0, complete))
  }

  /** Ends the text. Bytes of an incomplete character are returned as U+FFFD. */
  flush(): string {
    const rest = this.#decoder.decode(this.#held)
    this.#held = new Uint8Array(0)
    return rest
  }
}
