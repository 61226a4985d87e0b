/** Grammar expressions as trees. The functions below build them; `program.ts` compiles them. */

/** Code points from the first to the last, both included. */
export type Range = readonly [first: number, last: number]

export type Expr =
  /** These bytes. */
  | { readonly type: "text"; readonly bytes: Uint8Array }
  /** One character of these ranges, which are as `tidy` returns them. */
  | { readonly type: "chars"; readonly ranges: readonly Range[] }
  | { readonly type: "sequence"; readonly parts: readonly Expr[] }
  | { readonly type: "choice"; readonly parts: readonly Expr[] }
  | {
      readonly type: "repeat"
      readonly part: Expr
      readonly min: number
      readonly max: number | undefined
      /** Repetitions with the same `common` have the same part and the same continuation in their rules, in all grammars. */
      readonly common?: string
    }
  /** A reference to a rule. Rules may be recursive. */
  | { readonly type: "rule"; readonly name: string }
  /** Any bytes without `mark`, then `mark` and `after`. With `mayEnd`, the text may also end without the mark. */
  | { readonly type: "free"; readonly mark: string; readonly after: Expr; readonly mayEnd: boolean }

export const LAST_CODE_POINT = 0x10ffff
/** UTF-16 surrogates, which are not characters. */
const SURROGATES: Range = [0xd800, 0xdfff]

/** A constraint is invalid or not supported. The message names the part and what to write instead. */
export class GrammarError extends Error {
  override readonly name = "GrammarError"
}

const encoder = new TextEncoder()

/** Exactly this text. */
export const literal = (text: string): Expr => ({ type: "text", bytes: encoder.encode(text) })

export const EMPTY: Expr = literal("")

const isEmpty = (expr: Expr): boolean => expr.type === "text" && expr.bytes.length === 0

/** One character of these tidy ranges. Empty ranges match nothing. */
export const charClass = (ranges: readonly Range[]): Expr => ({ type: "chars", ranges })

export const codeOf = (char: string): number => char.codePointAt(0) as number

/** One of these characters. */
export const oneOf = (chars: string): Expr =>
  charClass(tidy(Array.from(chars, (char): Range => [codeOf(char), codeOf(char)])))

export const ALL_CHARS: readonly Range[] = tidy([[0, LAST_CODE_POINT]])

/** Sorted, disjoint, and without surrogates. */
export function tidy(ranges: readonly Range[]): Range[] {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0])
  const merged: [number, number][] = []
  for (const [first, last] of sorted) {
    const before = merged.at(-1)
    if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last)
    else merged.push([first, last])
  }
  return without(merged, [SURROGATES])
}

/** The characters of `ranges` that are in none of `holes`. */
export function without(ranges: readonly Range[], holes: readonly Range[]): Range[] {
  let left = [...ranges]
  for (const [from, to] of holes) {
    left = left.flatMap(([first, last]): Range[] => {
      if (to < first || from > last) return [[first, last]]
      const parts: Range[] = []
      if (first < from) parts.push([first, from - 1])
      if (last > to) parts.push([to + 1, last])
      return parts
    })
  }
  return left
}

export const sequence = (...parts: readonly Expr[]): Expr => {
  const filled = parts.filter((part) => !isEmpty(part))
  return filled.length === 1 ? (filled[0] as Expr) : { type: "sequence", parts: filled }
}

/** @throws GrammarError when there is none. */
export const choice = (...parts: readonly Expr[]): Expr => {
  if (parts.length === 0) throw new GrammarError("a choice without alternatives allows no text")
  return parts.length === 1 ? (parts[0] as Expr) : { type: "choice", parts }
}

export const optional = (part: Expr): Expr => repeat(part, 0, 1)

/** @param max `undefined`: no limit. */
export function repeat(part: Expr, min: number, max?: number): Expr {
  if (max === 0 || isEmpty(part)) return EMPTY
  return min === 1 && max === 1 ? part : { type: "repeat", part, min, max }
}

/** Rules by name. `root` describes the whole text. */
export class Rules {
  readonly bodies = new Map<string, Expr>()
  /** By name, the key of a rule that other grammars share. */
  readonly common = new Map<string, string>()
  readonly #shared = new Map<string, Expr>()

  /** Reserves a name for a rule that is defined later. */
  reserve(): string {
    const name = `r${this.bodies.size}`
    this.bodies.set(name, EMPTY)
    return name
  }

  define(name: string, body: Expr): void {
    this.bodies.set(name, body)
  }

  add(body: Expr): Expr {
    const name = this.reserve()
    this.define(name, body)
    return { type: "rule", name }
  }

  /** The rule of this key, defined on first use. It may refer to itself. A key has the same body in all grammars. */
  shared(key: string, body: (self: Expr) => Expr): Expr {
    const known = this.#shared.get(key)
    if (known) return known
    const name = this.reserve()
    const self: Expr = { type: "rule", name }
    this.#shared.set(key, self)
    this.common.set(name, key)
    this.define(name, body(self))
    return self
  }
}
