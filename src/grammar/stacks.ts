/**
 * The stacks of an automaton's threads. A frame is the node to return to. A frame of a count node also has the number of repetitions that
 * may follow the current one: at least `need`, at most `room`. Equal stacks have equal numbers.
 */

import { Count, type Nodes, UNLIMITED } from "./nodes.ts"

/** The stack of the outermost rule. */
export const BOTTOM = 0
/** More than there are stacks or frames; a pair of two numbers is exact in a double. */
const RADIX = 2 ** 26

/** The node to return to, and in a counted frame its bounds. */
export type Frame = readonly [node: number, need?: number, room?: number]

export class Stacks {
  /** By stack: the node to return to, and the stack below it. */
  readonly backs: number[] = [0]
  readonly belows: number[] = [BOTTOM]
  /** By stack: the bounds of its top frame; 0 where it is not counted. */
  readonly needs: number[] = [0]
  readonly rooms: number[] = [0]
  readonly #program: Nodes
  readonly #reach: number
  /** By stack: the stack that its nearest counted frame is the top of; 0 where it has none. */
  readonly #nearest: number[] = [0]
  /** By stack: what `shared` returns; 0 before it was computed. */
  readonly #shared: number[] = [0]
  readonly #known = new Map<number, number>()
  /** By count node and bounds: a number for the frame, above all nodes. */
  readonly #frames = new Map<number, Map<number, number>>()
  #nFrames: number

  /** @param reach Most bytes that are read after `shared`. */
  constructor(program: Nodes, reach: number) {
    this.#program = program
    this.#reach = reach
    this.#nFrames = program.nNodes
  }

  get size(): number {
    return this.backs.length
  }

  /** Whether the top frame is that of a count node. */
  isCounted(stack: number): boolean {
    return stack !== BOTTOM && this.#nearest[stack] === stack
  }

  push(node: number, below: number): number {
    return this.#intern(node, below, node, 0, 0)
  }

  pushCount(node: number, need: number, room: number, below: number): number {
    let frames = this.#frames.get(node)
    if (!frames) {
      frames = new Map()
      this.#frames.set(node, frames)
    }
    const bounds = need * RADIX + room
    let frame = frames.get(bounds)
    if (frame === undefined) {
      frame = this.#nFrames++
      frames.set(bounds, frame)
    }
    return this.#intern(node, below, frame, need, room)
  }

  /** This stack, whose top frame is counted, without an upper bound there. */
  unlimited(stack: number): number {
    const need = this.needs[stack] as number
    return this.pushCount(this.backs[stack] as number, need, UNLIMITED, this.belows[stack] as number)
  }

