/**
 * Runs a program over bytes. A state is a set of threads; a thread is a node and a stack of frames to return to. States, stacks and
 * transitions are computed on first use and kept.
 *
 * Walks over a vocabulary use shared states, in which counts that no token can reach are unlimited: most counts of a repetition are one
 * state. The texts of sequences lead to exact states.
 */

import { GrammarError } from "./expr.ts"
import { Count, Kind, UNLIMITED } from "./nodes.ts"
import type { Program } from "./program.ts"
import { BOTTOM, type Frame, Stacks } from "./stacks.ts"

/** The state after a byte that no text can continue with. */
export const DEAD = -1
export const UNKNOWN = -2
/** Most threads of a state, and most nodes visited while it is computed. */
const MAX_THREADS = 4096
const MAX_PASSED = 50_000
/** Most states kept between two tokens: with transitions (a row of 1 KiB), and in all. */
const MAX_KEPT_ROWS = 4096
const MAX_KEPT = 16_384
/** Most rows needed within a token, and most threads and stacks together (`PARTS`), between tokens and within one. */
const MAX_ROWS = 16_384
const MAX_KEPT_PARTS = 250_000
const MAX_PARTS = 1_000_000

/** Initial capacities, in states. */
const FIRST_STATES = 64

/** A state that does not depend on the automaton's numbers. */
type Snapshot = { threads: readonly { node: number; frames: readonly Frame[] }[]; ends: boolean }

/** [n, 2] stack and node; and whether the text may end here. */
type Closure = { threads: readonly number[]; ends: boolean }

export class Automaton {
  /** [nRows, 256] the state after a state and a byte: a number, `DEAD`, or `UNKNOWN` before `step` computed it. Replaced when it grows. */
  next = new Int32Array(0)
  /** [n] by state: the offset of its row in `next`, or -1. Every shared state has one. Replaced when it grows. */
  rows = new Int32Array(0)
  /** [n] 1 for states in which the text may end, because the outermost rule is complete. */
  ends = new Uint8Array(0)
  /** By row: its state. */
  #states: number[] = []
  /** By state: its threads, [n, 2] stack and node. Each node is of kind `bytes`. */
  #threads: Int32Array[] = []
  #known = new Map<string, number>()
  /** By state: the shared state; `UNKNOWN` before it was computed. */
  #shared: number[] = []
  /** Indices in `next` where the exact state after an exact state is another one. */
  #inexact = new Set<number>()
  #stacks: Stacks
  #nThreads = 0

  /** @param reach Most bytes of a walk. */
  constructor(
    readonly program: Program,
    readonly reach: number,
  ) {
    this.#stacks = new Stacks(program, reach)
  }

  get stacks(): Stacks {
    return this.#stacks
  }

