/**
 * Converts regular expressions (ECMAScript 2025, flag u) into terms. Look-ahead becomes an intersection with the text that follows.
 * Look-behind, word boundaries and back-references are refused.
 */

import { GrammarError, type Range, without } from "./expr.ts"
import { type RegexNode, RegexParser } from "./regex-parser.ts"
import { alphabetOf, type Term, type Terms } from "./terms.ts"

/** Terms of patterns, by what made them. */
const made = new WeakMap<Terms, Map<string, Term>>()

function once(terms: Terms, key: string, make: () => Term): Term {
  const known = made.get(terms) ?? new Map<string, Term>()
  made.set(terms, known)
  const term = known.get(key) ?? make()
  known.set(key, term)
  return term
}

/**
 * The texts that a pattern matches as a whole; `^` and `$` at its ends have no effect.
 * @throws GrammarError naming the unsupported part and its place.
 */
export const wholeMatch = (terms: Terms, pattern: string): Term =>
  once(terms, `=${pattern}`, () => new RegexTerms(terms).after(new RegexParser(pattern).parse(), terms.empty, true))

/** The texts in which a pattern matches somewhere. @throws GrammarError naming the unsupported part and its place. */
export const anywhere = (terms: Terms, pattern: string): Term =>
  once(terms, `~${pattern}`, () => search(terms, new RegexParser(pattern).parse()))

function search(terms: Terms, node: RegexNode): Term {
  const make = new RegexTerms(terms)
  const atStart = make.after(node, terms.any, true)
  if (beginsAtStart(node)) return atStart
  if (!mentionsStart(node)) return terms.sequence(terms.any, atStart)
  return terms.or(atStart, terms.sequence(terms.anyChar, terms.any, make.after(node, terms.any, false)))
}

/** Whether every match begins at the start of the text. */
function beginsAtStart(node: RegexNode): boolean {
  if (node.type === "start") return true
  if (node.type === "choice") return node.parts.every(beginsAtStart)
  if (node.type !== "sequence") return false
  const [first] = node.parts
  return first !== undefined && beginsAtStart(first)
}

/** Whether the node has a `^` outside of look-ahead, or look-ahead with one. */
function mentionsStart(node: RegexNode): boolean {
  if (node.type === "start") return true
  if (node.type === "choice" || node.type === "sequence") return node.parts.some(mentionsStart)
  return (node.type === "repeat" || node.type === "ahead") && mentionsStart(node.part)
}

/** Whether the node has assertions, which depend on what surrounds them. */
function asserts(node: RegexNode): boolean {
  if (node.type === "choice" || node.type === "sequence") return node.parts.some(asserts)
  if (node.type === "repeat") return asserts(node.part)
  return node.type === "start" || node.type === "end" || node.type === "ahead"
}

/** Most copies of a repeated part that has assertions. */
const MAX_COPIES = 64

class RegexTerms {
  constructor(readonly terms: Terms) {}

