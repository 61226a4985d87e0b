/** Objects of a schema. Named properties come in the schema's order, and others after them. */

import { choice, EMPTY, type Expr, literal, repeat, sequence } from "./expr.ts"
import { jsonChars, quoted } from "./json-text.ts"
import { isValid, schemasFor } from "./schema-check.ts"
import { type Context, type Path, SchemaError } from "./schema-flat.ts"
import type { Own } from "./schema-own.ts"
import { limitedTerm } from "./schema-string.ts"
import { NOTHING } from "./term-expr.ts"
import type { Term } from "./terms.ts"

interface Member {
  readonly name: string
  readonly schema: unknown
  readonly needed: boolean
}

/** Most patterns of properties, whose combinations are told apart. */
const MAX_PATTERNS = 6
/** Most rules that count an object's members. */
const MAX_COUNTED = 20_000

/** @returns `undefined` where no object is valid. */
export function objectExpr(context: Context, own: Own, path: Path): Expr | undefined {
  const { rules } = context
  const allowed = namesAllowed(context, own, path)
  const members = membersOf(context, own, allowed, path)
  if (members === undefined) return undefined
  const { space, colon } = rules
  const texts = members.map(({ name, schema, needed }) => {
    const value = context.value(schema, `${path}/properties/${name}`)
    return { needed, text: rules.add(sequence(literal(JSON.stringify(name)), space, colon, value, space)) }
  })
  const others = allowed === undefined ? otherMembers(context, own, members, path) : []
  const extra = others.length === 0 ? undefined : rules.add(choice(...others))
  return sequence(literal("{"), space, counted(context, own, texts, extra, path), literal("}"))
}

/** The only names that properties may have; `undefined`: any number of them. */
function namesAllowed({ flattener }: Context, own: Own, path: Path): string[] | undefined {
  const lists = own.names.flatMap((schema) => {
    const { values } = flattener.flatten(schema, `${path}/propertyNames`).own
    return values ? [values.filter((value) => typeof value === "string")] : []
  })
  const isAllowed = (name: string) => own.names.every((schema) => isValid(name, schema, flattener, path))
  return lists[0]?.filter(isAllowed)
}

/** The properties with known names, in order; `undefined`: no object is valid. */
function membersOf({ flattener }: Context, own: Own, allowed: readonly string[] | undefined, path: Path) {
  const names = new Set([...own.properties.keys(), ...(allowed ?? []), ...own.required])
  const members: Member[] = []
  for (const name of names) {
    const isAllowed = own.names.every((schema) => isValid(name, schema, flattener, `${path}/propertyNames`))
    const schema = isAllowed ? schemasFor(name, own, flattener, path).reduce((a, b) => flattener.joint(a, b)) : false
    const needed = own.required.includes(name)
    if (schema === false && needed) return undefined
    if (schema !== false) members.push({ name, schema, needed })
  }
  return members
}

/** Members with other names: for each set of patterns, those whose names have exactly these. */
function otherMembers(context: Context, own: Own, members: readonly Member[], path: Path): Expr[] {
  const { rules, flattener } = context
  const { terms, space, colon } = rules
  // Where a schema names properties, others are allowed only by `additionalProperties`.
  const open = own.additional ?? own.unevaluated ?? members.length + own.patternProperties.size === 0
  const named = [...new Set([...own.properties.keys(), ...own.required])]
  const limits = own.names.flatMap((schema) => nameTerm(context, schema, path) ?? [terms.none])
  const other = terms.not(terms.or(...named.map((name) => terms.text(name))))
  const base = terms.and(...limits, ...(named.length === 0 ? [] : [other]))
  const member = (key: Expr, schema: unknown, place: string): Expr =>
    sequence(key, space, colon, context.value(schema, `${path}/${place}`), space)
  const keyOf = (term: Term): Expr =>
    term === terms.any ? rules.string : rules.add(quoted(rules.term(term, jsonChars)))
  const patterns = [...own.patternProperties]
  if (patterns.length > MAX_PATTERNS)
    throw new SchemaError(`more than ${MAX_PATTERNS} 'patternProperties' are not supported`, path, "patternProperties")
  const found: Expr[] = []
  for (let set = 0; set < 1 << patterns.length; set++) {
    const within = patterns.filter((_, i) => ((set >> i) & 1) === 1)
    const schema = set === 0 ? open : within.map(([, value]) => value).reduce((a, b) => flattener.joint(a, b))
    if (schema === false) continue
    const parts = patterns.map(([pattern], i) => {
      const term = flattener.pattern(pattern, path)
      return ((set >> i) & 1) === 1 ? term : terms.not(term)
    })
    const term = terms.and(base, ...parts)
    if (rules.isEmpty(term)) continue
    const place = set === 0 ? "additionalProperties" : `patternProperties/${within[0]?.[0]}`
    found.push(member(keyOf(term), schema, place))
  }
  return found
}

/** The names that a schema of `propertyNames` allows. */
function nameTerm(context: Context, schema: unknown, path: Path): Term | undefined {
  const place = `${path}/propertyNames`
  const { own, groups } = context.flattener.flatten(schema, place)
  if (own.types && !own.types.includes("string")) return undefined
  if (groups.length > 0)
    throw new SchemaError("alternatives in 'propertyNames' are not supported", path, "propertyNames")
  const excluded = own.excluded.filter((value) => typeof value === "string")
  return limitedTerm(context, own, excluded, own.formats, place)
}

/** Members between the braces. The rule of (i, n) follows n members, and continues with member i or a later one. */
function counted(
  { rules }: Context,
  { members: { min, max } }: Own,
  members: readonly { readonly text: Expr; readonly needed: boolean }[],
  extra: Expr | undefined,
  path: Path,
): Expr {
  const { comma } = rules
  // Beyond these, numbers of members make no difference.
  const most = Number.isFinite(max) ? max + 1 : Math.max(1, min)
  if (members.length * Math.min(most, members.length) > MAX_COUNTED)
    throw new SchemaError("so many properties with a limit of their number are not supported", path, "maxProperties")
  const end = (n: number): Expr => {
    const [least, left] = [Math.max(0, min - n), max - n]
    if (left < 0) return NOTHING
    if (extra === undefined) return least > 0 ? NOTHING : EMPTY
    const limit = (count: number) => (Number.isFinite(count) ? count : undefined)
    const next = sequence(comma, extra)
    if (n > 0) return repeat(next, least, limit(left))
    if (left === 0) return EMPTY
    const some = sequence(extra, repeat(next, Math.max(0, least - 1), limit(left - 1)))
    return least === 0 ? choice(EMPTY, some) : some
  }
  // From the last member to the first.
  let after = Array.from({ length: Math.min(most, members.length) + 1 }, (_, n) => rules.add(end(n)))
  for (const { text, needed } of [...members].reverse()) {
    after = after.map((without, n) => {
      const rest = after[Math.min(n + 1, after.length - 1)] as Expr
      const taken = n === 0 ? sequence(text, rest) : sequence(comma, text, rest)
      return rules.add(needed ? taken : choice(taken, without))
    })
  }
  return after[0] as Expr
}
