/** Token masks: which tokens may come next. Bit i % 32 of word i / 32 stands for token i. */

import { Automaton, DEAD, UNKNOWN } from "./automaton.ts"
import { Count, UNLIMITED } from "./nodes.ts"
import type { Program } from "./program.ts"
import { BOTTOM } from "./stacks.ts"
import { BYTE_AND_DEPTH, DEEPEST, FIRST, NODE, SKIP, type TokenTrie } from "./token-trie.ts"

/**
 * Tokens that one node allows, whatever called its rule. For a node in the part of a count node, this includes the repetitions and what
 * follows them in the count node's rule.
 */
export interface NodeTokens {
  /** Tokens that end within the rule: as a mask, or as a list where they are few. */
  mask: Uint32Array | undefined
  list: Int32Array | undefined
  /** Nodes of the trie at which the rule may end. The rest of a longer token must match the caller. */
  returns: Int32Array
}

/** Most masks that are kept: for states, for threads, and for nodes without a list. */
const MAX_STATE_MASKS = 128
const MAX_NODE_MASKS = 256
/** Grammars share the tokens in a repetition that can end after fewer further ones, or never within a token. */
const FEW_NEEDED = 4
/** For a state that accepts at most this many bytes, only their children of the root are visited. */
const FEW_BYTES = 64

/** The masks of one grammar. The tokens that a node allows are computed once: most of a mask does not depend on the callers. */
export class Masks {
  readonly automaton: Automaton
  readonly #trie: TokenTrie
  readonly #nWords: number
  /** By shared state, least recently used first. */
  #masks = new Map<number, Uint32Array>()
  /** By thread of a repetition without an upper bound: its mask, with its callers'. */
  #threads = new Map<number, Uint32Array>()
  readonly #nodes = new Map<string, NodeTokens>()
  #nNodeMasks = 0
  /** By depth: the row of the state at the current path's node of the trie. */
  readonly #path: Int32Array
  /** Control tokens that count as their text. */
  readonly #visible: readonly [token: number, text: Uint8Array][]

  /** @param common Results for nodes that grammars over this vocabulary share. @param visible Control tokens that count as their text. */
  constructor(
    program: Program,
    trie: TokenTrie,
    readonly common: Map<string, NodeTokens> = new Map(),
    visible: readonly number[] = [],
  ) {
    const shown = visible.map((token) => trie.controls.get(token) ?? new Uint8Array(0))
    this.automaton = new Automaton(program, Math.max(trie.longest, ...shown.map(({ length }) => length)))
    this.#trie = trie
    this.#nWords = Math.ceil(trie.nVocab / 32)
    this.#path = new Int32Array(trie.longest + 1)
    this.#visible = visible.map((token, i) => [token, shown[i] as Uint8Array])
  }

  /** The mask of a state, [ceil(nVocab / 32)]. Do not write into it. */
  of(state: number): Uint32Array {
    const shared = this.automaton.shared(state)
    const known = this.#masks.get(shared)
    if (known) {
      this.#masks.delete(shared)
      this.#masks.set(shared, known)
      return known
    }
    const mask = this.#make(shared)
    keep(this.#masks, shared, mask)
    return mask
  }

  /** The state after a token, or `DEAD`. */
  after(state: number, token: number): number {
    const shown = this.#visible.find(([id]) => id === token)?.[1]
    return this.#read(state, shown ?? this.#trie.bytesOf(token))
  }

  forget(): void {
    this.automaton.forget()
    this.#masks = new Map()
    this.#threads = new Map()
  }

  #read(state: number, bytes: Uint8Array): number {
    return bytes.length === 0 ? DEAD : this.automaton.read(state, bytes)
  }

