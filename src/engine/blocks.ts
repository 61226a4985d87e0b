/** Blocks of the K/V cache: the pool of free ones, and each sequence's block table. */

import { BLOCK_SIZE } from "../native/abi.ts"
import { type CachedBlock, PrefixCache } from "./prefix-cache.ts"

export const blocksFor = (tokens: number): number => Math.ceil(tokens / BLOCK_SIZE)

export class BlockPool {
  readonly prefixes: PrefixCache
  readonly #free: number[]

  /** @param keepPrefixes Whether published blocks stay in the prefix cache after their last sequence released them. */
  constructor(
    readonly total: number,
    keepPrefixes = true,
  ) {
    this.prefixes = new PrefixCache(keepPrefixes)
    this.#free = Array.from({ length: total }, (_, i) => total - 1 - i)
  }

  /** Number of blocks that no sequence holds, cached ones included. */
  get nFree(): number {
    return this.#free.length + this.prefixes.nIdle
  }

  /** A block to write, or `undefined`. Evicts a cached block only when no other is free. */
  allocate(): number | undefined {
    return this.#free.pop() ?? this.prefixes.evict()
  }

  free(id: number): void {
    this.#free.push(id)
  }
}

/** Cache key of a sequence's i-th block; see `blockKey`. */
type KeyOf = (block: number) => string

/** One sequence's blocks: first the shared ones, which are full and never written again, then its own. */
export class BlockTable {
  /** Block ids in the order of the tokens. */
  readonly ids: number[] = []
  readonly #pool: BlockPool
  /** Cache entries of the first blocks of `ids`. */
  readonly #shared: CachedBlock[] = []

  constructor(pool: BlockPool) {
    this.#pool = pool
  }

  /** Tokens in shared blocks. */
  get nShared(): number {
    return this.#shared.length * BLOCK_SIZE
  }

  /** Acquires cached blocks that continue the shared ones, up to `nBlocks` in all. They replace the sequence's own blocks. */
  match(keyOf: KeyOf, nBlocks: number): void {
    for (let i = this.#shared.length; i < nBlocks; i++) {
      const found = this.#pool.prefixes.find(this.#shared.at(-1), keyOf(i))
      if (!found) return
      this.#acquire(found)
    }
  }

  /** Allocates blocks until `tokens` fit. @returns false, with nothing allocated, when too few are free. */
  grow(tokens: number): boolean {
    const missing = blocksFor(tokens) - this.ids.length
    if (missing > this.#pool.nFree) return false
    for (let i = 0; i < missing; i++) this.ids.push(this.#pool.allocate() as number)
    return true
  }

  /** Publishes the blocks that `tokens` fill. A published block with the same tokens replaces the sequence's own. */
  publish(keyOf: KeyOf, tokens: number): void {
    while (this.nShared + BLOCK_SIZE <= tokens) {
      const i = this.#shared.length
      const parent = this.#shared.at(-1)
      const key = keyOf(i)
      const found = this.#pool.prefixes.find(parent, key)
      if (found) this.#acquire(found)
      else this.#shared.push(this.#pool.prefixes.insert(parent, key, this.ids[i] as number))
    }
  }

  /** Removes the shared blocks from the prefix cache, because their content is broken. */
  invalidate(): void {
    const first = this.#shared[0]
    if (first) this.#pool.prefixes.invalidate(first)
  }

  /** Releases all blocks. Safe to call twice. */
  release(): void {
    for (const id of this.ids.splice(this.#shared.length)) this.#pool.free(id)
    for (const block of this.#shared.splice(0).reverse()) {
      const id = this.#pool.prefixes.release(block)
      if (id !== undefined) this.#pool.free(id)
    }
    this.ids.length = 0
  }

  #acquire(block: CachedBlock): void {
    const own = this.ids[this.#shared.length]
    if (own !== undefined) this.#pool.free(own)
    this.#pool.prefixes.acquire(block)
    this.ids[this.#shared.length] = block.id
    this.#shared.push(block)
  }
}
