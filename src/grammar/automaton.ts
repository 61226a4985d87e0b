/**
 * Runs a program over bytes. A state is a set of threads; a thread is a node and a stack of nodes to return to. States, stacks and
 * transitions are computed on first use and kept.
 */

import { GrammarError } from "./expr.ts"
import { Kind, type Program } from "./program.ts"

/** The state after a byte that no text can continue with. */
export const DEAD = -1
export const UNKNOWN = -2
/** The stack of the outermost rule. */
export const BOTTOM = 0
/** Most threads of a state, and most nodes visited while it is computed. */
const MAX_THREADS = 4096
const MAX_PASSED = 50_000
/** Most states kept between two tokens, and most needed within one; the same for threads and stacks together (`PARTS`). */
const MAX_KEPT = 4096
const MAX_STATES = 16_384
const MAX_KEPT_PARTS = 250_000
const MAX_PARTS = 1_000_000

/** Initial capacity, in states. */
const FIRST_STATES = 64

/** A state that does not depend on the automaton's numbers: for each thread, its node and the nodes to return to. */
type Snapshot = { threads: readonly (readonly number[])[]; ends: boolean }

export class Automaton {
  /** [n, 256] the state after a state and a byte: a number, `DEAD`, or `UNKNOWN` before `step` computed it. Replaced when it grows. */
  next = new Int32Array(0)
  /** [n] 1 for states in which the text may end, because the outermost rule is complete. */
  ends = new Uint8Array(0)
  /** By state: its threads, [n, 2] stack and node. Each node is of kind `bytes`. */
  #threads: Int32Array[] = []
  #known = new Map<string, number>()
  /** By stack: the node to return to, and the stack below it. */
  #backs: number[] = [0]
  #belows: number[] = [0]
  #stacks = new Map<number, number>()
  #nParts = 0

  constructor(readonly program: Program) {}

  start(): number {
    return this.#closure([BOTTOM, this.program.root])
  }

  /** Whether there are so many states that the caller should `forget` them. */
  get isFull(): boolean {
    return this.#threads.length > MAX_KEPT || this.#nParts > MAX_KEPT_PARTS
  }

  /** Drops all states. Their numbers become invalid. */
  forget(): void {
    this.next = new Int32Array(0)
    this.ends = new Uint8Array(0)
    this.#threads = []
    this.#known = new Map()
    this.#backs = [0]
    this.#belows = [0]
    this.#stacks = new Map()
    this.#nParts = 0
  }