  /** Number of states, of their transitions' rows, and of threads and stacks. */
  get size(): { states: number; rows: number; parts: number } {
    return { states: this.#threads.length, rows: this.#states.length, parts: this.#nThreads + this.#stacks.size }
  }

  start(): number {
    return this.#intern(this.#closure([BOTTOM, this.program.root]))
  }

  /** Whether there are so many states that the caller should `forget` them. */
  get isFull(): boolean {
    const { states, rows, parts } = this.size
    return states > MAX_KEPT || rows > MAX_KEPT_ROWS || parts > MAX_KEPT_PARTS
  }

  /** Drops all states. Their numbers become invalid. */
  forget(): void {
    this.next = new Int32Array(0)
    this.rows = new Int32Array(0)
    this.ends = new Uint8Array(0)
    this.#states = []
    this.#threads = []
    this.#known = new Map()
    this.#shared = []
    this.#inexact = new Set()
    this.#stacks = new Stacks(this.program, this.reach)
    this.#nThreads = 0
  }

  snapshot(state: number): Snapshot {
    const threads = this.threads(state)
    const parts: Snapshot["threads"][number][] = []
    for (let i = 0; i < threads.length; i += 2)
      parts.push({ node: threads[i + 1] as number, frames: this.#stacks.frames(threads[i] as number) })
    return { threads: parts, ends: this.ends[state] === 1 }
  }

  restore({ threads, ends }: Snapshot): number {
    const seeds = threads.flatMap(({ node, frames }) => [this.#stacks.of(frames), node])
    return this.#intern(this.#closure(seeds, ends))
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

  /** The shared state with one thread. With the bottom stack, the node's rule counts as the outermost one. */
  single(stack: number, node: number): number {
    return this.#internShared(this.#share(this.#closure([stack, node])))
  }

  /** The shared state after a rule has returned to the top of this stack, which is not the bottom. */
  afterReturn(stack: number): number {
    const seeds: number[] = []
    this.#return(stack, seeds)
    return this.#internShared(this.#share(this.#closure(seeds)))
  }

  /** The state that accepts the same next bytes, up to `reach`, as this state and many others. */
  shared(state: number): number {
    const known = this.#shared[state] as number
    if (known !== UNKNOWN) return known
    const threads = Array.from(this.threads(state))
    const shared = this.#internShared(this.#share({ threads, ends: this.ends[state] === 1 }))
    this.#shared[state] = shared
    return shared
  }

  /** Computes the shared state after the state of a row and a byte. @throws GrammarError when the grammar is too ambiguous. */
  step(row: number, byte: number): number {
    const known = this.next[row + byte] as number
    if (known !== UNKNOWN) return known
    const closure = this.#after(this.threads(this.#states[row >> 8] as number), byte)
    if (closure === undefined) {
      this.next[row + byte] = DEAD
      return DEAD
    }
    const shared = this.#share(closure)
    if (shared !== closure) this.#inexact.add(row + byte)
    const next = this.#internShared(shared)
    this.next[row + byte] = next
    return next
  }

  /** The exact state after a state and bytes, or `DEAD`. @throws GrammarError when the grammar is too ambiguous. */
  read(state: number, bytes: Uint8Array): number {
    let at = state
    let i = 0
    for (; i < bytes.length && this.shared(at) === at; i++) {
      const row = this.rows[at] as number
      const next = this.step(row, bytes[i] as number)
      if (next === DEAD) return DEAD
      if (this.#inexact.has(row + (bytes[i] as number))) break
      at = next
    }
    if (i === bytes.length) return at
    // The states between two tokens are not kept.
    let closure: Closure | undefined
    for (; i < bytes.length; i++) {
      closure = this.#after(closure?.threads ?? this.threads(at), bytes[i] as number)
      if (closure === undefined) return DEAD
    }
    return this.#intern(closure as Closure)
  }

  /** The threads after a byte; `undefined` where there are none. */
  #after(threads: ArrayLike<number>, byte: number): Closure | undefined {
    const { starts, items } = this.program
    const seeds: number[] = []
    for (let i = 0; i < threads.length; i += 2) {
      const node = threads[i + 1] as number
      const end = starts[node + 1] as number
      for (let at = starts[node] as number; at < end; at += 2) {
        const range = items[at] as number
        if (byte >= (range & 0xff) && byte <= range >> 8) seeds.push(threads[i] as number, items[at + 1] as number)
      }
    }
    return seeds.length === 0 ? undefined : this.#closure(seeds)
  }

  /** All byte nodes that are reachable without a byte. @param seeds [n, 2] stack and node; emptied. */
  #closure(seeds: number[], mayEnd = false): Closure {
    const { kinds, starts, items, nNodes } = this.program
    const passed = new Set<number>()
    const threads: number[] = []
    let ends = mayEnd
    while (seeds.length > 0) {
      const node = seeds.pop() as number
      const stack = seeds.pop() as number
      const key = stack * nNodes + node
      if (passed.has(key)) continue
      passed.add(key)
      const from = starts[node] as number
      const kind = kinds[node]
      if (kind === Kind.bytes) threads.push(stack, node)
      else if (kind === Kind.jump) {
        for (let i = from; i < (starts[node + 1] as number); i++) seeds.push(stack, items[i] as number)
      } else if (kind === Kind.call) {
        seeds.push(this.#stacks.push(items[from + 1] as number, stack), items[from] as number)
      } else if (kind === Kind.count) {
        this.#repeat(node, items[from + Count.min] as number, items[from + Count.max] as number, stack, seeds)
      } else if (stack === BOTTOM) ends = true
      else this.#return(stack, seeds)
      if (passed.size > MAX_PASSED || this.#nThreads + this.#stacks.size > MAX_PARTS) throw tooAmbiguous()
    }
    return { threads: this.#stacks.joined(threads), ends }
  }

  #return(stack: number, seeds: number[]): void {
    const { backs, belows, needs, rooms } = this.#stacks
    const below = belows[stack] as number
    const back = backs[stack] as number
    if (this.#stacks.isCounted(stack)) this.#repeat(back, needs[stack] as number, rooms[stack] as number, below, seeds)
    else seeds.push(below, back)
  }

  /** Continues where `need` to `room` repetitions may follow. */
  #repeat(node: number, need: number, room: number, below: number, seeds: number[]): void {
    const { starts, items } = this.program
    const from = starts[node] as number
    if (need === 0) seeds.push(below, items[from + Count.next] as number)
    if (room === 0) return
    const stack = this.#stacks.pushCount(node, oneLess(need), oneLess(room), below)
    seeds.push(stack, items[from + Count.part] as number)
  }

  /** The same with shared stacks. @returns `closure` itself where they are the same. */
  #share(closure: Closure): Closure {
    const { threads, ends } = closure
    let changed = false
    const shared = threads.map((part, i) => {
      if (i % 2 === 1) return part
      const stack = this.#stacks.shared(part)
      changed ||= stack !== part
      return stack
    })
    return changed ? { threads: this.#stacks.joined(shared), ends } : closure
  }

  #intern({ threads, ends }: Closure): number {
    const { nNodes } = this.program
    const keys: number[] = []
    for (let i = 0; i < threads.length; i += 2) keys.push((threads[i] as number) * nNodes + (threads[i + 1] as number))
    keys.sort((a, b) => a - b)
    const distinct = keys.filter((key, i) => key !== keys[i - 1])
    if (distinct.length > MAX_THREADS) throw tooAmbiguous()
    const name = `${ends ? "." : ""}${distinct.join()}`
    const known = this.#known.get(name)
    if (known !== undefined) return known
    const state =
      this.#threads.push(Int32Array.from(distinct.flatMap((key) => [Math.floor(key / nNodes), key % nNodes]))) - 1
    this.#nThreads += distinct.length
    this.#shared.push(UNKNOWN)
    if (state >= this.ends.length) this.#growStates()
    this.ends[state] = ends ? 1 : 0
    this.#known.set(name, state)
    return state
  }

  /** The state of shared threads. It has a row. */
  #internShared(closure: Closure): number {
    const state = this.#intern(closure)
    if (this.rows[state] !== -1) return state
    this.#shared[state] = state
    const row = this.#states.push(state) - 1
    if (row * 256 >= this.next.length) this.#growRows()
    this.rows[state] = row * 256
    return state
  }

  #growStates(): void {
    const nBefore = this.ends.length
    const n = Math.max(FIRST_STATES, 2 * nBefore)
    const rows = new Int32Array(n).fill(-1, nBefore)
    rows.set(this.rows)
    const ends = new Uint8Array(n)
    ends.set(this.ends)
    this.rows = rows
    this.ends = ends
  }

  #growRows(): void {
    const nBefore = this.next.length
    if (nBefore >= MAX_ROWS * 256) throw tooAmbiguous()
    const n = Math.max(FIRST_STATES * 256, 2 * nBefore)
    const next = new Int32Array(n).fill(UNKNOWN, nBefore)
    next.set(this.next)
    this.next = next
  }
}

/** An unlimited number stays so. */
const oneLess = (bound: number): number => (bound === 0 || bound === UNLIMITED ? bound : bound - 1)

const tooAmbiguous = (): GrammarError =>
  new GrammarError("there are too many ways to read a text; write it so that fewer alternatives begin alike")
