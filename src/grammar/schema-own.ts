/** The keywords of one schema in one form, and their conjunction with those of another. */

import { compare, type Decimal, leastMultiple } from "./decimal.ts"
import type { Bounds } from "./number-range.ts"
import { sameValue, TYPES, type Type } from "./schema-values.ts"

/** A number of items that must be valid against a schema. */
interface Contained {
  readonly schema: unknown
  readonly min: number
  readonly max: number
}

/** What a schema says about values without its alternatives. An absent part says nothing. Parts about a type say nothing about others. */
export interface Own {
  /** `undefined`: all; but see `applicable`. */
  readonly types?: readonly Type[] | undefined
  /** The only values; with `const` it is one. */
  readonly values?: readonly unknown[] | undefined
  /** Values that are not allowed. */
  readonly excluded: readonly unknown[]
  /** Patterns that are in a string, and those that are not. */
  readonly patterns: readonly string[]
  readonly notPatterns: readonly string[]
  readonly formats: readonly string[]
  /** The schema of the JSON that a string holds. */
  readonly content?: unknown
  readonly length: Count
  readonly items: Count
  readonly members: Count
  readonly bounds: Bounds
  readonly properties: ReadonlyMap<string, unknown>
  readonly patternProperties: ReadonlyMap<string, unknown>
  /** Of properties that neither of the two names; `undefined`: not given. */
  readonly additional?: unknown
  /** As `additional`, but counting the properties of all schemas that are combined with this one. */
  readonly unevaluated?: unknown
  readonly names: readonly unknown[]
  readonly required: readonly string[]
  readonly prefix: readonly unknown[]
  readonly item?: unknown
  readonly unevaluatedItem?: unknown
  readonly contains: readonly Contained[]
  readonly unique: boolean
}

export interface Count {
  readonly min: number
  readonly max: number
}

const ANY_COUNT: Count = { min: 0, max: Number.POSITIVE_INFINITY }

/** Says nothing. */
export const NO_KEYWORDS: Own = {
  excluded: [],
  patterns: [],
  notPatterns: [],
  formats: [],
  length: ANY_COUNT,
  items: ANY_COUNT,
  members: ANY_COUNT,
  bounds: {},
  properties: new Map(),
  patternProperties: new Map(),
  names: [],
  required: [],
  prefix: [],
  contains: [],
  unique: false,
}

/** Combines two schemas that must both be valid; `undefined`: says nothing. Of the same two it returns the same object. */
type Joint = (a: unknown, b: unknown) => unknown

/**
 * Both of two schemas' keywords.
 * @param matches Whether a name has a pattern.
 * @param refuse Called with what cannot be combined.
 */
