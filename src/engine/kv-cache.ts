/** Ids of the K/V cache's blocks: which are free, and how many are promised to requests that are running. */

/** Tokens a block holds. */
export { BLOCK_SIZE } from "../models/registry.ts"

import { BLOCK_SIZE } from "../models/registry.ts"

export const blocksFor = (tokens: number): number => Math.ceil(tokens / BLOCK_SIZE)

/**
 * One request's blocks. They are promised when it is admitted and taken as its tokens come, so that a running request never lacks
 * one, and a short answer never holds more than it used.
 */
export class BlockTable {
  readonly ids: number[] = []

  /** Made by `BlockPool.admit`. */
  constructor(
    private readonly pool: BlockPool,
    readonly promised: number,
  ) {}

  /** Takes blocks until `tokens` have room. */
  grow(tokens: number): void {
    const needed = blocksFor(tokens)
    if (needed > this.promised) throw new RangeError(`${needed} blocks are needed, ${this.promised} were promised`)
    while (this.ids.length < needed) this.ids.push(this.pool.take())
  }

  /** Gives everything back. Safe twice. */
  release(): void {
    this.pool.giveBack(this)
  }
}

export class BlockPool {
  readonly #free: number[]
  readonly #tables = new Set<BlockTable>()
  #promised = 0

  constructor(readonly total: number) {
    this.#free = Array.from({ length: total }, (_, i) => total - 1 - i)
  }

  /** Blocks that no request holds. */
  get free(): number {
    return this.#free.length
  }

  /** A table with room for `tokens`, or `undefined` when too much is promised already. */
  admit(tokens: number): BlockTable | undefined {
    const needed = blocksFor(tokens)
    if (needed > this.total - this.#promised) return undefined
    this.#promised += needed
    const table = new BlockTable(this, needed)
    this.#tables.add(table)
    return table
  }

  /** Called by the table. */
  take(): number {
    const id = this.#free.pop()
    if (id === undefined) throw new RangeError("no block is free, though one was promised")
    return id
  }

  /** Called by the table. */
  giveBack(table: BlockTable): void {
    if (!this.#tables.delete(table)) return
    this.#promised -= table.promised
    this.#free.push(...table.ids.splice(0))
  }
}
