/** Expressions for the parts of JSON that rules of schemas consist of. */

import {
  ALL_CHARS,
  charClass,
  choice,
  EMPTY,
  type Expr,
  literal,
  oneOf,
  optional,
  type Range,
  Rules,
  repeat,
  sequence,
  without,
} from "./expr.ts"
import { MOST_DIGITS } from "./number-range.ts"
import type { Type } from "./schema-values.ts"
import { termExpr, type WriteChars } from "./term-expr.ts"
import { statesOf } from "./term-states.ts"
import { needsAutomaton, type Term, Terms } from "./terms.ts"

/** Common white space: none, one space, or a new line with indentation. */
const SPACE = choice(
  EMPTY,
  literal(" "),
  sequence(literal("\n"), choice(repeat(literal(" "), 0, 24), repeat(literal("\t"), 1, 6))),
)

const CONTROLS: Range = [0, 0x1f]
const QUOTE: Range = [0x22, 0x22]
const BACKSLASH: Range = [0x5c, 0x5c]
/** Characters that need no escape in a JSON string. */
const UNESCAPED: readonly Range[] = without(ALL_CHARS, [CONTROLS, QUOTE, BACKSLASH])

const SHORT_ESCAPES: readonly [code: number, letter: string][] = [
  [8, "b"],
  [9, "t"],
  [10, "n"],
  [12, "f"],
  [13, "r"],
  [0x22, '"'],
  [0x5c, "\\"],
]

/** One character of these ranges in a JSON string: as itself, as its short escape, or as the \u escape of a control character without one. */
export const jsonChars: WriteChars = (ranges) => {
  const has = (code: number) => ranges.some(([first, last]) => first <= code && code <= last)
  const plain = without(ranges, [CONTROLS, QUOTE, BACKSLASH])
  const letters = SHORT_ESCAPES.filter(([code]) => has(code)).map(([, letter]) => letter)
  const others = Array.from({ length: 0x20 }, (_, code) => code).filter(
    (code) => has(code) && !SHORT_ESCAPES.some(([short]) => short === code),
  )
  const parts: Expr[] = plain.length === 0 ? [] : [charClass(plain)]
  const escapes: Expr[] = letters.length === 0 ? [] : [oneOf(letters.join(""))]
  for (const high of ["0", "1"]) {
    const lows = others.filter((code) => code >> 4 === Number(high)).map((code) => (code & 15).toString(16))
    const either = lows.flatMap((low) => (/\d/.test(low) ? [low] : [low, low.toUpperCase()]))
    if (either.length > 0) escapes.push(sequence(literal(`u00${high}`), oneOf(either.join(""))))
  }
  if (escapes.length > 0) parts.push(sequence(literal("\\"), choice(...escapes)))
  return choice(...parts)
}

const DIGIT = oneOf("0123456789")
const FIRST_DIGIT = oneOf("123456789")
const HEX_DIGIT = oneOf("0123456789ABCDEFabcdef")
const hexDigits = (n: number): Expr => sequence(...Array.from({ length: n }, () => HEX_DIGIT))
/** A \u escape: of a character, or of the two surrogates of one. */
const UNICODE = sequence(
  literal("u"),
  choice(
    sequence(oneOf("0123456789ABCEFabcef"), hexDigits(3)),
    sequence(
      oneOf("Dd"),
      choice(
        sequence(oneOf("01234567"), hexDigits(2)),
        sequence(oneOf("89ABab"), hexDigits(2), literal("\\u"), oneOf("Dd"), oneOf("CDEFcdef"), hexDigits(2)),
      ),
    ),
  ),
)
const SIMPLE = oneOf('"\\/bfnrt')

/** One character of a string without a pattern. */
const CHAR: Expr = choice(charClass(UNESCAPED), sequence(literal("\\"), choice(SIMPLE, UNICODE)))

/** A string between its quotes. */
export const quoted = (inside: Expr): Expr => sequence(literal('"'), inside, literal('"'))

