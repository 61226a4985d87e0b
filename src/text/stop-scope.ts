/** Where stop strings count in an answer that has a form: not within calls of tools, and not within the strings of JSON. */

import { beginning, type ReasoningMarks } from "./reasoning.ts"

/** A part of an answer's text. */
export interface ScopedText {
  readonly text: string
  /** Stop strings count in it. */
  readonly stops: boolean
}

interface StopScopeOptions {
  /** Text that begins the calls, with which the answer then ends. */
  readonly trigger?: string
  /** The answer, or what comes before the calls, is JSON. */
  readonly json: boolean
  /** The answer may begin with reasoning, which is neither. */
  readonly reasoning?: ReasoningMarks & { readonly inside: boolean }
}

/**
 * Cuts the streamed text of one answer into parts. The result does not depend on how the text is cut into pushes, but for the ends of the
 * parts. Only text that may begin the trigger, or the mark of reasoning, is held back.
 */
export class StopScope {
  #state: "begin" | "thoughts" | "answer" | "calls"
  #held = ""
  #inString = false
  #escaped = false

  constructor(readonly options: StopScopeOptions) {
    const { reasoning } = options
    this.#state = reasoning === undefined ? "answer" : reasoning.inside ? "thoughts" : "begin"
  }

  push(text: string): ScopedText[] {
    const parts: ScopedText[] = []
    let rest = this.#held + text
    this.#held = ""
    const { reasoning, trigger } = this.options
    if (this.#state === "begin" && reasoning !== undefined) {
      const start = rest.trimStart()
      if (start.startsWith(reasoning.open)) this.#state = "thoughts"
      else if (reasoning.open.startsWith(start)) {
        this.#held = rest
        return parts
      } else this.#state = "answer"
    }
    if (this.#state === "thoughts" && reasoning !== undefined) {
      const close = rest.indexOf(reasoning.close)
      if (close < 0) {
        const sure = rest.length - beginning(rest, reasoning.close)
        this.#held = rest.slice(sure)
        return [{ text: rest.slice(0, sure), stops: true }]
      }
      const end = close + reasoning.close.length
      parts.push({ text: rest.slice(0, end), stops: true })
      rest = rest.slice(end)
      this.#state = "answer"
    }
    if (this.#state === "answer") {
      const call = trigger === undefined ? -1 : rest.indexOf(trigger)
      const sure = call >= 0 ? call : rest.length - (trigger === undefined ? 0 : beginning(rest, trigger))
      parts.push(...this.#answer(rest.slice(0, sure)))
      rest = rest.slice(sure)
      if (call >= 0) this.#state = "calls"
      else this.#held = rest
    }
    if (this.#state === "calls") parts.push({ text: rest, stops: false })
    return parts.filter((part) => part.text !== "")
  }

  /** Ends the text and returns what was held back. */
  flush(): ScopedText[] {
    const held = this.#held
    this.#held = ""
    if (held === "") return []
    return this.#state === "answer" ? this.#answer(held) : [{ text: held, stops: true }]
  }

  /** The parts of an answer before its calls: the strings of JSON with their quotes, and everything else. */
  #answer(text: string): ScopedText[] {
    if (!this.options.json) return [{ text, stops: true }]
    const parts: ScopedText[] = []
    let start = 0
    const cut = (end: number, stops: boolean) => {
      if (end > start) parts.push({ text: text.slice(start, end), stops })
      start = end
    }
    for (let i = 0; i < text.length; i++) {
      const character = text.charAt(i)
      if (!this.#inString) {
        if (character !== '"') continue
        cut(i, true)
        this.#inString = true
      } else if (this.#escaped) this.#escaped = false
      else if (character === "\\") this.#escaped = true
      else if (character === '"') {
        cut(i + 1, false)
        this.#inString = false
      }
    }
    cut(text.length, !this.#inString)
    return parts
  }
}
