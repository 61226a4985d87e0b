/** A growing list of token ids. */
export class IdBuffer {
  #ids: Int32Array
  length = 0

  constructor(capacity: number) {
    this.#ids = new Int32Array(Math.max(16, capacity))
  }

  push(id: number): void {
    if (this.length === this.#ids.length) this.#reserve(1)
    this.#ids[this.length++] = id
  }

  append(ids: Int32Array): void {
    if (this.length + ids.length > this.#ids.length) this.#reserve(ids.length)
    this.#ids.set(ids, this.length)
    this.length += ids.length
  }

  /** A copy of the ids from `start` on. */
  since(start: number): Int32Array {
    return this.#ids.slice(start, this.length)
  }

  /** The id at an index below `length`. */
  at(index: number): number {
    return this.#ids[index] as number
  }

  #reserve(more: number): void {
    const grown = new Int32Array(Math.max(this.#ids.length * 2, this.length + more))
    grown.set(this.#ids)
    this.#ids = grown
  }

  /** The ids so far, in an array of exactly that length. */
  take(): Int32Array {
    return this.#ids.slice(0, this.length)
  }
}
