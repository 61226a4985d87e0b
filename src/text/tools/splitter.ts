import type { ToolFormat } from "./format.ts"
import { Reader, type Reading, type ToolPiece } from "./reader.ts"

/**
 * Separates tool calls from the content of a streamed answer. A call is returned as soon as its name and the beginning of its arguments
 * are read, then its arguments character by character; everything else is content. Text that only begins like a call is content. Invalid
 * arguments end at the error, and the rest is content. The result does not depend on how the text is cut into pushes.
 */
export class ToolCallSplitter {
  readonly #reader = new Reader()
  readonly #reading: Reading

  /** @param tools names of the tools that may be called */
  constructor(format: ToolFormat, tools: readonly string[]) {
    this.#reading = format.read(this.#reader, tools)
    this.#reading.next()
  }

  /** Number of calls that have begun. */
  get calls(): number {
    return this.#reader.calls
  }

  /** Whether there are calls and all of them are complete, as far as the text so far shows. */
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
