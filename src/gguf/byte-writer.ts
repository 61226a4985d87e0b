/** A growing little-endian byte buffer. */
export class ByteWriter {
  #buffer = new Uint8Array(256)
  #view = new DataView(this.#buffer.buffer)
  #length = 0

  u32(value: number): void {
    this.#reserve(4)
    this.#view.setUint32(this.#length, value, true)
    this.#length += 4
  }

  /** @param value a whole number of up to 2^53 - 1 */
  u64(value: number): void {
    this.#reserve(8)
    this.#view.setBigUint64(this.#length, BigInt(value), true)
    this.#length += 8
  }

  bytes(values: Uint8Array): void {
    this.#reserve(values.length)
    this.#buffer.set(values, this.#length)
    this.#length += values.length
  }

  /** UTF-8 with its length in bytes before it. */
  string(text: string): void {
    const encoded = new TextEncoder().encode(text)
    this.u64(encoded.length)
    this.bytes(encoded)
  }

  /** Zeros up to the next multiple of `alignment`. */
  pad(alignment: number): void {
    const padded = Math.ceil(this.#length / alignment) * alignment
    this.#reserve(padded - this.#length)
    this.#length = padded
  }

  /** What was written. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#buffer.slice(0, this.#length)
  }

  #reserve(extra: number): void {
    const needed = this.#length + extra
    if (needed <= this.#buffer.length) return
    const larger = new Uint8Array(Math.max(needed, this.#buffer.length * 2))
    larger.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = larger
    this.#view = new DataView(larger.buffer)
  }
}
