/**
 * Greedy pair merging, the heart of both tokenizers: of all neighbouring pairs that have a rank, merge the one of lowest rank
 * (leftmost first among equals), until none is left (Sennrich et al. 2016, algorithm 1).
 */

const NONE = -1

/** Ranks stay below this, so that `rank · 2³² + position` is exact in a double. */
const RANK_LIMIT = 2 ** 21
const POSITION_SPAN = 2 ** 32

/** Pieces up to this many symbols are merged by scanning; longer ones through a heap, which keeps them O(n log n). */
const SCAN_LIMIT = 40

/** Buffers for pieces longer than this are not kept after use. */
const KEEP_LIMIT = 1 << 16

/** A hash table (left symbol, right symbol) → (rank, merged symbol), open addressing, four int32 a slot. */
export class PairTable {
  #slots: Int32Array
  #mask: number
  #used = 0

  constructor(expected: number) {
    let capacity = 1024
    while (capacity < expected * 2) capacity *= 2
    this.#slots = new Int32Array(capacity * 4).fill(NONE)
    this.#mask = capacity - 1
  }

  get size(): number {
    return this.#used
  }

  /** Offset of the pair's slot, or of the free slot where it would go. */
  #locate(left: number, right: number): number {
    let h = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)
    h ^= h >>> 15
    for (let i = h & this.#mask; ; i = (i + 1) & this.#mask) {
      const at = i * 4
      const key = this.#slots[at]
      if (key === NONE || (key === left && this.#slots[at + 1] === right)) return at
    }
  }

  /** Offset to pass to `rank` and `merged`; −1 where the pair was never added. */
  find(left: number, right: number): number {
    const at = this.#locate(left, right)
    return this.#slots[at] === NONE ? NONE : at
  }

  /** Rank at an offset; −1 when the pair is known not to merge. */
  rank(at: number): number {
    return this.#slots[at + 2] as number
  }

  merged(at: number): number {
    return this.#slots[at + 3] as number
  }

  /** Adds a pair; the first rank given to a pair stays. */
  add(left: number, right: number, rank: number, merged: number): void {
    if (rank >= RANK_LIMIT) throw new RangeError(`more than ${RANK_LIMIT} merge ranks`)
    if ((this.#used + 1) * 2 > this.#mask) this.#grow()
    const at = this.#locate(left, right)
    if (this.#slots[at] !== NONE) return
    this.#slots[at] = left
    this.#slots[at + 1] = right
    this.#slots[at + 2] = rank
    this.#slots[at + 3] = merged
    this.#used++
  }

  clear(): void {
    this.#slots.fill(NONE)
    this.#used = 0
  }

  #grow(): void {
    const old = this.#slots
    this.#slots = new Int32Array(old.length * 2).fill(NONE)
    this.#mask = this.#slots.length / 4 - 1
    for (let at = 0; at < old.length; at += 4) {
      if (old[at] === NONE) continue
      this.#slots.set(old.subarray(at, at + 4), this.#locate(old[at] as number, old[at + 1] as number))
    }
  }
}

/** Finds a pair's slot; a tokenizer may fill the table when first asked for a pair. Returns −1 or an offset. */
type PairLookup = (left: number, right: number) => number

/** Merges symbols in place. Holds scratch memory, so one instance serves one tokenizer. */
export class Merger {
  readonly #table: PairTable
  readonly #lookup: PairLookup
  #ranks = new Int32Array(SCAN_LIMIT)
  #results = new Int32Array(SCAN_LIMIT)
  #next = new Int32Array(0)
  #prev = new Int32Array(0)
  #heap = new Float64Array(0)
  #heapSize = 0

  constructor(table: PairTable, lookup: PairLookup) {
    this.#table = table
    this.#lookup = lookup
  }

  /** Merges the first `n` of `symbols`; the result replaces them from index 0 on. Returns how many there are. */
  merge(symbols: Int32Array, n: number): number {
    if (n < 2) return n
    if (n <= SCAN_LIMIT) return this.#mergeByScan(symbols, n)
    const count = this.#mergeByHeap(symbols, n)
    if (n > KEEP_LIMIT) this.#allocate(SCAN_LIMIT)
    return count
  }

  #score(symbols: Int32Array, at: number, right: number): void {
    const slot = this.#lookup(symbols[at] as number, symbols[right] as number)
    this.#ranks[at] = slot < 0 ? NONE : this.#table.rank(slot)
    this.#results[at] = slot < 0 ? NONE : this.#table.merged(slot)
  }

  #mergeByScan(symbols: Int32Array, n: number): number {
    const ranks = this.#ranks
    const results = this.#results
    let count = n
    for (let i = 0; i + 1 < count; i++) this.#score(symbols, i, i + 1)
    for (;;) {
      let best = NONE
      let bestRank = RANK_LIMIT
      for (let i = 0; i + 1 < count; i++) {
        const rank = ranks[i] as number
        if (rank >= 0 && rank < bestRank) {
          best = i
          bestRank = rank
        }
      }
      if (best < 0) return count
      symbols[best] = results[best] as number
      symbols.copyWithin(best + 1, best + 2, count)
      ranks.copyWithin(best + 1, best + 2, count - 1)
      results.copyWithin(best + 1, best + 2, count - 1)
      count--
      if (best > 0) this.#score(symbols, best - 1, best)
      if (best + 1 < count) this.#score(symbols, best, best + 1)
    }
  }

  #mergeByHeap(symbols: Int32Array, n: number): number {
    if (this.#next.length < n) this.#allocate(n)
    const ranks = this.#ranks
    const results = this.#results
    const next = this.#next
    const prev = this.#prev
    this.#heapSize = 0
    for (let i = 0; i < n; i++) {
      next[i] = i + 1 < n ? i + 1 : NONE
      prev[i] = i - 1
      ranks[i] = NONE
      if (i + 1 < n) {
        this.#score(symbols, i, i + 1)
        this.#push(i)
      }
    }
    while (this.#heapSize > 0) {
      const key = this.#pop()
      const rank = Math.floor(key / POSITION_SPAN)
      const left = key - rank * POSITION_SPAN
      // An entry is out of date once its pair was merged away or replaced; the pair now there has its own entry.
      if (ranks[left] !== rank) continue
      const right = next[left] as number
      const after = next[right] as number
      symbols[left] = results[left] as number
      next[left] = after
      ranks[right] = NONE
      ranks[left] = NONE
      if (after >= 0) {
        prev[after] = left
        this.#score(symbols, left, after)
        this.#push(left)
      }
      const before = prev[left] as number
      if (before >= 0) {
        this.#score(symbols, before, left)
        this.#push(before)
      }
    }
    let count = 0
    for (let i = 0; i >= 0; i = next[i] as number) symbols[count++] = symbols[i] as number
    return count
  }

  #push(position: number): void {
    const rank = this.#ranks[position] as number
    if (rank < 0) return
    const heap = this.#heap
    const key = rank * POSITION_SPAN + position
    let i = this.#heapSize++
    while (i > 0) {
      const parent = (i - 1) >> 1
      const above = heap[parent] as number
      if (above <= key) break
      heap[i] = above
      i = parent
    }
    heap[i] = key
  }

  #pop(): number {
    const heap = this.#heap
    const top = heap[0] as number
    const n = --this.#heapSize
    const key = heap[n] as number
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= n) break
      if (child + 1 < n && (heap[child + 1] as number) < (heap[child] as number)) child++
      if ((heap[child] as number) >= key) break
      heap[i] = heap[child] as number
      i = child
    }
    heap[i] = key
    return top
  }

  #allocate(n: number): void {
    this.#ranks = new Int32Array(n)
    this.#results = new Int32Array(n)
    this.#next = new Int32Array(n)
    this.#prev = new Int32Array(n)
    // n − 1 pairs at first, and each of at most n − 1 merges adds two.
    this.#heap = new Float64Array(3 * n)
  }
}
