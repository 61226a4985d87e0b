/** Rules without counts: each repetition is copied as often as its bounds say. The reference for counting in the automaton. */

import { choice, EMPTY, type Expr, type Rules, repeat, sequence } from "../../src/grammar/expr.ts"

/** The same texts, written without any count but "once or not at all" and "any number". */
export function unrolled({ bodies }: Pick<Rules, "bodies">): Pick<Rules, "bodies" | "common"> {
  return { bodies: new Map([...bodies].map(([name, body]) => [name, copied(body)])), common: new Map() }
}

function copied(expr: Expr): Expr {
  if (expr.type === "sequence") return sequence(...expr.parts.map(copied))
  if (expr.type === "choice") return choice(...expr.parts.map(copied))
  if (expr.type === "free") return { ...expr, after: copied(expr.after) }
  if (expr.type !== "repeat") return expr
  const part = copied(expr.part)
  let rest = expr.max === undefined ? repeat(part, 0) : EMPTY
  for (let i = expr.min; i < (expr.max ?? 0); i++) rest = choice(sequence(part, rest), EMPTY)
  return sequence(...Array.from({ length: expr.min }, () => part), rest)
}
