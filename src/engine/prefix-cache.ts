/**
 * The prefix cache: full K/V blocks, found by their tokens and all tokens before them. It is a radix tree with one block per node. The keys
 * are the sixteen tokens themselves, not a hash, so two different blocks never collide.
 */

import { BLOCK_SIZE } from "../native/abi.ts"

export interface CachedBlock {
  /** Number of the block in the K/V cache. */
  readonly id: number
  /** `blockKey` of its tokens. */
  readonly key: string
  /** The block before this one; `undefined` for a sequence's first block. */
  readonly parent: CachedBlock | undefined
  children: Map<string, CachedBlock> | undefined
  /** Sequences that hold the block. Each of them holds the parent too. */
  holders: number
}

/** Cache key of a block: its tokens, as two UTF-16 units each. The salt precedes the key of a sequence's first block. */
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
  /** Blocks without holders, least recently released first. */
  readonly #idle = new Set<CachedBlock>()

  /** @param keep Whether blocks without holders stay in the cache. */
  constructor(readonly keep: boolean) {}

  /** Number of blocks without holders. */
  get nIdle(): number {
    return this.#idle.size
  }

  /** The block with these tokens after `parent`. */
  find(parent: CachedBlock | undefined, key: string): CachedBlock | undefined {
    return this.#children(parent)?.get(key)
  }

  acquire(block: CachedBlock): void {
    if (block.holders++ === 0) this.#idle.delete(block)
  }

  /** Adds a block, held by the sequence that has just filled it. The block must not be written again. */
  insert(parent: CachedBlock | undefined, key: string, id: number): CachedBlock {
    const block: CachedBlock = { id, key, parent, children: undefined, holders: 1 }
    if (parent) parent.children ??= new Map()
    this.#children(parent)?.set(key, block)
    return block
  }

  /**
   * Removes one holder. A sequence releases its blocks from the last to the first, so that a block is evicted before its parent.
   * @returns the block's id if the block is free now.
   */
  release(block: CachedBlock): number | undefined {
    if (--block.holders > 0) return undefined
    if (this.keep) {
      this.#idle.add(block)
      return undefined
    }
    this.invalidate(block)
    return block.id
  }

  /** Removes the least recently released block without holders. @returns its id. */
  evict(): number | undefined {
    const oldest = this.#idle.values().next().value
    if (oldest === undefined) return undefined
    this.#idle.delete(oldest)
    this.invalidate(oldest)
    return oldest.id
  }

  /** Removes a block, and so all blocks after it, from the lookup. Sequences that hold them keep them. */
  invalidate(block: CachedBlock): void {
    const siblings = this.#children(block.parent)
    if (siblings?.get(block.key) === block) siblings.delete(block.key)
  }

  #children(parent: CachedBlock | undefined): Map<string, CachedBlock> | undefined {
    return parent ? parent.children : this.#roots
  }
}
