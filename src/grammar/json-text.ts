/** JSON's tokens as expressions: what every rule of a schema is made of. */

import {
  ALL_CHARS,
  charClass,
  choice,
  codeOf,
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
import type { WriteChars } from "./regex.ts"

/** White space as people and models write it: none, one space, or a new line with its indentation. */
const SPACE = choice(
  EMPTY,
  literal(" "),
  sequence(literal("\n"), choice(repeat(literal(" "), 0, 24), repeat(literal("\t"), 1, 6))),
)

const CONTROLS: Range = [0, 0x1f]
const QUOTE: Range = [0x22, 0x22]
const BACKSLASH: Range = [0x5c, 0x5c]
/** Characters that stand for themselves in a JSON string. */
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

/** One character of these sets inside a JSON string: as itself, or as its short escape. */
export const jsonChars: WriteChars = (ranges) => {
  const plain = without(ranges, [CONTROLS, QUOTE, BACKSLASH])
  const letters = SHORT_ESCAPES.filter(([code]) => ranges.some(([first, last]) => first <= code && code <= last))
  const escapes = oneOf(letters.map(([, letter]) => letter).join(""))
  if (letters.length === 0) return charClass(plain)
  const escaped = sequence(literal("\\"), escapes)
  return plain.length === 0 ? escaped : choice(charClass(plain), escaped)
}

const DIGIT = oneOf("0123456789")
const HEX = oneOf("0123456789ABCDEFabcdef")
/** Of the half characters that \u can write, none. */
const UNICODE = sequence(
  literal("u"),
  choice(sequence(oneOf("0123456789ABCEFabcef"), HEX, HEX, HEX), sequence(oneOf("Dd"), oneOf("01234567"), HEX, HEX)),
)
const SIMPLE = oneOf('"\\/bfnrt')

/** One character of a string of limited length. */
const CHAR: Expr = choice(charClass(UNESCAPED), sequence(literal("\\"), SIMPLE))

/** A string between its quotes. */
export const quoted = (inside: Expr): Expr => sequence(literal('"'), inside, literal('"'))

/** A string of so many characters; nothing stands behind it in its rule. */
export const limitedString = (min: number, max: number | undefined): Expr =>
  quoted({ type: "repeat", part: CHAR, min, max, common: "limited string" })

/** The rules that schemas share, each made when it is first used. */
export class JsonRules extends Rules {
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
    const char = choice(charClass(UNESCAPED), sequence(literal("\\"), choice(SIMPLE, UNICODE)))
    return this.shared("string", () => quoted(repeat(char, 0)))
  }

  /** Finite, and about as long as a double is exact. */
  get number(): Expr {
    return this.shared("number", () => {
      const whole = choice(literal("0"), sequence(oneOf("123456789"), repeat(DIGIT, 0, 14)))
      const exponent = sequence(oneOf("eE"), optional(oneOf("+-")), repeat(DIGIT, 1, 2))
      return sequence(
        optional(literal("-")),
        whole,
        optional(sequence(literal("."), repeat(DIGIT, 1, 16))),
        optional(exponent),
      )
    })
  }

  get integer(): Expr {
    const whole = sequence(optional(literal("-")), oneOf("123456789"), repeat(DIGIT, 0, 14))
    return this.shared("integer", () => choice(literal("0"), whole))
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

  /** @param member Key, colon and value. */
  objectOf(member: Expr): Expr {
    return sequence(literal("{"), this.space, optional(this.#several(member)), literal("}"))
  }

  #several(part: Expr): Expr {
    return sequence(part, this.space, repeat(sequence(this.comma, part, this.space), 0))
  }

  /** A quoted string without escapes that is none of these. */
  keyExcept(names: readonly string[]): Expr {
    return this.add(quoted(this.#except(names)))
  }

  /** What follows a common beginning of `names`, and completes none of them. */
  #except(names: readonly string[]): Expr {
    const byChar = new Map<string, string[]>()
    for (const name of names) {
      const [first] = Array.from(name)
      if (first !== undefined) byChar.set(first, [...(byChar.get(first) ?? []), name.slice(first.length)])
    }
    const taken = [...byChar.keys()].map((char): Range => [codeOf(char), codeOf(char)])
    const parts = [sequence(charClass(without(UNESCAPED, taken)), repeat(charClass(UNESCAPED), 0))]
    for (const [char, rest] of byChar) {
      // A name that needs escapes to be written cannot be met without them.
      const isPlain = UNESCAPED.some(([first, last]) => first <= codeOf(char) && codeOf(char) <= last)
      if (isPlain) parts.push(sequence(literal(char), this.#except(rest)))
    }
    if (!names.includes("")) parts.push(EMPTY)
    return choice(...parts)
  }
}
