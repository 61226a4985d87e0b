/** Lists of a schema. */

import { choice, EMPTY, type Expr, literal, optional, repeat, sequence } from "./expr.ts"
import { isValid } from "./schema-check.ts"
import { type Context, type Path, SchemaError } from "./schema-flat.ts"
import type { Own } from "./schema-own.ts"
import { textsOf } from "./schema-values.ts"
import { NOTHING } from "./term-expr.ts"

/** `uniqueItems` is enforced for lists whose items have at most this many values; other lists may repeat items. */
const MAX_UNIQUE = 8

/** @returns `undefined` where no list is valid. */
export function listExpr(context: Context, own: Own, path: Path): Expr | undefined {
  const { rules, flattener } = context
  const { space, comma } = rules
  const { min, max } = own.items
  const rest = own.item ?? own.unevaluatedItem ?? true
  const inBrackets = (inside: Expr): Expr => sequence(literal("["), space, inside, literal("]"))
  if (own.contains.length > 0) return inBrackets(containing(context, own, rest, path))
  if (own.unique && own.prefix.length === 0) {
    const { values } = flattener.flatten(rest, `${path}/items`).own
    const texts = values && textsOf(values.filter((value) => isValid(value, rest, flattener, path)))
    if (texts && texts.length <= MAX_UNIQUE)
      return texts.length < min ? undefined : inBrackets(distinct(context, texts, min, max))
  }
  const first = own.prefix.slice(0, Number.isFinite(max) ? max : undefined)
  const items = first.map((item, i) => context.value(item, `${path}/prefixItems/${i}`))
  const limit = (count: number) => (Number.isFinite(count) ? count : undefined)
  const left = max - items.length
  const isLast = rest === false || left === 0
  if (isLast && min > items.length) return undefined
  const item = isLast ? NOTHING : rules.add(context.value(rest, `${path}/items`))
  const follow = (value: Expr): Expr => sequence(comma, value, space)
  const [head, ...more] = items.length === 0 && !isLast ? [item] : items
  if (head === undefined) return inBrackets(EMPTY)
  const nBefore = Math.max(1, items.length)
  // Built from the last item to the first. The list may end before any item that is not required.
  let tail = isLast ? EMPTY : repeat(follow(item), Math.max(0, min - nBefore), limit(max - nBefore))
  for (let i = more.length; i > 0; i--) {
    tail = sequence(follow(more[i - 1] as Expr), tail)
    if (i >= min) tail = optional(tail)
  }
  const inside = sequence(head, space, tail)
  return inBrackets(min === 0 ? optional(inside) : inside)
}

/** Lists of these values, each at most once. The rule of a set follows its values. */
function distinct({ rules }: Context, texts: readonly string[], min: number, max: number): Expr {
  const { space, comma } = rules
  const known = new Map<number, Expr>()
  const after = (set: number, n: number): Expr => {
    const made = known.get(set)
    if (made) return made
    const parts: Expr[] = n >= min ? [EMPTY] : []
    for (const [i, text] of texts.entries()) {
      const bit = 1 << i
      if (n >= max || (set & bit) !== 0) continue
      const value = sequence(literal(text), space, after(set | bit, n + 1))
      parts.push(n === 0 ? value : sequence(comma, value))
    }
    const rule = rules.add(parts.length === 0 ? NOTHING : choice(...parts))
    known.set(set, rule)
    return rule
  }
  return after(0, 0)
}

/** Lists in which a number of items are valid for a further schema. */
function containing(context: Context, own: Own, rest: unknown, path: Path): Expr {
  const { rules, flattener } = context
  const { space, comma } = rules
  const [{ schema, min, max } = { schema: true, min: 0, max: 0 }, ...others] = own.contains
  const limited = own.items.min > min || Number.isFinite(own.items.max) || own.prefix.length > 0
  if (others.length > 0 || limited || Number.isFinite(max))
    throw new SchemaError("'contains' beside limits of the items or 'maxContains' is not supported", path, "contains")
  const item = rules.add(context.value(rest, `${path}/items`))
  const wanted = rules.add(context.value(flattener.joint(rest, schema), `${path}/contains`))
  const follow = (value: Expr): Expr => sequence(comma, value, space)
  const any = repeat(follow(item), 0)
  // From the last wanted item to the first.
  let tail: Expr = any
  for (let n = 1; n < min; n++) tail = rules.add(sequence(any, follow(wanted), tail))
  const later = sequence(any, follow(wanted), tail)
  return choice(sequence(wanted, space, tail), sequence(item, space, later))
}