  /**
   * A stack from which the same next bytes can be read, up to `reach`. Bounds that so few bytes cannot reach are unlimited there: an
   * unlimited `need` is never fulfilled. So most counts share one stack.
   */
  shared(stack: number): number {
    const above: number[] = []
    let at = stack
    for (; this.#nearest[at] !== 0 && this.#shared[at] === 0; at = this.belows[at] as number) above.push(at)
    let made = this.#nearest[at] === 0 ? at : (this.#shared[at] as number)
    for (let k = above.length - 1; k >= 0; k--) {
      const frame = above[k] as number
      made = this.isCounted(frame) ? this.#sharedFrame(frame, made) : this.push(this.backs[frame] as number, made)
      this.#shared[frame] = made
      this.#shared[made] = made
    }
    return made
  }

  #sharedFrame(stack: number, below: number): number {
    const node = this.backs[stack] as number
    const { items, starts } = this.#program
    const shortest = items[(starts[node] as number) + Count.shortest] as number
    // The current repetition ends after one byte or more.
    const most = Math.floor((this.#reach - 1) / shortest)
    const cut = (bound: number): number => (bound > most ? UNLIMITED : bound)
    return this.pushCount(node, cut(this.needs[stack] as number), cut(this.rooms[stack] as number), below)
  }

  /**
   * Joins threads that differ in the bounds of one counted frame alone, where the union of the bounds has no gap.
   * @param threads [n, 2] stack and node.
   * @returns `threads` itself where none can be joined.
   */
  joined(threads: readonly number[]): readonly number[] {
    const byNode = new Map<number, number[]>()
    const out: number[] = []
    let nCounted = 0
    for (let i = 0; i < threads.length; i += 2) {
      const [stack, node] = [threads[i] as number, threads[i + 1] as number]
      if (this.#nearest[stack] === 0) {
        out.push(stack, node)
        continue
      }
      nCounted++
      const stacks = byNode.get(node)
      if (stacks) stacks.push(stack)
      else byNode.set(node, [stack])
    }
    if (byNode.size === nCounted) return threads
    for (const [node, stacks] of byNode) for (const stack of this.#joinedAt(stacks)) out.push(stack, node)
    return out
  }

  /** Joins stacks, level by level, until none of them can be joined. Level 0 is that of the nearest counted frames. */
  #joinedAt(stacks: readonly number[]): readonly number[] {
    let kept = stacks
    for (let level = 0, nBefore = 0; kept.length > 1; level++) {
      if (level === 0) nBefore = kept.length
      const groups = new Map<number, number[]>()
      for (const stack of kept) {
        const key = this.#withBounds(stack, level, 0, 0)
        const group = groups.get(key)
        if (group) group.push(stack)
        else groups.set(key, [stack])
      }
      kept = [...groups.values()].flatMap((group) => (group.length > 1 ? this.#unions(group, level) : group))
      if (kept.some((stack) => this.#counted(stack, level + 1) !== 0)) continue
      if (kept.length === nBefore) break
      level = -1
    }
    return kept
  }

  /** @param group Stacks that differ in the bounds of this level's frame alone. */
  #unions(group: readonly number[], level: number): number[] {
    const bounds = group.map((stack) => {
      const frame = this.#counted(stack, level)
      return { need: this.needs[frame] as number, room: this.rooms[frame] as number, stack }
    })
    bounds.sort((a, b) => a.need - b.need)
    const unions: typeof bounds = []
    for (const next of bounds) {
      const last = unions.at(-1)
      if (!last || next.need > last.room + 1) unions.push(next)
      else if (next.room > last.room) last.room = next.room
    }
    return unions.map(({ need, room, stack }) => this.#withBounds(stack, level, need, room))
  }

  /** The stack at or below this one whose top is the counted frame of this level; 0 where there is none. */
  #counted(stack: number, level: number): number {
    let at = this.#nearest[stack] as number
    for (let k = 0; k < level && at !== 0; k++) at = this.#nearest[this.belows[at] as number] as number
    return at
  }

  /** The stack with other bounds in the counted frame of this level, or itself where it has none. */
  #withBounds(stack: number, level: number, need: number, room: number): number {
    const frame = this.#counted(stack, level)
    if (frame === 0) return stack
    const above: number[] = []
    for (let at = stack; at !== frame; at = this.belows[at] as number) above.push(at)
    let made = this.pushCount(this.backs[frame] as number, need, room, this.belows[frame] as number)
    for (let k = above.length - 1; k >= 0; k--) made = this.#pushLike(above[k] as number, made)
    return made
  }

  /** Pushes the top frame of another stack. */
  #pushLike(stack: number, below: number): number {
    const back = this.backs[stack] as number
    if (!this.isCounted(stack)) return this.push(back, below)
    return this.pushCount(back, this.needs[stack] as number, this.rooms[stack] as number, below)
  }

  /** The frames of a stack from the top to the bottom. They do not depend on the numbers of stacks. */
  frames(stack: number): Frame[] {
    const frames: Frame[] = []
    for (let at = stack; at !== BOTTOM; at = this.belows[at] as number) {
      const node = this.backs[at] as number
      frames.push(this.isCounted(at) ? [node, this.needs[at] as number, this.rooms[at] as number] : [node])
    }
    return frames
  }

  /** The stack of these frames. */
  of(frames: readonly Frame[]): number {
    return frames.reduceRight(
      (below, [node, need, room]) =>
        need === undefined || room === undefined ? this.push(node, below) : this.pushCount(node, need, room, below),
      BOTTOM,
    )
  }

  #intern(node: number, below: number, frame: number, need: number, room: number): number {
    const key = below * RADIX + frame
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const stack = this.backs.push(node) - 1
    this.belows.push(below)
    this.needs.push(need)
    this.rooms.push(room)
    this.#nearest.push(frame === node ? (this.#nearest[below] as number) : stack)
    this.#shared.push(0)
    this.#known.set(key, stack)
    return stack
  }
}
