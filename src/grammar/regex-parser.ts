/** Parses regular expressions (ECMAScript 2025, flag u) into trees. */

import { ALL_CHARS, GrammarError, LAST_CODE_POINT, type Range, tidy, without } from "./expr.ts"

export type RegexNode =
  | { readonly type: "chars"; readonly ranges: readonly Range[] }
  | { readonly type: "sequence" | "choice"; readonly parts: readonly RegexNode[] }
  | { readonly type: "repeat"; readonly part: RegexNode; readonly min: number; readonly max: number | undefined }
  /** The start and the end of the text. */
  | { readonly type: "start" | "end" }
  /** Look-ahead: what follows matches `part`, or does not. */
  | { readonly type: "ahead"; readonly part: RegexNode; readonly inverted: boolean }

const DIGIT: readonly Range[] = [[0x30, 0x39]]
const WORD: readonly Range[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
]
const SPACE: readonly Range[] = tidy([
  [9, 13],
  [32, 32],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
])
const LINE_ENDS: readonly Range[] = [
  [10, 10],
  [13, 13],
  [0x2028, 0x2029],
]
const SETS: Readonly<Record<string, readonly Range[]>> = {
  d: DIGIT,
  w: WORD,
  s: SPACE,
  D: without(ALL_CHARS, DIGIT),
  W: without(ALL_CHARS, WORD),
  S: without(ALL_CHARS, SPACE),
}
const CONTROLS: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, "0": 0 }
/** Greatest nesting depth of groups, and greatest count of a quantifier. */
const MAX_DEPTH = 64
const MAX_COUNT = 1_000_000

export class RegexParser {
  readonly #chars: string[]
  #at = 0
  #depth = 0

  constructor(pattern: string) {
    this.#chars = Array.from(pattern)
  }

  /** @throws GrammarError naming the unsupported part and its place. */
  parse(): RegexNode {
    const whole = this.#alternatives()
    if (this.#at < this.#chars.length) this.#refuse("an unmatched )")
    return whole
  }

  #refuse(what: string): never {
    throw new GrammarError(`${what} at character ${this.#at + 1} of the pattern is not supported`)
  }

