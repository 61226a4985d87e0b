/** Compiles a constraint into the token masks of its grammar. */

import { parseJson } from "../json.ts"
import type { Constraint } from "./constraint.ts"
import { ebnfRules } from "./ebnf.ts"
import { choice, type Expr, literal, oneOf, Rules, repeat, sequence } from "./expr.ts"
import { jsonObjectRules, jsonSchemaRules } from "./json-schema.ts"
import { Masks, type NodeTokens } from "./masks.ts"
import { Program } from "./program.ts"
import { wholeMatch } from "./regex.ts"
import { termExpr } from "./term-expr.ts"
import { Terms } from "./terms.ts"
import type { TokenTrie } from "./token-trie.ts"
import { toolsRules } from "./tools.ts"

/**
 * @param common See `Masks`.
 * @throws GrammarError for a constraint that is invalid or not supported.
 */
export function compileConstraint(constraint: Constraint, trie: TokenTrie, common?: Map<string, NodeTokens>): Masks {
  const rules = afterReasoning(rulesOf(constraint), constraint.reasoning)
  return new Masks(new Program(rules), trie, common, visibleControls(constraint, trie))
}

/** Checks a constraint without a vocabulary. @throws GrammarError for one that is invalid or not supported. */
export const checkForm = (constraint: Constraint): void => void rulesOf(constraint)

function rulesOf(constraint: Constraint): Rules {
  switch (constraint.type) {
    case "json_object":
      return jsonObjectRules()
    case "json_schema":
      return jsonSchemaRules(parseJson(constraint.schema))
    case "regex": {
      const rules = new Rules()
      const terms = new Terms()
      rules.define("root", termExpr(rules, terms, wholeMatch(terms, constraint.pattern)))
      return rules
    }
    case "grammar":
      return ebnfRules(constraint.grammar)
    case "tools":
      return toolsRules(constraint)
  }
}

/** Rules that allow free reasoning before the text that `rules` describe. */
function afterReasoning(rules: Rules, marks: Constraint["reasoning"]): Rules {
  const root = rules.bodies.get("root")
  if (!marks || !root) return rules
  const answer: Expr = rules.add(root)
  const blank = repeat(oneOf(" \n"), 0, 2)
  const thoughts: Expr = { type: "free", mark: marks.close, after: sequence(blank, answer), mayEnd: false }
  rules.define("root", marks.inside ? thoughts : choice(answer, sequence(blank, literal(marks.open), thoughts)))
  return rules
}

/** Control tokens whose text is part of one of the constraint's marks. */
function visibleControls(constraint: Constraint, { controls }: TokenTrie): number[] {
  const { reasoning } = constraint
  const marks: string[] = reasoning ? [reasoning.open, reasoning.close] : []
  if (constraint.type === "tools") {
    const { trigger, open, close, separator = "", between = "", calls } = constraint
    marks.push(trigger, open, close, separator, between, ...calls.flatMap(({ begin, end }) => [begin, end]))
  }
  const decoder = new TextDecoder()
  const shown = [...controls].map(([token, bytes]) => [token, decoder.decode(bytes)] as const)
  return shown.filter(([, text]) => text !== "" && marks.some((mark) => mark.includes(text))).map(([token]) => token)
}
