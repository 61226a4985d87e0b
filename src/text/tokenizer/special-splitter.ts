import type { StripRules } from "./special-tokens.ts"

interface Node {
  next: Map<number, Node>
  id: number
}

/** Where a text has special tokens: called with each stretch of plain text and each token, in order. */
interface SplitHandler {
  text(text: string): void
  token(id: number): void
}

const SPACES = " \t\n\v\f\r"

/** Finds tokens that stand in a text as themselves, leftmost first and longest among those, in one pass. */
export class SpecialSplitter {
  readonly #strip: StripRules
  readonly #root: Node = { next: new Map(), id: -1 }
  /** [65536] 1 where some token starts with that UTF-16 unit. */
  readonly #starts = new Uint8Array(0x10000)
  readonly #empty: boolean

  constructor(ids: readonly number[], tokens: readonly string[], strip: StripRules) {
    this.#strip = strip
    let any = false
    for (const id of ids) {
      const text = tokens[id] ?? ""
      if (text.length === 0) continue
      any = true
      this.#starts[text.charCodeAt(0)] = 1
      let node = this.#root
      for (let i = 0; i < text.length; i++) {
        const unit = text.charCodeAt(i)
        let child = node.next.get(unit)
        if (!child) {
          child = { next: new Map(), id: -1 }
          node.next.set(unit, child)
        }
        node = child
      }
      node.id = id
    }
    this.#empty = !any
  }

  split(text: string, handler: SplitHandler): void {
    if (this.#empty) {
      if (text.length > 0) handler.text(text)
      return
    }
    let plainFrom = 0
    let at = 0
    while (at < text.length) {
      if (this.#starts[text.charCodeAt(at)] === 0) {
        at++
        continue
      }
      const { id, end } = this.#longestAt(text, at)
      if (id < 0) {
        at++
        continue
      }
      let plainTo = at
      if (this.#strip.left.has(id))
        while (plainTo > plainFrom && SPACES.includes(text[plainTo - 1] as string)) plainTo--
      if (plainTo > plainFrom) handler.text(text.slice(plainFrom, plainTo))
      handler.token(id)
      at = end
      if (this.#strip.right.has(id)) while (at < text.length && SPACES.includes(text[at] as string)) at++
      plainFrom = at
    }
    if (plainFrom < text.length) handler.text(text.slice(plainFrom))
  }

  #longestAt(text: string, start: number): { id: number; end: number } {
    let node: Node | undefined = this.#root
    let id = -1
    let end = start
    for (let i = start; i < text.length; i++) {
      node = node.next.get(text.charCodeAt(i))
      if (!node) break
      if (node.id >= 0) {
        id = node.id
        end = i + 1
      }
    }
    return { id, end }
  }
}