/** A string of `min` to `max` characters. It must be the last part of its rule. */
export const limitedString = (min: number, max: number | undefined): Expr =>
  quoted({ type: "repeat", part: CHAR, min, max, common: "limited string" })

/** Rules that schemas share, each defined on first use. */
export class JsonRules extends Rules {
  readonly terms = new Terms()
  readonly #written = new Map<WriteChars, Map<Term, Expr>>()

  /** The texts of a term. `write` gives the form of each character. */
  term(term: Term, write: WriteChars = charClass): Expr {
    const known = this.#written.get(write) ?? new Map<Term, Expr>()
    this.#written.set(write, known)
    const expr = known.get(term) ?? termExpr(this, this.terms, term, write)
    known.set(term, expr)
    return expr
  }

  /** Whether a term has no texts. @throws GrammarError where its automaton is too large. */
  isEmpty(term: Term): boolean {
    return needsAutomaton(term) ? statesOf(this.terms, term) === undefined : term === this.terms.none
  }

  /** Any value of a type. */
  anyOf(type: Type): Expr {
    if (type === "boolean") return choice(literal("true"), literal("false"))
    if (type === "null") return literal("null")
    return type === "array" ? this.listOf(this.any) : this[type]
  }

  get space(): Expr {
    return this.shared("space", () => SPACE)
  }

  get comma(): Expr {
    return sequence(literal(","), this.space)
  }

  get colon(): Expr {
    return sequence(literal(":"), this.space)
  }

  get string(): Expr {
    return this.shared("string", () => quoted(repeat(CHAR, 0)))
  }

  /** A number that every parser reads as a finite one: it has at most {@link MOST_DIGITS} digits before the point, or an exponent up to 307. */
  get number(): Expr {
    return this.shared("number", () => {
      const fraction = optional(sequence(literal("."), repeat(DIGIT, 1, MOST_DIGITS)))
      const exponent = sequence(oneOf("eE"), optional(oneOf("+-")), repeat(DIGIT, 1, 2))
      const large = choice(
        sequence(literal("-"), oneOf("12"), DIGIT, DIGIT),
        sequence(literal("-30"), oneOf("01234567")),
        sequence(optional(literal("+")), oneOf("12"), DIGIT, DIGIT),
        sequence(optional(literal("+")), literal("30"), oneOf("01234567")),
      )
      const whole = (most: number) => choice(literal("0"), sequence(FIRST_DIGIT, repeat(DIGIT, 0, most - 1)))
      return sequence(
        optional(literal("-")),
        choice(
          sequence(whole(MOST_DIGITS), fraction),
          sequence(whole(MOST_DIGITS - 100), fraction, exponent),
          sequence(DIGIT, fraction, oneOf("eE"), large),
        ),
      )
    })
  }

  /** A whole number without exponent, of at most {@link MOST_DIGITS} digits. */
  get integer(): Expr {
    const whole = choice(literal("0"), sequence(FIRST_DIGIT, repeat(DIGIT, 0, MOST_DIGITS - 1)))
    return this.shared("integer", () => sequence(optional(literal("-")), whole))
  }

  get any(): Expr {
    return this.shared("any", (any) => {
      const words = ["true", "false", "null"].map(literal)
      return choice(this.string, this.number, ...words, this.listOf(any), this.objectOf(this.#pair(any)))
    })
  }

  /** Any object. */
  get object(): Expr {
    return this.shared("object", () => this.objectOf(this.#pair(this.any)))
  }

  #pair(value: Expr): Expr {
    return sequence(this.string, this.space, this.colon, value)
  }

  listOf(item: Expr): Expr {
    return sequence(literal("["), this.space, optional(this.#several(item)), literal("]"))
  }

  /** @param member A key, a colon and a value. */
  objectOf(member: Expr): Expr {
    return sequence(literal("{"), this.space, optional(this.#several(member)), literal("}"))
  }

  #several(part: Expr): Expr {
    return sequence(part, this.space, repeat(sequence(this.comma, part, this.space), 0))
  }
}
