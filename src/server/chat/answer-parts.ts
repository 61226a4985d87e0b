/** One choice's text, taken apart as it comes: reasoning, content, calls of tools. */

import { ReasoningSplitter } from "../../text/index.ts"
import { ToolCallSplitter, type ToolPiece } from "../../text/tools/index.ts"
import type { ScoredToken } from "../apis/openai/logprobs.ts"
import type { ChatDelta, ChatToolDelta } from "./chat.ts"
import type { Reasoning } from "./prompt.ts"
import type { Calling } from "./tools.ts"

type Delta = ChatDelta | ChatToolDelta

export class AnswerParts {
  readonly #reasoning: ReasoningSplitter | undefined
  readonly #calls: ToolCallSplitter | undefined

  constructor(
    readonly index: number,
    reasoning: Reasoning | undefined,
    readonly calling: Calling | undefined,
  ) {
    this.#reasoning = reasoning && new ReasoningSplitter(reasoning.marks, reasoning.inside)
    this.#calls = calling && new ToolCallSplitter(calling.format, calling.names)
  }

  /** What comes next is reasoning, as far as one can tell. */
  get thinking(): boolean {
    return this.#reasoning?.reasoning ?? false
  }

  /** There are calls, and each is whole: known when the text is at its end. */
  get called(): boolean {
    return this.#calls?.called ?? false
  }

  /** What one token brought; its score goes with the first text of it. */
  push(text: string, scored?: ScoredToken): Delta[] {
    const { reasoning, content } = this.#reasoning?.push(text) ?? { reasoning: "", content: text }
    const deltas = this.#deltas(reasoning, this.#calls?.push(content) ?? contentPiece(content))
    if (scored === undefined) return deltas
    const [first, ...rest] = deltas
    if (first?.type === "content" || first?.type === "reasoning") return [{ ...first, scored }, ...rest]
    return [{ type: "content", index: this.index, text: "", scored }, ...deltas]
  }

  /** Ends the text. */
  flush(): Delta[] {
    const { reasoning, content } = this.#reasoning?.flush() ?? { reasoning: "", content: "" }
    const pieces = this.#calls && [...this.#calls.push(content), ...this.#calls.flush()]
    return this.#deltas(reasoning, pieces ?? contentPiece(content))
  }

  #deltas(reasoning: string, pieces: readonly ToolPiece[]): Delta[] {
    const { index } = this
    const deltas: Delta[] = reasoning === "" ? [] : [{ type: "reasoning", index, text: reasoning }]
    // Of the calls, these pieces may begin the last ones.
    let call = (this.#calls?.calls ?? 0) - pieces.filter(({ type }) => type === "call").length - 1
    for (const piece of pieces) {
      if (piece.type === "content") {
        if (!this.calling?.required) deltas.push({ type: "content", index, text: piece.text })
      } else if (piece.type === "arguments") deltas.push({ type: "tool_arguments", index, call, text: piece.text })
      else {
        const id = this.calling?.format.newId() ?? ""
        deltas.push({ type: "tool_call", index, call: ++call, id, name: piece.name })
      }
    }
    return deltas
  }
}

const contentPiece = (text: string): ToolPiece[] => (text === "" ? [] : [{ type: "content", text }])
