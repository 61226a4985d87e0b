/** Expressions for the parts of JSON that rules of schemas consist of. */

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

/** One character of these ranges in a JSON string, as itself or as its short escape. */
export const jsonChars: WriteChars = (ranges) => {
  const plain = without(ranges, [CONTROLS, QUOTE, BACKSLASH])
  const letters = SHORT_ESCAPES.filter(([code]) => ranges.some(([first, last]) => first <= code && code <= last))
  const escapes = oneOf(letters.map(([, letter]) => letter).join(""))
  if (letters.length === 0) return charClass(plain)
  const escaped = sequence(literal("\\"), escapes)
  return plain.length === 0 ? escaped : choice(charClass(plain), escaped)
}

const DIGIT = oneOf("0123456789")
const HEX_DIGIT = oneOf("0123456789ABCDEFabcdef")
/** A \u escape, but of no surrogate. */
const UNICODE = sequence(
  literal("u"),
  choice(
    sequence(oneOf("0123456789ABCEFabcef"), HEX_DIGIT, HEX_DIGIT, HEX_DIGIT),
    sequence(oneOf("Dd"), oneOf("01234567"), HEX_DIGIT, HEX_DIGIT),
  ),
)
const SIMPLE = oneOf('"\\/bfnrt')

/** One character of a string of limited length. */
const CHAR: Expr = choice(charClass(UNESCAPED), sequence(literal("\\"), SIMPLE))

/** A string between its quotes. */
export const quoted = (inside: Expr): Expr => sequence(literal('"'), inside, literal('"'))

/** A string of `min` to `max` characters. It must be the last part of its rule. */
export const limitedString = (min: number, max: number | undefined): Expr =>
  quoted({ type: "repeat", part: CHAR, min, max, common: "limited string" })

const YEAR = "[0-9]{4}"
const LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
const DAY_28 = "(?:0[1-9]|1[0-9]|2[0-8])"
/** RFC 3339. */
const DATE = `(?:${YEAR}-(?:(?:0[13578]|1[02])-(?:${DAY_28}|29|30|31)|(?:0[469]|11)-(?:${DAY_28}|29|30)|02-${DAY_28})|${LEAP_YEAR}-02-29)`
const TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:0[0-9]|1[0-9]|2[0-3]):[0-5][0-9])"
const BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
const HEX = "[0-9a-fA-F]"
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?"

/** Supported `format`s of JSON Schema, as regular expressions that match only valid values. */
export const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  uuid: `${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}`,
  ipv4: `${BYTE}\\.${BYTE}\\.${BYTE}\\.${BYTE}`,
  hostname: `${LABEL}(?:\\.${LABEL}){0,4}`,
  email: `[A-Za-z0-9_+-]{1,24}(?:\\.[A-Za-z0-9_+-]{1,24}){0,2}@${LABEL}(?:\\.${LABEL}){1,4}`,
}

/** Rules that schemas share, each defined on first use. */
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

  /** A finite number with about as many digits as a double is exact to. */
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

  /** @param member A key, a colon and a value. */
  objectOf(member: Expr): Expr {
    return sequence(literal("{"), this.space, optional(this.#several(member)), literal("}"))
  }

  #several(part: Expr): Expr {
    return sequence(part, this.space, repeat(sequence(this.comma, part, this.space), 0))
  }

  /** A quoted string without escapes, other than these names. */
  keyExcept(names: readonly string[]): Expr {
    return this.add(quoted(this.#except(names)))
  }

  /** Continuations after a common prefix of `names` that complete none of them. */
  #except(names: readonly string[]): Expr {
    const byChar = new Map<string, string[]>()
    for (const name of names) {
      const [first] = Array.from(name)
      if (first !== undefined) byChar.set(first, [...(byChar.get(first) ?? []), name.slice(first.length)])
    }
    const taken = [...byChar.keys()].map((char): Range => [codeOf(char), codeOf(char)])
    const parts = [sequence(charClass(without(UNESCAPED, taken)), repeat(charClass(UNESCAPED), 0))]
    for (const [char, rest] of byChar) {
      // A name that needs escapes cannot be written without them.
      const isPlain = UNESCAPED.some(([first, last]) => first <= codeOf(char) && codeOf(char) <= last)
      if (isPlain) parts.push(sequence(literal(char), this.#except(rest)))
    }
    if (!names.includes("")) parts.push(EMPTY)
    return choice(...parts)
  }
}
