/** Converts a constraint for function calls into rules. */

import { parseJson } from "../json.ts"
import type { ToolsConstraint } from "./constraint.ts"
import {
  ALL_CHARS,
  charClass,
  choice,
  codeOf,
  type Expr,
  literal,
  oneOf,
  optional,
  type Range,
  type Rules,
  repeat,
  sequence,
  without,
} from "./expr.ts"
import { SchemaConverter } from "./json-schema.ts"
import { JsonRules } from "./json-text.ts"

/** White space that may precede an answer. */
const BLANKS = " \t\n"
const BLANK = repeat(oneOf(BLANKS), 0)

/** @throws GrammarError naming the unsupported keyword in a function's parameters. */
export function toolsRules(constraint: ToolsConstraint): Rules {
  const { trigger, atStart, open, calls, separator, close, between, empty, required, parallel, answer } = constraint
  const rules = new JsonRules()
  const call = rules.add(
    choice(
      ...calls.map(({ begin, parameters, lenient, end }, i) => {
        const options = { at: `tools/${i}/parameters`, isObject: true, ...(lenient && { onRelaxed: () => {} }) }
        const value = new SchemaConverter(parseJson(parameters), rules, options).convert()
        return sequence(literal(begin), value, literal(end))
      }),
    ),
  )
  const more = (between: string | undefined, part: Expr): Expr =>
    parallel && between !== undefined ? repeat(sequence(literal(between), part), 0) : literal("")
  const list = sequence(call, more(separator, call))
  const inner = empty && !required ? optional(list) : list
  const block = rules.add(sequence(literal(open), inner, literal(close)))
  const blocks = rules.add(sequence(block, more(between, sequence(literal(trigger), block))))
  rules.define("root", begin())
  return rules

  function begin(): Expr {
    const called = sequence(literal(trigger), blocks)
    const alone = sequence(repeat(oneOf(BLANKS), 0, 2), called)
    if (required) return alone
    if (answer !== undefined)
      return choice(alone, new SchemaConverter(parseJson(answer), rules, { at: "answer" }).convert())
    if (!atStart) return { type: "free", mark: trigger, after: blocks, mayEnd: true }
    return sequence(BLANK, choice(called, otherThan(Array.from(trigger))))
  }
}

/** Any text that begins neither with these characters nor with a blank. */
function otherThan(mark: readonly string[]): Expr {
  const single = (char: string): Range => [codeOf(char), codeOf(char)]
  const any = repeat(charClass(ALL_CHARS), 0)
  return mark.reduceRight<Expr | undefined>((after, char, i) => {
    const taken = i === 0 ? [char, ...BLANKS] : [char]
    const other = sequence(charClass(without(ALL_CHARS, taken.map(single))), any)
    return optional(after ? choice(other, sequence(literal(char), after)) : other)
  }, undefined) as Expr
}
