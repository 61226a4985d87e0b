/**
 * JSON without loss. JavaScript's own parser turns numbers into doubles (`1234567890123456789` loses digits, `1.0` its spelling) and moves
 * keys that look like array indices to the front. Here a number that a double does not write back as it was is a raw number
 * (`JSON.rawJSON`), and an object that has such keys remembers their order.
 */

/** A number as it was written, which `JSON.stringify` writes back unchanged. */
interface RawNumber {
  readonly rawJSON: string
}

/** The part of the JSON source text access proposal (ECMAScript 2026) that TypeScript's library does not declare yet. */
interface RawJson {
  rawJSON(text: string): RawNumber
  isRawJSON(value: unknown): value is RawNumber
}

const raw = JSON as unknown as RawJson

/** The order of an object's keys, where it differs from JavaScript's. Not enumerable, so that copies of the object lose it. */
const KEYS = Symbol("keys in their order")

/** Keys that JavaScript moves to the front of an object, in ascending order. */
const INDEX = /^(?:0|[1-9]\d{0,9})$/

/**
 * The number of this text, exactly: a JavaScript number where that has the same text and, as an integer, can be calculated with, else a
 * raw number.
 * @param text A number in JSON's syntax.
 */
export function exactNumber(text: string): unknown {
  const value = Number(text)
  const same = String(value) === text && (!Number.isInteger(value) || Number.isSafeInteger(value))
  return same ? value : rawNumber(text)
}

/** @param text A number in JSON's syntax. */
export const rawNumber = (text: string): RawNumber => raw.rawJSON(text)

export const isRawNumber = (value: unknown): value is RawNumber => raw.isRawJSON(value)

/** A number's text as it was written; `undefined`: the value is not a number. */
export function numberText(value: unknown): string | undefined {
  if (isRawNumber(value)) return value.rawJSON
  return typeof value === "number" && Number.isFinite(value) ? String(value) : undefined
}

/** The keys of an object in the order in which they were written. */
export function keysOf(object: object): readonly string[] {
  return (object as { [KEYS]?: readonly string[] })[KEYS] ?? Object.keys(object)
}

/** The entries of an object in the order in which they were written. */
export const entriesOf = (object: object): [string, unknown][] =>
  keysOf(object).map((key) => [key, (object as Record<string, unknown>)[key]])

/**
 * The object of these entries, which {@link keysOf} returns in their order. Of two entries with one key the later value counts.
 * `JSON.stringify` writes it in this order too.
 */
export function objectOf(entries: Iterable<readonly [string, unknown]>): Record<string, unknown> {
  const values = new Map(entries)
  // `fromEntries` defines its keys, so that `__proto__` is a key like any other.
  const object: Record<string, unknown> = Object.fromEntries(values)
  const keys = [...values.keys()]
  if (!keys.some((key) => INDEX.test(key))) return object
  Object.defineProperty(object, KEYS, { value: keys, configurable: true })
  if (!values.has("toJSON")) Object.defineProperty(object, "toJSON", { value: inOrder, configurable: true })
  return object
}

/** The object as `JSON.stringify` is to see it: it lists the keys of a proxy as the proxy gives them. */
function inOrder(this: object): object {
  return new Proxy(this, { ownKeys: (object) => [...keysOf(object)] })
}

/**
 * What JavaScript's parser could lose: numbers of more than 15 digits, spellings such as `1.0`, `1e2`, `-0` and `0.0000001`, and keys
 * that look like indices.
 */
const LOSSY = /[\d.]{16}|\d\.\d*0(?!\d)|0\.0{6}|\d[eE]|-0(?![.\d])|"(?:\d|\\u003\d){1,10}"\s*:/

/**
 * Parses JSON without loss.
 * @throws SyntaxError for a text that is not JSON.
 */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text)
  return LOSSY.test(text) ? new ExactReader(text).read(value) : value
}

/** By the lists and objects of {@link parseWithExact} that hold something inexact, the same without loss. */
const EXACT = new WeakMap<object, object>()

/** Parses JSON as `JSON.parse` does, and keeps what that loses, for {@link exactOf}. @throws SyntaxError for a text that is not JSON. */
export function parseWithExact(text: string): unknown {
  const value: unknown = JSON.parse(text)
  new ExactReader(text, EXACT).read(value)
  return value
}

/** A value of {@link parseWithExact}, or a list or object in it, without loss. Any other value is returned as it is. */
export const exactOf = <T>(value: T): T =>
  typeof value === "object" && value !== null ? ((EXACT.get(value) as T | undefined) ?? value) : value

