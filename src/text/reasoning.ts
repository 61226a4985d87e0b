/** Reasoning models write their thoughts between two marks, before the answer. This file finds the marks and splits such answers. */

/** The marks around a model's reasoning. */
export interface ReasoningMarks {
  readonly open: string
  readonly close: string
}

/** Marks of Qwen, DeepSeek, SmolLM and related models, then of Magistral. */
const KNOWN_MARKS: readonly ReasoningMarks[] = [
  { open: "<think>", close: "</think>" },
  { open: "[THINK]", close: "[/THINK]" },
]

/**
 * The marks that a chat template uses, or `undefined` for a model without reasoning. The template of a reasoning model contains at
 * least the closing mark, because it removes the thoughts of earlier turns or inserts them.
 */
export const reasoningMarks = (template: string): ReasoningMarks | undefined =>
  KNOWN_MARKS.find(({ close }) => template.includes(close))

/** Whether a text ends within reasoning, as a prompt does whose template already opened the reasoning. */
export const endsInReasoning = (text: string, { open, close }: ReasoningMarks): boolean =>
  text.lastIndexOf(open) > text.lastIndexOf(close)

/** New text of an answer. The reasoning comes before the content. */
interface SplitText {
  readonly reasoning: string
  readonly content: string
}

/**
 * Separates the reasoning of a streamed answer from its content. An answer is white space, the opening mark, thoughts, the closing mark,
 * content. The opening mark is missing if the prompt already has it, and an answer that begins otherwise has no reasoning. The marks and
 * the white space around the thoughts are removed. The result does not depend on how the text is cut into pushes. Only text that may
 * begin a mark is held back, with the white space before it.
 */
export class ReasoningSplitter {
  #state: "begin" | "thoughts" | "gap" | "content" = "begin"
  #held = ""
  /** Thoughts were returned before, so white space before further thoughts is part of them. */
  #thought = false

  /** @param inside the prompt ends within the reasoning */
  constructor(
    readonly marks: ReasoningMarks,
    readonly inside: boolean,
  ) {}

  /** Whether the next text is reasoning, as far as the text so far shows. */
  get reasoning(): boolean {
    return this.#state === "thoughts" || (this.#state === "begin" && this.inside)
  }

  push(text: string): SplitText {
    if (this.#state === "content") return { reasoning: "", content: text }
    let rest = this.#held + text
    this.#held = ""
    if (this.#state === "begin") {
      const { open } = this.marks
      const start = rest.trimStart()
      if (start.startsWith(open)) {
        this.#state = "thoughts"
        rest = start.slice(open.length)
      } else if (open.startsWith(start)) {
        this.#held = rest
        return { reasoning: "", content: "" }
      } else if (this.inside) {
        this.#state = "thoughts"
      } else {
        this.#state = "content"
        return { reasoning: "", content: rest }
      }
    }
    let reasoning = ""
    if (this.#state === "thoughts") {
      const end = rest.indexOf(this.marks.close)
      if (end < 0)
        return { reasoning: this.#thoughts(rest, rest.length - beginning(rest, this.marks.close)), content: "" }
      reasoning = this.#thoughts(rest.slice(0, end), end)
      this.#held = ""
      this.#state = "gap"
      rest = rest.slice(end + this.marks.close.length)
    }
    const content = rest.trimStart()
    if (content !== "") this.#state = "content"
    return { reasoning, content }
  }

  /** Ends the text and returns what was held back, which is no mark. */
  flush(): SplitText {
    const rest = this.#held
    this.#held = ""
    const thoughts = this.#state === "thoughts" || (this.#state === "begin" && this.inside)
    if (!thoughts) return { reasoning: "", content: rest }
    return { reasoning: (this.#thought ? rest : rest.trimStart()).trimEnd(), content: "" }
  }

  /** Returns the thoughts in `text` up to `end` without white space at their ends, and holds back the rest. */
  #thoughts(text: string, end: number): string {
    const shown = text.slice(0, end).trimEnd()
    this.#held = text.slice(shown.length)
    const thoughts = this.#thought ? shown : shown.trimStart()
    if (thoughts !== "") this.#thought = true
    return thoughts
  }
}

/** Units at the end of `text` that may begin `mark`. */
export function beginning(text: string, mark: string): number {
  for (let n = Math.min(text.length, mark.length - 1); n > 0; n--) if (text.endsWith(mark.slice(0, n))) return n
  return 0
}
