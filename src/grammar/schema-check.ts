/** Checks values of `const` and `enum` against the keywords beside them. */

import { compare, isMultiple } from "./decimal.ts"
import { formatOf } from "./formats.ts"
import { wholeMatch } from "./regex.ts"
import type { Flat, Flattener, Path } from "./schema-flat.ts"
import type { Own } from "./schema-own.ts"
import { isObject } from "./schema-source.ts"
import { decimalOf, hasType, sameValue } from "./schema-values.ts"

/** Whether a value is valid. */
export function isValid(value: unknown, schema: unknown, flattener: Flattener, path: Path): boolean {
  return isValidFlat(value, flattener.flatten(schema, path), flattener, path)
}

function isValidFlat(value: unknown, { own, groups }: Flat, flattener: Flattener, path: Path): boolean {
  return (
    isValidOwn(value, own, flattener, path) &&
    groups.every(({ branches }) => branches.some((branch) => isValid(value, branch, flattener, path)))
  )
}

/** Whether a value is valid for keywords, without alternatives. */
export function isValidOwn(value: unknown, own: Own, flattener: Flattener, path: Path): boolean {
  if (own.types && !own.types.some((type) => hasType(value, type))) return false
  if (own.values && !own.values.some((other) => sameValue(other, value))) return false
  if (own.excluded.some((other) => sameValue(other, value))) return false
  if (typeof value === "string") return isValidText(value, own, flattener, path)
  if (Array.isArray(value)) return isValidList(value, own, flattener, path)
  return isObject(value) ? isValidObject(value, own, flattener, path) : isInBounds(value, own)
}

function isValidText(value: string, own: Own, flattener: Flattener, path: Path): boolean {
  const length = Array.from(value).length
  if (length < own.length.min || length > own.length.max) return false
  const { terms } = flattener
  const has = (pattern: string) => terms.matches(flattener.pattern(pattern, path), value)
  const isOf = (name: string) => {
    const format = formatOf(name)
    return format === undefined || terms.matches(wholeMatch(terms, format.allows ?? format.writes), value)
  }
  return own.patterns.every(has) && !own.notPatterns.some(has) && own.formats.every(isOf)
}

function isInBounds(value: unknown, { bounds }: Own): boolean {
  const number = decimalOf(value)
  if (number === undefined) return true
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = bounds
  return (
    !(minimum && compare(number, minimum) < 0) &&
    !(maximum && compare(number, maximum) > 0) &&
    !(exclusiveMinimum && compare(number, exclusiveMinimum) <= 0) &&
    !(exclusiveMaximum && compare(number, exclusiveMaximum) >= 0) &&
    !(multipleOf && !isMultiple(number, multipleOf))
  )
}

function isValidList(value: readonly unknown[], own: Own, flattener: Flattener, path: Path): boolean {
  const valid = (item: unknown, schema: unknown) => isValid(item, schema ?? true, flattener, path)
  if (value.length < own.items.min || value.length > own.items.max) return false
  const rest = own.item ?? own.unevaluatedItem
  if (!value.every((item, i) => valid(item, i < own.prefix.length ? own.prefix[i] : rest))) return false
  if (own.unique && value.some((item, i) => value.slice(0, i).some((other) => sameValue(other, item)))) return false
  return own.contains.every(({ schema, min, max }) => {
    const n = value.filter((item) => valid(item, schema)).length
    return n >= min && n <= max
  })
}

function isValidObject(value: Readonly<Record<string, unknown>>, own: Own, flattener: Flattener, path: Path): boolean {
  const names = Object.keys(value)
  if (names.length < own.members.min || names.length > own.members.max) return false
  if (!own.required.every((name) => Object.hasOwn(value, name))) return false
  return names.every((name) => {
    if (!own.names.every((schema) => isValid(name, schema, flattener, path))) return false
    return schemasFor(name, own, flattener, path).every((schema) => isValid(value[name], schema, flattener, path))
  })
}

/** The schemas that a property must be valid for. */
export function schemasFor(name: string, own: Own, flattener: Flattener, path: Path): unknown[] {
  const found = [...own.patternProperties]
    .filter(([pattern]) => flattener.terms.matches(flattener.pattern(pattern, path), name))
    .map(([, schema]) => schema)
  if (own.properties.has(name)) found.unshift(own.properties.get(name))
  return found.length > 0 ? found : [own.additional ?? own.unevaluated ?? true]
}