  snapshot(state: number): Snapshot {
    const threads = this.threads(state)
    const paths: number[][] = []
    for (let i = 0; i < threads.length; i += 2) {
      const path = [threads[i + 1] as number]
      for (let s = threads[i] as number; s !== BOTTOM; s = this.#belows[s] as number)
        path.push(this.#backs[s] as number)
      paths.push(path)
    }
    return { threads: paths, ends: this.ends[state] === 1 }
  }

  restore({ threads, ends }: Snapshot): number {
    const seeds = threads.flatMap(([node, ...backs]) => [
      backs.reduceRight((below, back) => this.#stack(back, below), BOTTOM),
      node as number,
    ])
    return this.#closure(seeds, ends)
  }

  /** [n, 2] stack and node. */
  threads(state: number): Int32Array {
    return this.#threads[state] as Int32Array
  }

  /** [n] the distinct bytes that any thread accepts; `undefined` where they are more than `most`. */
  bytes(state: number, most: number): readonly number[] | undefined {
    const { starts, items } = this.program
    const threads = this.threads(state)
    const found = new Set<number>()
    for (let i = 1; i < threads.length; i += 2) {
      const node = threads[i] as number
      for (let at = starts[node] as number; at < (starts[node + 1] as number); at += 2) {
        const range = items[at] as number
        if ((range >> 8) - (range & 0xff) >= most) return undefined
        for (let byte = range & 0xff; byte <= range >> 8; byte++) found.add(byte)
      }
      if (found.size > most) return undefined
    }
    return [...found]
  }

  /** The state with one thread. With the bottom stack, the node's rule counts as the outermost one. */
  single(stack: number, node: number): number {
    return this.#closure([stack, node])
  }

  /** The state after a rule has returned to the top of this stack, which is not the bottom. */
  afterReturn(stack: number): number {
    return this.#closure([this.#belows[stack] as number, this.#backs[stack] as number])
  }

  /** Computes the state after a byte. @throws GrammarError when the grammar is too ambiguous. */
  step(state: number, byte: number): number {
    const at = state * 256 + byte
    const known = this.next[at] as number
    if (known !== UNKNOWN) return known
    const { starts, items } = this.program
    const seeds: number[] = []
    const threads = this.threads(state)
    for (let i = 0; i < threads.length; i += 2) {
      const node = threads[i + 1] as number
      const end = starts[node + 1] as number
      for (let at = starts[node] as number; at < end; at += 2) {
        const range = items[at] as number
        if (byte >= (range & 0xff) && byte <= range >> 8) seeds.push(threads[i] as number, items[at + 1] as number)
      }
    }
    const next = seeds.length === 0 ? DEAD : this.#closure(seeds)
    this.next[at] = next
    return next
  }

  #stack(back: number, below: number): number {
    const key = below * this.program.nNodes + back
    let stack = this.#stacks.get(key)
    if (stack === undefined) {
      this.#count(1)
      stack = this.#backs.push(back) - 1
      this.#belows.push(below)
      this.#stacks.set(key, stack)
    }
    return stack
  }

  /** The state of all byte nodes that are reachable without a byte. @param seeds [n, 2] stack and node; emptied. */
  #closure(seeds: number[], mayEnd = false): number {
    const { kinds, starts, items, nNodes } = this.program
    const passed = new Set<number>()
    const keys: number[] = []
    let ends = mayEnd
    while (seeds.length > 0) {
      const node = seeds.pop() as number
      const stack = seeds.pop() as number
      const key = stack * nNodes + node
      if (passed.has(key)) continue
      passed.add(key)
      const from = starts[node] as number
      const kind = kinds[node]
      if (kind === Kind.bytes) keys.push(key)
      else if (kind === Kind.jump) {
        for (let i = from; i < (starts[node + 1] as number); i++) seeds.push(stack, items[i] as number)
      } else if (kind === Kind.call) {
        seeds.push(this.#stack(items[from + 1] as number, stack), items[from] as number)
      } else if (stack === BOTTOM) ends = true
      else seeds.push(this.#belows[stack] as number, this.#backs[stack] as number)
      if (passed.size > MAX_PASSED) throw tooAmbiguous()
    }
    return this.#intern(keys, ends)
  }

  #intern(keys: number[], ends: boolean): number {
    if (keys.length > MAX_THREADS) throw tooAmbiguous()
    keys.sort((a, b) => a - b)
    const name = `${ends ? "." : ""}${keys.join()}`
    let state = this.#known.get(name)
    if (state === undefined) {
      const { nNodes } = this.program
      const threads = Int32Array.from(keys.flatMap((key) => [Math.floor(key / nNodes), key % nNodes]))
      this.#count(keys.length)
      state = this.#threads.push(threads) - 1
      if (state >= this.ends.length) this.#grow()
      this.ends[state] = ends ? 1 : 0
      this.#known.set(name, state)
    }
    return state
  }

  #count(nParts: number): void {
    this.#nParts += nParts
    if (this.#nParts > MAX_PARTS) throw tooAmbiguous()
  }

  #grow(): void {
    const nBefore = this.ends.length
    if (nBefore >= MAX_STATES) throw tooAmbiguous()
    const n = Math.max(FIRST_STATES, 2 * nBefore)
    const next = new Int32Array(n * 256).fill(UNKNOWN, nBefore * 256)
    next.set(this.next)
    const ends = new Uint8Array(n)
    ends.set(this.ends)
    this.next = next
    this.ends = ends
  }
}

const tooAmbiguous = (): GrammarError =>
  new GrammarError("there are too many ways to read a text; write it so that fewer alternatives begin alike")
