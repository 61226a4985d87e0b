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
 * The number of this text, exactly: a JavaScript number where that has the same text, else a raw number.
 * @param text A number in JSON's syntax.
 */
export function exactNumber(text: string): unknown {
  const value = Number(text)
  return String(value) === text ? value : raw.rawJSON(text)
}

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

/** The object of these entries, which {@link keysOf} returns in their order. Of two entries with one key the later value counts. */
export function objectOf(entries: Iterable<readonly [string, unknown]>): Record<string, unknown> {
  const values = new Map(entries)
  // `fromEntries` defines its keys, so that `__proto__` is a key like any other.
  const object: Record<string, unknown> = Object.fromEntries(values)
  const keys = [...values.keys()]
  if (keys.some((key) => INDEX.test(key))) Object.defineProperty(object, KEYS, { value: keys })
  return object
}

/** Whether JavaScript's parser could lose something: a long number, a spelling such as `1.0`, `1e2` or `-0`, or a key like an index. */
const LOSSY = /\d{16}|\d\.\d*0(?!\d)|\.\d{15}|\d[eE]|-0(?![.\d])|"\d{1,10}"\s*:/

/**
 * Parses JSON without loss, also of an object inside.
 * @throws SyntaxError for a text that is not JSON.
 */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text)
  return LOSSY.test(text) ? new ExactReader(text).read() : value
}

/** Writes a value as JSON, as {@link parseJson} read it. `undefined` members are left out, as `JSON.stringify` does. */
export function stringifyJson(value: unknown): string {
  if (typeof value !== "object" || value === null || isRawNumber(value)) return JSON.stringify(value) ?? "null"
  if (Array.isArray(value)) return `[${value.map(stringifyJson).join(",")}]`
  const parts = entriesOf(value).filter(([, each]) => each !== undefined)
  return `{${parts.map(([key, each]) => `${JSON.stringify(key)}:${stringifyJson(each)}`).join(",")}}`
}

const TOKEN = /[\s,:]*(?:([[\]{}])|("(?:[^"\\]|\\.)*")|([^\s,:[\]{}"]+))/sy

/** Reads a text that is known to be valid JSON. */
class ExactReader {
  #at = 0

  constructor(readonly text: string) {}

  read(): unknown {
    return this.#value(this.#token())
  }

  #token(): string {
    TOKEN.lastIndex = this.#at
    const found = TOKEN.exec(this.text)
    if (found === null) throw new SyntaxError("the text ends within a value")
    this.#at = TOKEN.lastIndex
    return found[1] ?? found[2] ?? found[3] ?? ""
  }

  #value(token: string): unknown {
    if (token === "[") {
      const list: unknown[] = []
      for (let next = this.#token(); next !== "]"; next = this.#token()) list.push(this.#value(next))
      return list
    }
    if (token === "{") {
      const entries: [string, unknown][] = []
      for (let next = this.#token(); next !== "}"; next = this.#token())
        entries.push([JSON.parse(next) as string, this.#value(this.#token())])
      return objectOf(entries)
    }
    return /^[-\d]/.test(token) ? exactNumber(token) : JSON.parse(token)
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
