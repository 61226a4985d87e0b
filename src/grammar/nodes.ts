/** The nodes of a program, in flat arrays. */

import { GrammarError } from "./expr.ts"

/** What a node does. Its items are its part of `Nodes.items`. */
export const Kind = {
  /** Returns to the caller, or ends the text. */
  end: 0,
  /** Accepts a byte. Items: [n, 2] first | last << 8, and the next node. */
  bytes: 1,
  /** Continues at any of its items. */
  jump: 2,
  /** Continues at the first item, and after its end at the second. */
  call: 3,
  /** Calls a part as often as its bounds say. Its items are those of `Count`. */
  count: 4,
} as const

/** Items of a count node, as offsets. */
export const Count = {
  part: 0,
  next: 1,
  min: 2,
  max: 3,
  /** Bytes of the part's shortest text, up to a limit. At least 1. */
  shortest: 4,
} as const

/** The `max` of a count node without an upper bound. It is above all others. */
export const UNLIMITED = 2 ** 26 - 1
/** The node that ends every rule. */
export const END = 0
/** Most nodes of a program. A node takes about 30 bytes. */
const MAX_NODES = 200_000

export class Nodes {
  readonly kinds: number[] = [Kind.end]
  /** [nNodes + 1] where each node's items begin. */
  readonly starts: number[] = [0, 0]
  readonly items: number[] = []

  get nNodes(): number {
    return this.kinds.length
  }

  /** Adds a node. @returns its number. @throws GrammarError where there are {@link MAX_NODES}. */
  add(kind: number, items: readonly number[]): number {
    if (this.kinds.length >= MAX_NODES) {
      throw new GrammarError(`the grammar has more than ${MAX_NODES} nodes; use shorter texts, or fewer alternatives`)
    }
    for (const item of items) this.items.push(item)
    this.starts.push(this.items.length)
    return this.kinds.push(kind) - 1
  }
}
