/**
 * The prefix cache: full blocks of K/V, found again by their tokens and all tokens before them. It is a radix tree with one block at
 * each node, under its sixteen tokens themselves, so that no block is ever taken for another one because their hashes are equal.
 */

import { BLOCK_SIZE } from "../native/abi.ts"

export interface CachedBlock {
  /** Of the K/V cache. */
  readonly id: number
  /** `blockKey` of its tokens. */
  readonly key: string
  /** The block before it; `undefined`: it begins a text. */
  readonly parent: CachedBlock | undefined
  children: Map<string, CachedBlock> | undefined
  /** Sequences that read it. Each of them reads its parent too. */
  holders: number
}

/** The name of a block of tokens: the tokens, as two UTF-16 units each. The first block of a text has the salt in front. */
export function blockKey(tokenAt: (position: number) => number, block: number, salt: string): string {
  const units = new Array<number>(2 * BLOCK_SIZE)
  for (let i = 0; i < BLOCK_SIZE; i++) {
    const token = tokenAt(block * BLOCK_SIZE + i)
    units[2 * i] = token & 0xffff
    units[2 * i + 1] = token >>> 16
  }
  const tokens = String.fromCharCode(...units)
  return block === 0 ? salt + tokens : tokens
}

export class PrefixCache {
  readonly #roots = new Map<string, CachedBlock>()
  /** Blocks that nobody holds, the one that was left longest ago first. */
  readonly #idle = new Set<CachedBlock>()

  /** @param keep Whether a block that nobody holds any more stays to be found. */
  constructor(readonly keep: boolean) {}

  /** Blocks that nobody holds. */
  get nIdle(): number {
    return this.#idle.size
  }

  /** The block with these tokens after `parent`. */
  find(parent: CachedBlock | undefined, key: string): CachedBlock | undefined {
    return this.#children(parent)?.get(key)
  }

  hold(block: CachedBlock): void {
    if (block.holders++ === 0) this.#idle.delete(block)
  }

  /** Remembers a block for the one sequence that has just filled it. It must not be written any more. */
  insert(parent: CachedBlock | undefined, key: string, id: number): CachedBlock {
    const block: CachedBlock = { id, key, parent, children: undefined, holders: 1 }
    if (parent) parent.children ??= new Map()
    this.#children(parent)?.set(key, block)
    return block
  }

  /**
   * One holder less. A text's blocks are left from the last to the first: a block is then idle before its parent, and evicted before it.
   * @returns the block's id if it is free now.
   */
  leave(block: CachedBlock): number | undefined {
    if (--block.holders > 0) return undefined
    if (this.keep) {
      this.#idle.add(block)
      return undefined
    }
    this.forget(block)
    return block.id
  }

  /** Gives up the block that was left longest ago, and returns its id. */
  evict(): number | undefined {
    const oldest = this.#idle.values().next().value
    if (oldest === undefined) return undefined
    this.#idle.delete(oldest)
    this.forget(oldest)
    return oldest.id
  }

  /** The block, and all after it, will not be found again; who holds them keeps them. */
  forget(block: CachedBlock): void {
    const siblings = this.#children(block.parent)
    if (siblings?.get(block.key) === block) siblings.delete(block.key)
  }

  #children(parent: CachedBlock | undefined): Map<string, CachedBlock> | undefined {
    return parent ? parent.children : this.#roots
  }
}
