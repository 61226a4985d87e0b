/** Converts terms into expressions: as they are where an expression can say the same, else by way of their automaton. */

import { charClass, choice, EMPTY, type Expr, literal, type Range, type Rules, repeat, sequence } from "./expr.ts"
import { statesOf } from "./term-states.ts"
import { needsAutomaton, type Term, type Terms } from "./terms.ts"

/** Makes the expression for one character of a set, for example in a JSON string. */
export type WriteChars = (ranges: readonly Range[]) => Expr

/** No text. */
export const NOTHING: Expr = charClass([])

/**
 * The texts of a term, each followed by `ending`.
 * @throws GrammarError where the automaton is too large.
 */
export function termExpr(rules: Rules, terms: Terms, term: Term, write: WriteChars = charClass, ending = EMPTY): Expr {
  if (!needsAutomaton(term)) return sequence(plainExpr(term, write), ending)
  const states = statesOf(terms, term)
  if (states === undefined) return NOTHING
  const names = states.ends.map((): Expr => ({ type: "rule", name: rules.reserve() }))
  for (const [at, edges] of states.edges.entries()) {
    const parts = edges.map(([ranges, to]) => sequence(write(ranges), names[to] as Expr))
    if (states.ends[at]) parts.push(ending)
    rules.define((names[at] as Extract<Expr, { type: "rule" }>).name, parts.length === 0 ? NOTHING : choice(...parts))
  }
  return names[0] as Expr
}

function plainExpr(term: Term, write: WriteChars): Expr {
  switch (term.kind) {
    case "empty":
      return EMPTY
    case "chars":
      return write(term.ranges)
    case "sequence": {
      const parts: Expr[] = []
      let at: Term = term
      for (; at.kind === "sequence"; at = at.rest) parts.push(plainExpr(at.first, write))
      return sequence(...parts, plainExpr(at, write))
    }
    case "or":
      return choice(...term.parts.map((part) => plainExpr(part, write)))
    case "repeat":
      return repeat(plainExpr(term.part, write), term.min, Number.isFinite(term.max) ? term.max : undefined)
    default:
      return NOTHING
  }
}

const decoder = new TextDecoder()

/** Writes what an expression derives with other characters: each character as `write` says, in the rules that it refers to as well. */
export function rewritten(rules: Rules, expr: Expr, write: WriteChars): Expr {
  const names = new Map<string, Expr>()
  const visit = (at: Expr): Expr => {
    switch (at.type) {
      case "text":
        return sequence(...Array.from(decoder.decode(at.bytes), (char) => write(single(char))))
      case "chars":
        return at.ranges.length === 0 ? NOTHING : write(at.ranges)
      case "sequence":
        return sequence(...at.parts.map(visit))
      case "choice":
        return choice(...at.parts.map(visit))
      case "repeat":
        return repeat(visit(at.part), at.min, at.max)
      case "free":
        return literal("")
      case "rule": {
        const known = names.get(at.name)
        if (known) return known
        const name = rules.reserve()
        const rule: Expr = { type: "rule", name }
        names.set(at.name, rule)
        rules.define(name, visit(rules.bodies.get(at.name) as Expr))
        return rule
      }
    }
  }
  return visit(expr)
}

const single = (char: string): Range[] => [[char.codePointAt(0) as number, char.codePointAt(0) as number]]