  #peek(ahead = 0): string | undefined {
    return this.#chars[this.#at + ahead]
  }

  #take(char: string): boolean {
    if (this.#peek() !== char) return false
    this.#at++
    return true
  }

  #alternatives(): RegexNode {
    const parts = [this.#sequence()]
    while (this.#take("|")) parts.push(this.#sequence())
    return parts.length === 1 ? (parts[0] as RegexNode) : { type: "choice", parts }
  }

  #sequence(): RegexNode {
    const parts: RegexNode[] = []
    for (;;) {
      const char = this.#peek()
      if (char === undefined || char === "|" || char === ")") return { type: "sequence", parts }
      parts.push(this.#quantified(this.#atom(char)))
    }
  }

  #atom(char: string): RegexNode {
    if (char === "(") return this.#group()
    if (char === "[") return this.#charSet(this.#bracket())
    if (char === "\\") {
      this.#at++
      return this.#charSet(this.#escape())
    }
    // As without the flag u, brackets that close nothing stand for themselves.
    if ("*+?{".includes(char)) this.#refuse(`a ${char} that stands alone`)
    this.#at++
    if (char === "^") return { type: "start" }
    if (char === "$") return { type: "end" }
    if (char === ".") return this.#charSet(without(ALL_CHARS, LINE_ENDS))
    const code = char.codePointAt(0) as number
    return this.#charSet([[code, code]])
  }

  #charSet(ranges: readonly Range[]): RegexNode {
    if (ranges.length === 0) this.#refuse("an empty set")
    return { type: "chars", ranges }
  }

  #group(): RegexNode {
    this.#at++
    let ahead: boolean | undefined
    if (this.#take("?")) {
      const name = /^<[A-Za-z_]\w*>/.exec(this.#chars.slice(this.#at, this.#at + 64).join(""))?.[0]
      if (name !== undefined) this.#at += name.length
      else if (this.#take("=")) ahead = true
      else if (this.#take("!")) ahead = false
      else if (!this.#take(":")) this.#refuse("looking behind (or a flag)")
    }
    if (++this.#depth > MAX_DEPTH) this.#refuse(`a group ${MAX_DEPTH} groups deep`)
    const inner = this.#alternatives()
    this.#depth--
    if (!this.#take(")")) this.#refuse("a missing )")
    return ahead === undefined ? inner : { type: "ahead", part: inner, inverted: !ahead }
  }

  #quantified(part: RegexNode): RegexNode {
    const char = this.#peek()
    let bounds: [number, number | undefined] | undefined
    if (char === "*") bounds = [0, undefined]
    if (char === "+") bounds = [1, undefined]
    if (char === "?") bounds = [0, 1]
    let length = 1
    if (char === "{") {
      const found = /^\{(\d+)(,(\d*))?\}/.exec(this.#chars.slice(this.#at, this.#at + 24).join(""))
      if (!found) this.#refuse("a { that begins no quantifier")
      const min = Number(found[1])
      bounds = [min, found[2] === undefined ? min : found[3] === "" ? undefined : Number(found[3])]
      length = found[0].length
    }
    if (bounds === undefined) return part
    const [min, max] = bounds
    if (Math.max(min, max ?? 0) > MAX_COUNT) this.#refuse(`a quantifier above ${MAX_COUNT}`)
    if (max !== undefined && max < min) this.#refuse("a quantifier with its greater bound first")
    this.#at += length
    // Lazy and greedy quantifiers match the same texts.
    this.#take("?")
    if (["*", "+", "?", "{"].includes(this.#peek() ?? "")) this.#refuse("a quantifier of a quantifier")
    if (part.type === "start" || part.type === "end" || part.type === "ahead")
      this.#refuse("a quantifier of an assertion")
    return { type: "repeat", part, min, max }
  }

  /** After the backslash. */
  #escape(): readonly Range[] {
    const char = this.#peek()
    if (char === undefined) this.#refuse("a \\ at the end")
    const set = SETS[char]
    if (set) {
      this.#at++
      return set
    }
    if (char === "p" || char === "P") return this.#property(char === "P")
    const code = this.#escapedChar(char)
    return [[code, code]]
  }

  #property(inverted: boolean): readonly Range[] {
    const found = /^.\{([\w=]+)\}/.exec(this.#chars.slice(this.#at, this.#at + 64).join(""))
    const ranges = found && unicodeProperty(found[1] as string)
    if (!found || !ranges) this.#refuse("\\p without a property of Unicode")
    this.#at += found[0].length
    return inverted ? without(ALL_CHARS, ranges) : ranges
  }

  #escapedChar(char: string): number {
    const control = CONTROLS[char]
    if (control !== undefined && !(char === "0" && /\d/.test(this.#peek(1) ?? ""))) {
      this.#at++
      return control
    }
    const rest = this.#chars.slice(this.#at, this.#at + 12).join("")
    const hex = /^(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\})/.exec(rest)
    if (hex) {
      const code = Number.parseInt(hex[1] ?? hex[2] ?? hex[3] ?? "", 16)
      const low = /^u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})/i.exec(rest)
      if (low) {
        this.#at += low[0].length
        return String.fromCharCode(Number.parseInt(low[1] ?? "", 16), Number.parseInt(low[2] ?? "", 16)).codePointAt(
          0,
        ) as number
      }
      if (code > LAST_CODE_POINT || (code >= 0xd800 && code <= 0xdfff)) this.#refuse("half a character")
      this.#at += hex[0].length
      return code
    }
    if (/[0-9A-Za-z]/.test(char)) this.#refuse(`\\${char}`)
    this.#at++
    return char.codePointAt(0) as number
  }

  #bracket(): readonly Range[] {
    this.#at++
    const inverted = this.#take("^")
    const ranges: Range[] = []
    while (!this.#take("]")) {
      const first = this.#member()
      const [low] = first
      if (this.#peek() !== "-" || this.#peek(1) === "]" || this.#peek(1) === undefined) {
        ranges.push(...first)
        continue
      }
      this.#at++
      const second = this.#member()
      const [high] = second
      const single = (set: readonly Range[]) => set.length === 1 && set[0]?.[0] === set[0]?.[1]
      if (!low || !high || !single(first) || !single(second) || high[0] < low[0]) this.#refuse("a range without ends")
      ranges.push([low[0], high[0]])
    }
    const set = tidy(ranges)
    return inverted ? without(ALL_CHARS, set) : set
  }

  #member(): readonly Range[] {
    const char = this.#peek()
    if (char === undefined) this.#refuse("a missing ]")
    this.#at++
    if (char === "\\") {
      if (this.#take("b")) return [[8, 8]]
      return this.#escape()
    }
    const code = char.codePointAt(0) as number
    return [[code, code]]
  }
}

/** Code points that are examined at once. */
const CHUNK = 4096

const properties = new Map<string, readonly Range[]>()

/** The characters of a Unicode property (`L`, `Script=Greek`); `undefined`: there is no such property. */
function unicodeProperty(name: string): readonly Range[] | undefined {
  const known = properties.get(name)
  if (known) return known
  let pattern: RegExp
  try {
    pattern = new RegExp(`\\p{${name}}+`, "gu")
  } catch {
    return undefined
  }
  const ranges: Range[] = []
  for (let from = 0; from <= LAST_CODE_POINT; from += CHUNK) {
    const text = String.fromCodePoint(...Array.from({ length: CHUNK }, (_, i) => from + i))
    for (const [run] of text.matchAll(pattern)) {
      const codes = Array.from(run, (char) => char.codePointAt(0) as number)
      ranges.push([codes[0] as number, codes.at(-1) as number])
    }
  }
  const found = tidy(ranges)
  properties.set(name, found)
  return found
}
