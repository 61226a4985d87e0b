import { closeSync, constants, openSync, statSync } from "node:fs"
import { GgufError, type GgufErrorCode } from "./errors.ts"

/** Name of a field for messages. It is a function where building the name of every element would be slow. */
export type Field = string | (() => string)

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const FIRST_WINDOW = 1 << 20

/**
 * Longest header. Headers of real models, which hold the vocabulary, are below 30 MB. The limit keeps a hostile sparse file, whose size
 * permits any count, from filling memory.
 */
const MAX_HEADER_BYTES = 256 * 1024 * 1024

/** Internal signal: the file has bytes up to `end`, but they have not been read yet. */
class NeedMoreBytes extends Error {
  constructor(readonly end: number) {
    super("more of the header is needed")
  }
}

/**
 * A forward cursor over the header of a file. It reads the file in windows that grow as parsing needs more bytes, so tensor data is never
 * read. Every read is checked against the file's size before memory is allocated.
 */
export class HeaderWindow {
  /** File offset of the next byte. */
  position = 0
  #base = 0
  #bytes: Buffer = Buffer.alloc(0)

  /** Use {@link HeaderWindow.open}, which checks the file. @param size size of the file in bytes */
  constructor(
    readonly path: string,
    readonly size: number,
  ) {}

  /** Opens the header of a file. @throws GgufError missing-file, directory, not-a-file, unreadable, empty-file */
  static open(path: string): HeaderWindow {
    try {
      const stat = statSync(path)
      if (stat.isDirectory()) throw new GgufError("directory", "this is a directory, not a file", { path })
      if (!stat.isFile()) throw new GgufError("not-a-file", "this is not a regular file", { path })
      // Opening checks now whether the file is readable; a lazy Bun.file() would fail later.
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

  /** Runs `read` from the current position. It is run again with a larger window when it needs bytes that have not been read. */
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

  /** @throws GgufError always */
  fail(code: GgufErrorCode, field: Field, offset: number, problem: string): never {
    throw new GgufError(code, problem, { path: this.path, field: typeof field === "string" ? field : field(), offset })
  }

  /** Number of bytes in the file after the cursor. */
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

  /** An unsigned 64-bit size, count or offset. @throws GgufError overflow if it exceeds 2^53 - 1, which is beyond any file. */
  size64(field: Field): number {
    const at = this.#take(8, field)
    const high = this.#bytes.readUInt32LE(at + 4)
    if (high > 0x1fffff)
      this.fail("overflow", field, this.position - 8, `${this.#bytes.readBigUInt64LE(at)} is beyond any file's size`)
    return high * 0x1_0000_0000 + this.#bytes.readUInt32LE(at)
  }

  /** A number of items of at least `minBytes` each. @throws GgufError absurd-count, header-too-large if they cannot fit */
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

  /** A view of the next `length` bytes, valid until the next read; copy it to keep it. */
  view(length: number, field: Field): Buffer {
    const at = this.#take(length, field)
    return this.#bytes.subarray(at, at + length)
  }

  /** A length-prefixed UTF-8 string. Invalid sequences become U+FFFD. */
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

  /** Moves past `length` bytes and returns their offset in the window. */
  #take(length: number, field: Field): number {
    const end = this.position + length
    if (end > this.size)
      this.fail(
        "truncated",
        field,
        this.position,
        `the file ends at byte ${this.size}, but ${length} more bytes were expected here`,
      )
    if (end > MAX_HEADER_BYTES)
      this.fail("header-too-large", field, this.position, `the header goes beyond ${MAX_HEADER_BYTES} bytes`)
    if (end > this.#base + this.#bytes.length) throw new NeedMoreBytes(end)
    const at = this.position - this.#base
    this.position = end
    return at
  }

  /** Reads a window from the cursor to `end` or further: at least twice the size of the last window, so that retries stay cheap. */
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