export function bothOf(
  a: Own,
  b: Own,
  joint: Joint,
  matches: (pattern: string, name: string) => boolean,
  refuse: (what: string) => never,
): Own {
  const valueFor = (own: Own, name: string): unknown => {
    const found = [...own.patternProperties].filter(([pattern]) => matches(pattern, name)).map(([, value]) => value)
    if (own.properties.has(name)) found.unshift(own.properties.get(name))
    return found.length === 0 ? own.additional : found.reduce(joint)
  }
  const names = new Set([...a.properties.keys(), ...b.properties.keys()])
  const { patternProperties: left } = a
  const { patternProperties: right } = b
  const closed = [a, b].some(({ additional }) => additional !== undefined && additional !== true)
  if (left.size > 0 && right.size > 0 && closed)
    refuse(
      "'patternProperties' in several combined schemas of which one limits 'additionalProperties' is not supported",
    )
  const patterns = new Map<string, unknown>()
  for (const [pattern, value] of left) patterns.set(pattern, joint(value, right.get(pattern) ?? b.additional))
  for (const [pattern, value] of right) if (!left.has(pattern)) patterns.set(pattern, joint(value, a.additional))
  const prefix = Array.from({ length: Math.max(a.prefix.length, b.prefix.length) }, (_, i) =>
    joint(i < a.prefix.length ? a.prefix[i] : a.item, i < b.prefix.length ? b.prefix[i] : b.item),
  )
  return {
    types: a.types && b.types ? commonTypes(a.types, b.types) : (a.types ?? b.types),
    values:
      a.values && b.values
        ? a.values.filter((value) => b.values?.some((x) => sameValue(x, value)))
        : (a.values ?? b.values),
    excluded: [...a.excluded, ...b.excluded],
    patterns: [...new Set([...a.patterns, ...b.patterns])],
    notPatterns: [...new Set([...a.notPatterns, ...b.notPatterns])],
    formats: [...new Set([...a.formats, ...b.formats])],
    content: joint(a.content, b.content),
    length: bothCounts(a.length, b.length),
    items: bothCounts(a.items, b.items),
    members: bothCounts(a.members, b.members),
    bounds: bothBounds(a.bounds, b.bounds),
    properties: new Map([...names].map((name) => [name, joint(valueFor(a, name), valueFor(b, name)) ?? true])),
    patternProperties: patterns,
    additional: joint(a.additional, b.additional),
    unevaluated: joint(a.unevaluated, b.unevaluated),
    names: [...a.names, ...b.names],
    required: [...new Set([...a.required, ...b.required])],
    prefix,
    item: joint(a.item, b.item),
    unevaluatedItem: joint(a.unevaluatedItem, b.unevaluatedItem),
    contains: [...a.contains, ...b.contains],
    unique: a.unique || b.unique,
  }
}

const bothCounts = (a: Count, b: Count): Count => ({ min: Math.max(a.min, b.min), max: Math.min(a.max, b.max) })

function bothBounds(a: Bounds, b: Bounds): Bounds {
  const pick = (x: Decimal | undefined, y: Decimal | undefined, sign: number): Decimal | undefined =>
    x && y ? (compare(x, y) * sign > 0 ? x : y) : (x ?? y)
  return {
    minimum: pick(a.minimum, b.minimum, 1),
    exclusiveMinimum: pick(a.exclusiveMinimum, b.exclusiveMinimum, 1),
    maximum: pick(a.maximum, b.maximum, -1),
    exclusiveMaximum: pick(a.exclusiveMaximum, b.exclusiveMaximum, -1),
    multipleOf:
      a.multipleOf && b.multipleOf ? leastMultiple(a.multipleOf, b.multipleOf) : (a.multipleOf ?? b.multipleOf),
  }
}

export function commonTypes(a: readonly Type[], b: readonly Type[]): readonly Type[] {
  const both = a.filter((type) => b.includes(type) || (type === "integer" && b.includes("number")))
  return b.includes("integer") && a.includes("number") && !both.includes("integer") ? [...both, "integer"] : both
}

const hasBounds = (bounds: Bounds): boolean => Object.values(bounds).some((bound) => bound !== undefined)
const limits = ({ min, max }: Count): boolean => min > 0 || Number.isFinite(max)

/** Whether the schema limits strings, and so on. */
const limitsStrings = (own: Own): boolean =>
  own.patterns.length + own.notPatterns.length + own.formats.length > 0 ||
  own.content !== undefined ||
  limits(own.length)
export const limitsNumbers = ({ bounds }: Own): boolean => hasBounds(bounds)

/** The types that a schema without `type` is about: those that its keywords apply to, or all. */
export function applicable(own: Own): readonly Type[] {
  const found: Type[] = []
  const { properties, patternProperties, names, required, members, additional, unevaluated } = own
  const named = properties.size + patternProperties.size + names.length + required.length
  if (named > 0 || limits(members) || additional !== undefined || unevaluated !== undefined) found.push("object")
  const { prefix, item, items, contains, unique, unevaluatedItem } = own
  if (prefix.length + contains.length > 0 || unique || limits(items) || (item ?? unevaluatedItem) !== undefined)
    found.push("array")
  if (limitsStrings(own)) found.push("string")
  if (limitsNumbers(own)) found.push("number")
  return found.length > 0 ? found : TYPES.filter((type) => type !== "integer")
}
