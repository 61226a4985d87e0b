import { closeSync, constants, openSync, statSync } from "node:fs"
import { GgufError, type GgufErrorCode } from "./errors.ts"

/** Name of a field for messages; a function where building it for each of many elements would cost. */
export type Field = string | (() => string)

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const FIRST_WINDOW = 1 << 20

/**
 * Headers of real models stay below 30 MB (their vocabularies); the bound keeps a hostile sparse file, whose size justifies any
 * count, from filling memory.
 */
const MAX_HEADER_BYTES = 256 * 1024 * 1024

/** Signal, never seen outside: the bytes up to `end` exist in the file but have not been read yet. */
class NeedMoreBytes extends Error {
  constructor(readonly end: number) {
    super("more of the header is needed")
  }
}

/**
 * A forward cursor over the header of one file. Bytes come in windows that grow as parsing asks for them, so tensor data is never read.
 * Every read is checked against the file's size before anything is allocated.
 */
export class HeaderWindow {
  /** File offset of the next byte. */
  position = 0
  #base = 0
  #bytes: Buffer = Buffer.alloc(0)

  /** {@link HeaderWindow.open} makes one of a file that it has checked. @param size of the file, in bytes */
  constructor(
    readonly path: string,
    readonly size: number,
  ) {}

  /** @throws GgufError missing-file, directory, not-a-file, unreadable, empty-file */
  static open(path: string): HeaderWindow {
    try {
      const stat = statSync(path)
      if (stat.isDirectory()) throw new GgufError("directory", "this is a directory, not a file", { path })
      if (!stat.isFile()) throw new GgufError("not-a-file", "this is not a regular file", { path })
      // Opening says at once whether reading is allowed, which a lazy Bun.file() would only tell later.
      closeSync(openSync(path, constants.O_RDONLY))
      if (stat.size === 0) throw new GgufError("empty-file", "the file is empty", { path })
      return new HeaderWindow(path, stat.size)
    } catch (cause) {
      if (cause instanceof GgufError) throw cause
      const reason = cause instanceof Error && "code" in cause ? cause.code : undefined
      if (reason === "ENOENT" || reason === "ENOTDIR")
        throw new GgufError("missing-file", "there is no such file", { path, cause })
      throw new GgufError(
        "unreadable",
        `the file cannot be opened: ${cause instanceof Error ? cause.message : cause}`,
        { path, cause },
      )
    }
  }

  /** Runs `read` from the current position, again with a larger window as long as it runs past the end of what has been read. */
  async parse<T>(read: () => T): Promise<T> {
    const start = this.position
    for (;;) {
      try {
        return read()
      } catch (signal) {
        if (!(signal instanceof NeedMoreBytes)) throw signal
        this.position = start
        await this.#fill(signal.end)
      }
    }
  }

  fail(code: GgufErrorCode, field: Field, offset: number, problem: string): never {
    throw new GgufError(code, problem, { path: this.path, field: typeof field === "string" ? field : field(), offset })
  }

  /** Bytes of the file after the cursor. */
  get remaining(): number {
    return this.size - this.position
  }

  u8(field: Field): number {
    const at = this.#take(1, field)
    return this.#bytes.readUInt8(at)
  }

  u32(field: Field): number {
    const at = this.#take(4, field)
    return this.#bytes.readUInt32LE(at)
  }

  /** An unsigned 64-bit size, count or offset. @throws GgufError overflow if it exceeds 2^53 - 1, which no file can hold. */
  size64(field: Field): number {
    const at = this.#take(8, field)
    const high = this.#bytes.readUInt32LE(at + 4)
    if (high > 0x1fffff)
      this.fail("overflow", field, this.position - 8, `${this.#bytes.readBigUInt64LE(at)} is beyond any file's size`)
    return high * 0x1_0000_0000 + this.#bytes.readUInt32LE(at)
  }

  /** A count of things that take at least `minBytes` each. @throws GgufError absurd-count, header-too-large if there is no room for them. */
  count(field: Field, minBytes: number): number {
    const offset = this.position
    const count = this.size64(field)
    if (count > Math.floor(this.remaining / minBytes))
      this.fail(
        "absurd-count",
        field,
        offset,
        `${count} of at least ${minBytes} bytes each do not fit in the ${this.remaining} bytes that follow`,
      )
    if (count * minBytes > MAX_HEADER_BYTES - this.position)
      this.fail(
        "header-too-large",
        field,
        offset,
        `${count} of at least ${minBytes} bytes each exceed ${MAX_HEADER_BYTES}`,
      )
    return count
  }

  /** A view of the next `length` bytes, valid until the next read: copy what should last. */
  view(length: number, field: Field): Buffer {
    const at = this.#take(length, field)
    return this.#bytes.subarray(at, at + length)
  }

  /** A length-prefixed UTF-8 string; bad sequences become U+FFFD. */
  string(field: Field): string {
    const length = this.#stringLength(field)
    const at = this.#take(length, field)
    return length === 0 ? "" : this.#bytes.toString("utf8", at, at + length)
  }

  /** A length-prefixed name. @throws GgufError empty-name, bad-utf8 */
  name(field: Field): string {
    const offset = this.position
    const length = this.#stringLength(field)
    if (length === 0) this.fail("empty-name", field, offset, "the name is empty")
    const view = this.view(length, field)
    try {
      return strictUtf8.decode(view)
    } catch {
      return this.fail("bad-utf8", field, offset, "the name is not valid UTF-8")
    }
  }

  #stringLength(field: Field): number {
    const offset = this.position
    const length = this.size64(field)
    if (length > this.remaining)
      this.fail(
        "truncated",
        field,
        offset,
        `a string of ${length} bytes does not fit in the ${this.remaining} bytes that follow`,
      )
    return length
  }

  /** Moves past `length` bytes and returns where they start in the window. */
  #take(length: number, field: Field): number {
    const end = this.position + length
    if (end > this.size)
      this.fail(
        "truncated",
        field,
        this.position,
        `the file ends at byte ${this.size}, ${length} bytes were expected here`,
      )
    if (end > MAX_HEADER_BYTES)
      this.fail("header-too-large", field, this.position, `the header goes beyond ${MAX_HEADER_BYTES} bytes`)
    if (end > this.#base + this.#bytes.length) throw new NeedMoreBytes(end)
    const at = this.position - this.#base
    this.position = end
    return at
  }

  /** Reads from the cursor on: at least up to `end`, and at least twice as much as last time, so that retries stay cheap. */
  async #fill(end: number): Promise<void> {
    const wanted = Math.max(end - this.position, this.#bytes.length * 2, FIRST_WINDOW)
    const stop = Math.min(this.size, this.position + wanted, MAX_HEADER_BYTES)
    let read: ArrayBuffer
    try {
      read = await Bun.file(this.path).slice(this.position, stop).arrayBuffer()
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new GgufError("unreadable", `reading failed: ${reason}`, { path: this.path, offset: this.position, cause })
    }
    if (read.byteLength < end - this.position)
      this.fail(
        "truncated",
        "header",
        this.position,
        `the file shrank while it was read: ${read.byteLength} bytes came instead of ${end - this.position}`,
      )
    this.#base = this.position
    this.#bytes = Buffer.from(read)
  }
}
