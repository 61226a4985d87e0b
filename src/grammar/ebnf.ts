/**
 * Parses grammars in the dialect that llama.cpp (GBNF) and xgrammar share:
 *
 *     root ::= item ("," " "? item)*     # a comment
 *     item ::= "a" | [b-e\u00e9] | [^\n"]{2,4}
 *
 * Literals are in double quotes. `[…]` is one character of a set, `[^…]` one outside of it, `.` any character. `*`, `+`, `?`, `{n}`, `{n,}` and
 * `{n,m}` repeat; parentheses group. Escapes: \n \r \t \" \\ \] \[ \- \^ \xNN \uNNNN \UNNNNNNNN. White space and new lines are ignored.
 */

import {
  ALL_CHARS,
  charClass,
  choice,
  codeOf,
  type Expr,
  GrammarError,
  LAST_CODE_POINT,
  literal,
  type Range,
  Rules,
  repeat,
  sequence,
  tidy,
  without,
} from "./expr.ts"

const MAX_COUNT = 1_000_000
const MAX_DEPTH = 200
const NAME = /[A-Za-z_][\w-]*/y
const SKIPPED = /(?:\s|#[^\n]*)*/y
const RULE = /([A-Za-z_][\w-]*)(?:\s|#[^\n]*)*::=/y
const COUNTS = /\{\s*(\d{1,9})\s*(,\s*(\d{1,9})?\s*)?\}/y
const HEX = /x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})/y
const CONTROLS: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" }

/** Parses a grammar. @throws GrammarError with the line of the error. */
export function ebnfRules(text: string): Rules {
  return new EbnfParser(text).parse()
}

class EbnfParser {
  readonly #text: string
  readonly #rules = new Rules()
  #at = 0
  #depth = 0

  constructor(text: string) {
    this.#text = text
  }

  parse(): Rules {
    this.#skip()
    while (this.#at < this.#text.length) {
      const [, name] = this.#match(RULE) ?? this.#refuse("expected a rule (name ::= …)")
      if (this.#rules.bodies.has(name as string)) this.#refuse(`the rule '${name}' is defined twice`)
      this.#skip()
      this.#rules.define(name as string, this.#choice())
      if (this.#at < this.#text.length && !this.#peekRule())
        this.#refuse(`'${this.#text[this.#at]}' is not allowed here`)
    }
    if (!this.#rules.bodies.has("root"))
      throw new GrammarError("the grammar has no rule named 'root'; add one for the whole text")
    return this.#rules
  }

  #refuse(what: string): never {
    const line = this.#text.slice(0, this.#at).split("\n").length
    throw new GrammarError(`${what} (line ${line} of the grammar)`)
  }

  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)
    if (!found) return undefined
    this.#at += found[0].length
    return found
  }

  #skip(): void {
    this.#match(SKIPPED)
  }

  #take(char: string): boolean {
    if (this.#text[this.#at] !== char) return false
    this.#at++
    return true
  }

  #peekRule(): boolean {
    RULE.lastIndex = this.#at
    return RULE.test(this.#text)
  }

  #choice(): Expr {
    if (++this.#depth > MAX_DEPTH) this.#refuse(`groups nest more than ${MAX_DEPTH} deep`)
    const parts = [this.#sequence()]
    while (this.#take("|")) {
      this.#skip()
      parts.push(this.#sequence())
    }
    this.#depth--
    return choice(...parts)
  }

  #sequence(): Expr {
    const parts: Expr[] = []
    for (;;) {
      const char = this.#text[this.#at]
      if (char === undefined || char === "|" || char === ")" || this.#peekRule()) break
      parts.push(this.#repeated(this.#item(char)))
    }
    if (parts.length === 0) this.#refuse('expected an expression; write "" for an empty one')
    return sequence(...parts)
  }

  #item(char: string): Expr {
    if (this.#take("(")) {
      this.#skip()
      const inner = this.#choice()
      if (!this.#take(")")) this.#refuse("a ) is missing")
      return inner
    }
    if (this.#take('"')) return this.#literal()
    if (this.#take("[")) return this.#set()
    if (this.#take(".")) return charClass(ALL_CHARS)
    const name = this.#match(NAME)?.[0]
    if (name === undefined) this.#refuse(`'${char}' is not allowed here`)
    return { type: "rule", name }
  }

  #repeated(part: Expr): Expr {
    this.#skip()
    let out = part
    for (;;) {
      if (this.#take("*")) out = repeat(out, 0)
      else if (this.#take("+")) out = repeat(out, 1)
      else if (this.#take("?")) out = repeat(out, 0, 1)
      else if (this.#text[this.#at] === "{") out = this.#counted(out)
      else return out
      this.#skip()
    }
  }

  #counted(part: Expr): Expr {
    const [, least, comma, most] = this.#match(COUNTS) ?? this.#refuse("a count must be {n}, {n,} or {n,m}")
    const min = Number(least)
    const max = comma === undefined ? min : most === undefined ? undefined : Number(most)
    if (Math.max(min, max ?? 0) > MAX_COUNT) this.#refuse(`a count above ${MAX_COUNT} is not supported`)
    if (max !== undefined && max < min) this.#refuse("the first count is greater than the second")
    return repeat(part, min, max)
  }

  #literal(): Expr {
    let text = ""
    for (;;) {
      const char = this.#char('a " is missing')
      if (char.is === '"') break
      text += char.text
    }
    this.#skip()
    return literal(text)
  }

  #set(): Expr {
    const inverted = this.#take("^")
    const ranges: Range[] = []
    for (;;) {
      const first = this.#char("a ] is missing")
      if (first.is === "]") break
      let last = first
      if (this.#text[this.#at] === "-" && this.#text[this.#at + 1] !== "]") {
        this.#at++
        last = this.#char("a ] is missing")
      }
      if (codeOf(last.text) < codeOf(first.text)) this.#refuse("the start of a range is after its end")
      ranges.push([codeOf(first.text), codeOf(last.text)])
    }
    this.#skip()
    const set = tidy(ranges)
    return charClass(inverted ? without(ALL_CHARS, set) : set)
  }

  /** Reads one character of a literal or set. `is`: the character itself where it is not escaped. */
  #char(missing: string): { text: string; is: string | undefined } {
    const code = this.#text.codePointAt(this.#at)
    if (code === undefined) this.#refuse(missing)
    const char = String.fromCodePoint(code)
    this.#at += char.length
    if (char !== "\\") return { text: char, is: char }
    const hex = this.#match(HEX)
    if (hex) {
      const value = Number.parseInt(hex[1] ?? hex[2] ?? hex[3] ?? "", 16)
      if (value > LAST_CODE_POINT || (value >= 0xd800 && value <= 0xdfff)) this.#refuse("there is no such character")
      return { text: String.fromCodePoint(value), is: undefined }
    }
    const letter = this.#text[this.#at] ?? this.#refuse(missing)
    if (/[0-9A-Za-z]/.test(letter) && CONTROLS[letter] === undefined) this.#refuse(`there is no escape \\${letter}`)
    this.#at++
    return { text: CONTROLS[letter] ?? letter, is: undefined }
  }
}
