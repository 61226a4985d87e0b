import type { Tokenizer } from "./tokenizer/types.ts"
import { incompleteTail } from "./utf8.ts"

interface DetokenizerOptions {
  /** Render control and unknown tokens as their text; default false: they yield nothing. */
  special?: boolean
  /** Of these, the ones that are text all the same: marks that whoever reads the text looks for. */
  shown?: ReadonlySet<number>
  /**
   * The tokens continue a text, as generated tokens do, so a leading space belongs to them. Default true. With false the tokens
   * are a whole text and the pushes join to exactly what `tokenizer.decode` gives: the space that encoding put in front is dropped.
   */
  continuation?: boolean
}

const SPACE = 0x20

/** Turns a stream of tokens into a stream of text in which no push ends within a UTF-8 character. One per sequence. */
export class Detokenizer {
  readonly #tokenizer: Tokenizer
  readonly #special: boolean
  readonly #shown: ReadonlySet<number> | undefined
  #dropSpace: boolean
  /** Bytes that begin a character, at most 3. */
  #held = new Uint8Array(0)
  /** U+FEFF is text here, no byte-order mark. */
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true })

  constructor(tokenizer: Tokenizer, options: DetokenizerOptions = {}) {
    this.#tokenizer = tokenizer
    this.#special = options.special ?? false
    this.#shown = options.shown
    this.#dropSpace = tokenizer.addSpacePrefix && options.continuation === false
  }

  /**
   * The text that this token completes, possibly empty. Bytes that can never become a character appear as U+FFFD.
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

  /** Ends the text: what is held back is no character, and comes out as U+FFFD. */
  flush(): string {
    const rest = this.#decoder.decode(this.#held)
    this.#held = new Uint8Array(0)
    return rest
  }
}