  /** What the node matches, and then `rest`. @param start Whether the text begins here; otherwise `^` fails. */
  after(node: RegexNode, rest: Term, start: boolean): Term {
    const { terms } = this
    if (!asserts(node)) return terms.sequence(this.#pure(node), rest)
    switch (node.type) {
      case "start":
        return start ? rest : terms.none
      case "end":
        return terms.and(terms.empty, rest)
      case "ahead": {
        const limit = node.inverted ? undefined : lengthLimit(node.part, alphabetOf(rest))
        if (limit) return terms.and(terms.repeat(terms.anyChar, ...limit), rest)
        const seen = this.after(node.part, terms.any, start)
        return terms.and(node.inverted ? terms.not(seen) : seen, rest)
      }
      case "choice":
        return terms.or(...node.parts.map((part) => this.after(part, rest, start)))
      case "sequence":
        return this.#sequence(node.parts, rest, start)
      case "repeat":
        return this.#repeated(node, rest, start)
      case "chars":
        return terms.sequence(terms.chars(node.ranges), rest)
    }
  }

  #sequence(parts: readonly RegexNode[], rest: Term, start: boolean): Term {
    const [first, ...others] = parts
    if (first === undefined) return rest
    if (!start || !others.some(mentionsStart)) return this.after(first, this.#sequence(others, rest, false), start)
    if (isZeroWidth(first)) return this.after(first, this.#sequence(others, rest, true), true)
    if (canBeEmpty(first)) throw new GrammarError("a ^ after a part that may be empty is not supported in the pattern")
    return this.after(first, this.#sequence(others, rest, false), true)
  }

  /** A repetition with assertions inside, as copies. */
  #repeated({ part, min, max }: Extract<RegexNode, { type: "repeat" }>, rest: Term, start: boolean): Term {
    const most = max ?? Number.POSITIVE_INFINITY
    const guarded = part.type === "sequence" ? guardedChars(part.parts) : undefined
    if (guarded) return this.terms.sequence(this.terms.repeat(this.terms.chars(guarded), min, most), rest)
    if (most > MAX_COPIES)
      throw new GrammarError("look-ahead or an anchor in a repeated group is not supported in the pattern")
    let term = rest
    for (let i = most; i > 0; i--) {
      const once = this.after(part, term, start && i === most)
      term = i > min ? this.terms.or(rest, once) : once
    }
    return term
  }

  #pure(node: RegexNode): Term {
    const { terms } = this
    switch (node.type) {
      case "chars":
        return terms.chars(node.ranges)
      case "sequence":
        return terms.sequence(...node.parts.map((part) => this.#pure(part)))
      case "choice":
        return terms.or(...node.parts.map((part) => this.#pure(part)))
      case "repeat":
        return terms.repeat(this.#pure(node.part), node.min, node.max)
      default:
        return terms.empty
    }
  }
}

/** `(?![x])[set]`: the characters of the set that the look-ahead at one character does not exclude. */
function guardedChars(parts: readonly RegexNode[]): readonly Range[] | undefined {
  const [ahead, chars, ...more] = parts
  if (ahead?.type !== "ahead" || !ahead.inverted || chars?.type !== "chars" || more.length > 0) return undefined
  const [only, ...others] = ahead.part.type === "sequence" ? ahead.part.parts : [ahead.part]
  return only?.type === "chars" && others.length === 0 ? without(chars.ranges, only.ranges) : undefined
}

/**
 * The lengths that look-ahead such as `.{1,253}$` asks for, where all that follows has characters of this alphabet; `undefined`: it asks
 * for something else. A part for other characters, as in `.{1,253}\\.?$`, counts as absent.
 */
function lengthLimit(node: RegexNode, alphabet: readonly Range[]): readonly [min: number, max: number] | undefined {
  if (node.type !== "sequence" || node.parts.at(-1)?.type !== "end" || alphabet.length === 0) return undefined
  let [least, most] = [0, 0]
  for (const part of node.parts.slice(0, -1)) {
    const { min, max, part: inner } = part.type === "repeat" ? part : { min: 1, max: 1, part }
    if (inner.type !== "chars") return undefined
    const isWide = without(alphabet, inner.ranges).length === 0
    if (!isWide && min > 0) return undefined
    least += min
    if (isWide) most += max ?? Number.POSITIVE_INFINITY
  }
  return [least, most]
}

const isZeroWidth = (node: RegexNode): boolean =>
  node.type === "start" ||
  node.type === "end" ||
  node.type === "ahead" ||
  ((node.type === "choice" || node.type === "sequence") && node.parts.every(isZeroWidth))

function canBeEmpty(node: RegexNode): boolean {
  if (node.type === "chars") return false
  if (node.type === "choice") return node.parts.some(canBeEmpty)
  if (node.type === "sequence") return node.parts.every(canBeEmpty)
  return node.type !== "repeat" || node.min === 0 || canBeEmpty(node.part)
}
