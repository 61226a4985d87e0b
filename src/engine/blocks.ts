/** The K/V cache's blocks: which are free, and the table of those that a sequence holds. */

import { BLOCK_SIZE } from "../native/abi.ts"
import { type CachedBlock, PrefixCache } from "./prefix-cache.ts"

export const blocksFor = (tokens: number): number => Math.ceil(tokens / BLOCK_SIZE)

export class BlockPool {
  readonly prefixes: PrefixCache
  readonly #free: number[]

  /** @param keepPrefixes Whether full blocks can be found again when their sequence has gone. */
  constructor(
    readonly total: number,
    keepPrefixes = true,
  ) {
    this.prefixes = new PrefixCache(keepPrefixes)
    this.#free = Array.from({ length: total }, (_, i) => total - 1 - i)
  }

  /** Blocks that no sequence holds, cached ones included. */
  get free(): number {
    return this.#free.length + this.prefixes.nIdle
  }

  /** A block to write; cached ones go last, in the order in which they were left. */
  take(): number | undefined {
    return this.#free.pop() ?? this.prefixes.evict()
  }

  giveBack(id: number): void {
    this.#free.push(id)
  }
}

/** Names the i-th block of a sequence's tokens; see `blockKey`. */
export type KeyOf = (block: number) => string

/** One sequence's blocks: shared ones first, which are full and only read, then its own. */
export class BlockTable {
  /** Block ids in the order of the tokens. */
  readonly ids: number[] = []
  readonly #pool: BlockPool
  /** The first blocks of `ids`, as the prefix cache knows them. */
  readonly #shared: CachedBlock[] = []

  constructor(pool: BlockPool) {
    this.#pool = pool
  }

  /** Tokens in shared blocks. */
  get nShared(): number {
    return this.#shared.length * BLOCK_SIZE
  }

  /** Takes the cached blocks that come next in its tokens, up to `n_blocks` in all; they replace blocks of its own. */
  adopt(keyOf: KeyOf, nBlocks: number): void {
    for (let i = this.#shared.length; i < nBlocks; i++) {
      const found = this.#pool.prefixes.find(this.#shared.at(-1), keyOf(i))
      if (!found) return
      this.#share(found)
    }
  }

  /** Takes blocks until `tokens` have room; false, and nothing taken, when there are not enough. */
  grow(tokens: number): boolean {
    const missing = blocksFor(tokens) - this.ids.length
    if (missing > this.#pool.free) return false
    for (let i = 0; i < missing; i++) this.ids.push(this.#pool.take() as number)
    return true
  }

  /** Lets others find the blocks that `tokens` fill. Where one with the same tokens is there already, that one takes its place. */
  seal(keyOf: KeyOf, tokens: number): void {
    while (this.nShared + BLOCK_SIZE <= tokens) {
      const i = this.#shared.length
      const parent = this.#shared.at(-1)
      const key = keyOf(i)
      const found = this.#pool.prefixes.find(parent, key)
      if (found) this.#share(found)
      else this.#shared.push(this.#pool.prefixes.insert(parent, key, this.ids[i] as number))
    }
  }

  /** Nobody new may read these blocks: what is in them is broken. */
  disown(): void {
    const first = this.#shared[0]
    if (first) this.#pool.prefixes.forget(first)
  }

  /** Gives everything back. Safe twice. */
  release(): void {
    for (const id of this.ids.splice(this.#shared.length)) this.#pool.giveBack(id)
    for (const block of this.#shared.splice(0).reverse()) {
      const id = this.#pool.prefixes.leave(block)
      if (id !== undefined) this.#pool.giveBack(id)
    }
    this.ids.length = 0
  }

  #share(block: CachedBlock): void {
    const own = this.ids[this.#shared.length]
    if (own !== undefined) this.#pool.giveBack(own)
    this.#pool.prefixes.hold(block)
    this.ids[this.#shared.length] = block.id
    this.#shared.push(block)
  }
}
