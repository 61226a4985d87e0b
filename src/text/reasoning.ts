/** Models that think before they answer write their thoughts between two marks, in front of the answer. */

/** The marks around a model's reasoning. */
export interface ReasoningMarks {
  readonly open: string
  readonly close: string
}

/** Qwen, DeepSeek, SmolLM and their kin; Magistral. */
const KNOWN_MARKS: readonly ReasoningMarks[] = [
  { open: "<think>", close: "</think>" },
  { open: "[THINK]", close: "[/THINK]" },
]

/**
 * The marks that a chat template deals with, or `undefined` for a model that does not think. A template of a thinking model names at
 * least the closing mark: it takes the thoughts of earlier turns out, or puts them in.
 */
export const reasoningMarks = (template: string): ReasoningMarks | undefined =>
  KNOWN_MARKS.find(({ close }) => template.includes(close))

/** Whether a text stops in the middle of its reasoning, as a prompt does that has the model begin with it. */
export const endsInReasoning = (text: string, { open, close }: ReasoningMarks): boolean =>
  text.lastIndexOf(open) > text.lastIndexOf(close)

/** New text of an answer; in one push, the reasoning comes first. */
interface SplitText {
  readonly reasoning: string
  readonly content: string
}

/**
 * Takes the reasoning out of a streamed answer: white space, the opening mark, thoughts, the closing mark, answer. The opening mark is
 * missing where the prompt already had it, and an answer that begins otherwise has no reasoning. Neither the marks nor the white
 * space inside and behind them come out. The outcome does not depend on how the text is cut into pushes; held back is only what may
 * begin a mark, with the white space before it.
 */
export class ReasoningSplitter {
  #state: "begin" | "thoughts" | "gap" | "content" = "begin"
  #held = ""
  /** Some of the thoughts came out: white space is from now on between them. */
  #thought = false

  /** @param inside The prompt ends within the reasoning. */
  constructor(
    readonly marks: ReasoningMarks,
    readonly inside: boolean,
  ) {}

  /** What comes next is reasoning, as far as one can tell. */
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

  /** Ends the text: what was held back is no mark. */
  flush(): SplitText {
    const rest = this.#held
    this.#held = ""
    const thoughts = this.#state === "thoughts" || (this.#state === "begin" && this.inside)
    if (!thoughts) return { reasoning: "", content: rest }
    return { reasoning: (this.#thought ? rest : rest.trimStart()).trimEnd(), content: "" }
  }

  /** The thoughts in `text` up to `end` without white space at their ends; the rest is held back. */
  #thoughts(text: string, end: number): string {
    const shown = text.slice(0, end).trimEnd()
    this.#held = text.slice(shown.length)
    const thoughts = this.#thought ? shown : shown.trimStart()
    if (thoughts !== "") this.#thought = true
    return thoughts
  }
}

/** Units at the end of `text` that may begin `mark`. */
function beginning(text: string, mark: string): number {
  for (let n = Math.min(text.length, mark.length - 1); n > 0; n--) if (text.endsWith(mark.slice(0, n))) return n
  return 0
}
