/** Reads the keywords of one schema, of all drafts and of OpenAPI 3.0, and checks that their values have the right form. */

import { entriesOf } from "../json.ts"
import { GrammarError } from "./expr.ts"
import type { Bounds } from "./number-range.ts"
import { type Count, NO_KEYWORDS, type Own } from "./schema-own.ts"
import { isObject, type Schema } from "./schema-source.ts"
import { decimalOf, TYPES, type Type } from "./schema-values.ts"

/** Refuses a keyword. */
export type Refuse = (keyword: string, what: string) => never

/** Greatest count in a schema. */
const MAX_COUNT = 1_000_000

const ENCODINGS: Readonly<Record<string, string>> = {
  base64: "base64",
  base64url: "base64url",
  base32: "base32",
  base16: "base16",
}

/** The keywords that stand for themselves: all but references, combinations and conditions. */
export function ownKeywords(schema: Schema, refuse: Refuse): Own {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = boundsOf(schema, refuse)
  const properties = namedSchemas(schema, "properties", refuse)
  const { items, prefixItems, additionalItems } = schema
  // Before draft 2020-12, `items` could be a list.
  const prefix = prefixItems ?? (Array.isArray(items) ? items : [])
  if (!Array.isArray(prefix)) refuse("prefixItems", "'prefixItems' must be a list of schemas")
  const encoding = typeof schema.contentEncoding === "string" ? ENCODINGS[schema.contentEncoding] : undefined
  const isJson = schema.contentMediaType === "application/json" && encoding === undefined
  return {
    ...NO_KEYWORDS,
    types: typesOf(schema, refuse),
    values: valuesOf(schema, refuse),
    patterns: given(schema.pattern, (value) => textOf(value, "pattern", refuse)),
    formats: [
      ...given(schema.format, (value) => textOf(value, "format", refuse)),
      ...(encoding === undefined || schema.pattern !== undefined ? [] : [encoding]),
    ],
    content: isJson ? (schema.contentSchema ?? true) : undefined,
    length: countOf(schema, "minLength", "maxLength", refuse),
    items: countOf(schema, "minItems", "maxItems", refuse),
    members: countOf(schema, "minProperties", "maxProperties", refuse),
    bounds: { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf: unitOf(schema, refuse) },
    properties,
    patternProperties: namedSchemas(schema, "patternProperties", refuse),
    additional: schema.additionalProperties,
    unevaluated: schema.unevaluatedProperties,
    names: given(schema.propertyNames, (value) => value),
    required: namesOf(schema, refuse),
    prefix,
    item: Array.isArray(items) || (items === undefined && prefixItems === undefined) ? additionalItems : items,
    unevaluatedItem: schema.unevaluatedItems,
    contains: containsOf(schema, refuse),
    unique: schema.uniqueItems === true,
  }
}

const given = <T>(value: unknown, read: (value: unknown) => T): T[] => (value === undefined ? [] : [read(value)])

const textOf = (value: unknown, key: string, refuse: Refuse): string =>
  typeof value === "string" ? value : refuse(key, `'${key}' must be a string`)

function typesOf(schema: Schema, refuse: Refuse): readonly Type[] | undefined {
  const { type, nullable } = schema
  if (type === undefined) return undefined
  const names: unknown[] = [type].flat()
  const wrong = names.find((name) => !TYPES.includes(name as Type))
  if (names.length === 0 || wrong !== undefined) refuse("type", `there is no type ${JSON.stringify(wrong ?? [])}`)
  const types = names as Type[]
  return nullable === true && !types.includes("null") ? [...types, "null"] : types
}

function valuesOf(schema: Schema, refuse: Refuse): readonly unknown[] | undefined {
  const { enum: values, const: only, nullable } = schema
  if (values !== undefined && !(Array.isArray(values) && values.length > 0))
    refuse("enum", "'enum' must be a list that is not empty")
  const list = Array.isArray(values) ? values : only === undefined ? undefined : [only]
  return list && nullable === true && !list.includes(null) ? [...list, null] : list
}

function namedSchemas(schema: Schema, key: string, refuse: Refuse): Map<string, unknown> {
  const value = schema[key]
  if (value === undefined) return new Map()
  if (!isObject(value)) refuse(key, `'${key}' must be an object of schemas`)
  return new Map(entriesOf(value))
}

function namesOf(schema: Schema, refuse: Refuse): readonly string[] {
  const { required } = schema
  // In draft 3 and in some OpenAPI documents `required` is a property's own.
  if (required === undefined || typeof required === "boolean") return []
  if (!Array.isArray(required) || !required.every((key) => typeof key === "string"))
    refuse("required", "'required' must be a list of names")
  return [...new Set<string>(required)]
}

function boundsOf(schema: Schema, refuse: Refuse): Bounds {
  const number = (key: string) => {
    const value = schema[key]
    return value === undefined ? undefined : numberOf(value, key, refuse)
  }
  // In draft 4 and OpenAPI 3.0 the exclusive bounds were flags.
  const flags = [schema.exclusiveMinimum, schema.exclusiveMaximum]
  const [low, high] = flags.map((flag) => typeof flag === "boolean")
  return {
    minimum: flags[0] === true ? undefined : number("minimum"),
    exclusiveMinimum: low ? (flags[0] === true ? number("minimum") : undefined) : number("exclusiveMinimum"),
    maximum: flags[1] === true ? undefined : number("maximum"),
    exclusiveMaximum: high ? (flags[1] === true ? number("maximum") : undefined) : number("exclusiveMaximum"),
  }
}

function numberOf(value: unknown, key: string, refuse: Refuse) {
  try {
    return decimalOf(value) ?? refuse(key, `'${key}' must be a number`)
  } catch (error) {
    return error instanceof GrammarError ? refuse(key, `'${key}': ${error.message}`) : refuse(key, String(error))
  }
}

function unitOf(schema: Schema, refuse: Refuse) {
  if (schema.multipleOf === undefined) return undefined
  const unit = numberOf(schema.multipleOf, "multipleOf", refuse)
  return unit.units > 0n ? unit : refuse("multipleOf", "'multipleOf' must be above 0")
}

function count(schema: Schema, key: string, refuse: Refuse): number | undefined {
  if (schema[key] === undefined) return undefined
  const { units, exponent } = numberOf(schema[key], key, refuse)
  if (exponent < 0 || units < 0n) refuse(key, `'${key}' must be a whole number, at least 0`)
  // No text has more characters or items than this.
  const value = exponent > 15 ? Number.POSITIVE_INFINITY : Number(units) * 10 ** exponent
  const isMost = key.startsWith("max")
  if (value > MAX_COUNT && !isMost) refuse(key, `'${key}' above ${MAX_COUNT} is not supported`)
  return value > MAX_COUNT ? undefined : value
}

function countOf(schema: Schema, least: string, most: string, refuse: Refuse): Count {
  const min = count(schema, least, refuse) ?? 0
  const max = count(schema, most, refuse) ?? Number.POSITIVE_INFINITY
  if (min > max) refuse(least, `'${least}' is above '${most}'`)
  return { min, max }
}

function containsOf(schema: Schema, refuse: Refuse): Own["contains"] {
  if (schema.contains === undefined) return []
  const { min, max } = countOf(schema, "minContains", "maxContains", refuse)
  const least = schema.minContains === undefined ? 1 : min
  return least === 0 && max === Number.POSITIVE_INFINITY ? [] : [{ schema: schema.contains, min: least, max }]
}
