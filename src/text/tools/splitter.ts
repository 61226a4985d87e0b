import type { ToolFormat } from "./format.ts"
import { Reader, type Reading, type ToolPiece } from "./reader.ts"

/**
 * Takes calls out of a streamed answer. What comes out does not depend on how the text is cut into pushes: a call as soon as its name
 * and the beginning of its arguments are there, its arguments letter by letter, and everything else as content. What begins like a call
 * and is none is content too. Where arguments go wrong, they end, and the rest is content.
 */
export class ToolCallSplitter {
  readonly #reader = new Reader()
  readonly #reading: Reading

  /** @param tools names of those that may be called */
  constructor(format: ToolFormat, tools: readonly string[]) {
    this.#reading = format.read(this.#reader, tools)
    this.#reading.next()
  }

  /** How many calls have begun. */
  get calls(): number {
    return this.#reader.calls
  }

  /** There are calls, and each is whole, as far as one can tell before the end. */
  get called(): boolean {
    return this.#reader.calls > 0 && this.#reader.whole
  }

  push(text: string): ToolPiece[] {
    for (let i = 0; i < text.length; i++) this.#reading.next(text.charAt(i))
    return this.#reader.take()
  }

  /** Ends the text. */
  flush(): ToolPiece[] {
    this.#reading.next("")
    return this.#reader.take()
  }
}