/** Writes a value as JSON, as {@link parseJson} read it. `undefined` members are left out, as `JSON.stringify` does. */
export function stringifyJson(value: unknown): string {
  if (typeof value !== "object" || value === null || isRawNumber(value)) return JSON.stringify(value) ?? "null"
  if (Array.isArray(value)) return `[${value.map(stringifyJson).join(",")}]`
  const parts = entriesOf(value).filter(([, each]) => each !== undefined)
  return `{${parts.map(([key, each]) => `${JSON.stringify(key)}:${stringifyJson(each)}`).join(",")}}`
}

const [QUOTE, COMMA, MINUS, ZERO, NINE, COLON] = [0x22, 0x2c, 0x2d, 0x30, 0x39, 0x3a]
const [LIST, BACKSLASH, LIST_END, OBJECT, OBJECT_END] = [0x5b, 0x5c, 0x5d, 0x7b, 0x7d]

/** Reads a text beside its value as `JSON.parse` read it, and returns that value itself wherever nothing is lost. */
class ExactReader {
  #at = 0

  /** @param exact Receives the lists and objects in which something is lost. */
  constructor(
    readonly text: string,
    readonly exact?: WeakMap<object, object>,
  ) {}

  /** @param plain The value; any other for one that another entry with the same key replaces, whose result does not matter. */
  read(plain: unknown): unknown {
    switch (this.#peek()) {
      case LIST:
        return this.#list(plain)
      case OBJECT:
        return this.#object(plain)
      case QUOTE:
        this.#string()
        return plain
      default:
        return this.#scalar(plain)
    }
  }

  /** The next character that is not white space, a comma or a colon, which the reader moves to. */
  #peek(): number {
    const { text } = this
    let code = text.charCodeAt(this.#at)
    while (code <= 0x20 || code === COMMA || code === COLON) code = text.charCodeAt(++this.#at)
    return code
  }

  #list(plain: unknown): unknown {
    const plains: readonly unknown[] = Array.isArray(plain) ? plain : []
    const list: unknown[] = []
    let same = true
    this.#at++
    while (this.#peek() !== LIST_END) {
      const one = plains[list.length]
      const value = this.read(one)
      same &&= value === one
      list.push(value)
    }
    this.#at++
    return this.#settled(plain, same ? undefined : list)
  }

  #object(plain: unknown): unknown {
    const plains = (typeof plain === "object" && plain !== null ? plain : {}) as Record<string, unknown>
    const values = new Map<string, unknown>()
    this.#at++
    while (this.#peek() !== OBJECT_END) {
      const written = this.#string()
      const key = written.includes("\\") ? (JSON.parse(written) as string) : written.slice(1, -1)
      this.#peek()
      values.set(key, this.read(plains[key]))
    }
    this.#at++
    let same = true
    for (const [key, value] of values) same &&= value === plains[key] && !INDEX.test(key)
    return this.#settled(plain, same ? undefined : objectOf(values))
  }

  #settled(plain: unknown, exact: object | undefined): unknown {
    if (this.exact !== undefined && typeof plain === "object" && plain !== null) {
      if (exact === undefined) this.exact.delete(plain)
      else this.exact.set(plain, exact)
    }
    return exact ?? plain
  }

  /** A string with its quotes and escapes. */
  #string(): string {
    const { text } = this
    const start = this.#at
    let end = start
    let escapes: number
    do {
      end = text.indexOf('"', end + 1)
      escapes = 0
      while (text.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes++
    } while (escapes % 2 === 1)
    this.#at = end + 1
    return text.slice(start, end + 1)
  }

  /** A number, which is cut out of the text only if it may be inexact, or a word. */
  #scalar(plain: unknown): unknown {
    const { text } = this
    const start = this.#at
    let code = text.charCodeAt(start)
    let digits = true
    // The end of the text is NaN.
    for (
      ;
      code > 0x20 && code !== COMMA && code !== LIST_END && code !== OBJECT_END;
      code = text.charCodeAt(++this.#at)
    )
      digits &&= code >= ZERO && code <= NINE
    if (digits && this.#at - start < 16) return plain
    const first = text.charCodeAt(start)
    return first === MINUS || (first >= ZERO && first <= NINE) ? exactNumber(text.slice(start, this.#at)) : plain
  }
}

/** A copy of a value in which the keys of all objects, at every depth, are snake_case, as in the JSON that ROCmForge writes. */
export function snakeKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeKeys)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [snakeCase(key), snakeKeys(each)]))
}

/** `nKvHeads` → `n_kv_heads`. */
const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