  #make(state: number): Uint32Array {
    const mask = new Uint32Array(this.#nWords)
    const threads = this.automaton.threads(state)
    for (let i = 0; i < threads.length; i += 2) this.#allow(threads[i] as number, threads[i + 1] as number, mask)
    for (const [token, text] of this.#visible) if (this.#read(state, text) !== DEAD) allow(mask, token)
    return mask
  }

  /** Adds the tokens that a thread allows. */
  #allow(stack: number, node: number, mask: Uint32Array): void {
    const { automaton } = this
    const { stacks } = automaton
    if (!stacks.isCounted(stack)) {
      this.#allowAll(this.#tokens(node), stack, mask)
      return
    }
    const room = stacks.rooms[stack] as number
    if (room !== UNLIMITED) {
      const own = this.#unlimited(stacks.unlimited(stack), node).slice()
      const { items, starts } = automaton.program
      const shortest = items[(starts[stacks.backs[stack] as number] as number) + Count.shortest] as number
      // Only longer tokens can end the current repetition, read the others and begin one more.
      const nBytes = 1 + room * shortest
      if (nBytes < this.#trie.longest) this.#walk(0, automaton.single(stack, node), own, nBytes)
      add(mask, own)
      return
    }
    const count = stacks.backs[stack] as number
    this.#allowAll(this.#tokens(node, count, stacks.needs[stack]), stacks.belows[stack] as number, mask)
  }

  #unlimited(stack: number, node: number): Uint32Array {
    const key = stack * this.automaton.program.nNodes + node
    const known = this.#threads.get(key)
    if (known) return known
    const mask = new Uint32Array(this.#nWords)
    this.#allow(stack, node, mask)
    keep(this.#threads, key, mask)
    return mask
  }

  /** Adds tokens, and those that go on after the return to a stack. */
  #allowAll({ mask: words, list, returns }: NodeTokens, stack: number, mask: Uint32Array): void {
    if (words) add(mask, words)
    if (list) for (const token of list) allow(mask, token)
    if (stack === BOTTOM || returns.length === 0) return
    const caller = this.automaton.afterReturn(stack)
    for (const at of returns) this.#walk(at, caller, mask)
  }

  /** @param count The count node whose part contains the node, without an upper bound but after at least `need` more repetitions. */
  #tokens(node: number, count?: number, need = 0): NodeTokens {
    const { program, stacks } = this.automaton
    const isFrequent = need < FEW_NEEDED || need === UNLIMITED
    const shared =
      count === undefined ? program.common.get(node) : isFrequent ? program.commonIn(count, node) : undefined
    const name = shared === undefined || count === undefined ? shared : `${shared} ${need}`
    const key = count === undefined ? `${node}` : `${node} ${count} ${need}`
    const known = name === undefined ? this.#nodes.get(key) : this.common.get(name)
    if (known) return known
    const mask = new Uint32Array(this.#nWords)
    const returns: number[] = []
    const stack = count === undefined ? BOTTOM : stacks.pushCount(count, need, UNLIMITED, BOTTOM)
    this.#walk(0, this.automaton.single(stack, node), mask, 0, returns)
    const found = { ...listed(mask), returns: Int32Array.from(returns) }
    if (name !== undefined) {
      this.common.set(name, found)
      return found
    }
    if (found.mask && ++this.#nNodeMasks > MAX_NODE_MASKS) {
      this.#nodes.clear()
      this.#nNodeMasks = 1
    }
    this.#nodes.set(key, found)
    return found
  }

  /**
   * Sets the bits of tokens longer than `skipped` bytes below a node of the trie: 1 where the state accepts them, otherwise 0. Bits of
   * shorter tokens are not changed.
   * @param returns Filled with the inner nodes of the trie at which the text may end.
   */
  #walk(from: number, state: number, mask: Uint32Array, skipped = 0, returns?: number[]): void {
    const { nodes, children } = this.#trie
    const few = from === 0 && skipped === 0 ? this.automaton.bytes(state, FEW_BYTES) : undefined
    this.#path[(nodes[from + BYTE_AND_DEPTH] as number) >> 8] = this.automaton.rows[state] as number
    if (few === undefined) {
      this.#walkThrough(from + NODE, nodes[from + SKIP] as number, mask, skipped, returns)
      return
    }
    for (const byte of few) {
      const child = children[byte] as number
      if (child > 0) this.#walkThrough(child, nodes[child + SKIP] as number, mask, 0, returns)
    }
  }

  /** Does this for the nodes from `from` to `end`; `#path` holds the rows up to the parent of the first. */
  #walkThrough(from: number, end: number, mask: Uint32Array, skipped: number, returns: number[] | undefined): void {
    const { nodes, tokens } = this.#trie
    const { automaton } = this
    const path = this.#path
    for (let i = from; i < end; ) {
      const after = nodes[i + SKIP] as number
      if ((nodes[i + DEEPEST] as number) <= skipped) {
        i = after
        continue
      }
      const byteAndDepth = nodes[i + BYTE_AND_DEPTH] as number
      const depth = byteAndDepth >> 8
      const byte = byteAndDepth & 0xff
      const row = path[depth - 1] as number
      let next = automaton.next[row + byte] as number
      if (next === UNKNOWN) next = automaton.step(row, byte)
      if (next === DEAD) {
        if (skipped > 0) this.#forbid(i, skipped, mask)
        i = after
        continue
      }
      path[depth] = automaton.rows[next] as number
      if (depth > skipped) {
        const last = nodes[i + NODE + FIRST] as number
        for (let k = nodes[i + FIRST] as number; k < last; k++) allow(mask, tokens[k] as number)
        if (returns && automaton.ends[next] === 1 && after > i + NODE) returns.push(i)
      }
      i += NODE
    }
  }

  /** Clears the bits of tokens longer than `skipped` bytes at and below a node of the trie. */
  #forbid(node: number, skipped: number, mask: Uint32Array): void {
    const { nodes, tokens } = this.#trie
    const end = nodes[node + SKIP] as number
    for (let i = node; i < end; ) {
      if ((nodes[i + DEEPEST] as number) <= skipped) {
        i = nodes[i + SKIP] as number
        continue
      }
      if ((nodes[i + BYTE_AND_DEPTH] as number) >> 8 > skipped) {
        const last = nodes[i + NODE + FIRST] as number
        for (let k = nodes[i + FIRST] as number; k < last; k++) forbid(mask, tokens[k] as number)
      }
      i += NODE
    }
  }
}

function add(mask: Uint32Array, more: Uint32Array): void {
  for (let w = 0; w < more.length; w++) mask[w] = (mask[w] as number) | (more[w] as number)
}

/** Keeps a mask, and drops the least recently used one where there are too many. */
function keep(masks: Map<number, Uint32Array>, key: number, mask: Uint32Array): void {
  if (masks.size >= MAX_STATE_MASKS) masks.delete(masks.keys().next().value as number)
  masks.set(key, mask)
}

/** Turns a mask of few tokens into a list. */
function listed(mask: Uint32Array): Pick<NodeTokens, "mask" | "list"> {
  const list: number[] = []
  for (let w = 0; w < mask.length; w++) {
    for (let bits = mask[w] as number; bits !== 0; bits &= bits - 1) {
      if (list.length === mask.length) return { mask, list: undefined }
      list.push(w * 32 + 31 - Math.clz32(bits & -bits))
    }
  }
  return { mask: undefined, list: Int32Array.from(list) }
}

function allow(mask: Uint32Array, token: number): void {
  const word = token >>> 5
  mask[word] = (mask[word] as number) | (1 << (token & 31))
}

function forbid(mask: Uint32Array, token: number): void {
  const word = token >>> 5
  mask[word] = (mask[word] as number) & ~(1 << (token & 31))
}
