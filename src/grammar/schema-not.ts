/** The negation of a schema, as alternatives. */

import { entriesOf } from "../json.ts"
import { ANNOTATIONS, isObject, isReference, type Schema } from "./schema-source.ts"
import { decimalOf, TYPES, type Type } from "./schema-values.ts"

/** Keywords that say nothing about validity when they are negated. */
const IGNORED: ReadonlySet<string> = new Set([
  ...ANNOTATIONS,
  "$id",
  "$schema",
  "$anchor",
  "$defs",
  "definitions",
  "format",
  "discriminator",
])
const ANY = (value: unknown): boolean =>
  value === true || (isObject(value) && Object.keys(value).every((key) => IGNORED.has(key)))

/** The keyword of a schema that has no other; `undefined`: it has several, or none. */
export function onlyKey(schema: unknown): string | undefined {
  const keys = isObject(schema) ? Object.keys(schema).filter((key) => !IGNORED.has(key)) : []
  return keys.length === 1 ? keys[0] : undefined
}

interface NegationContext {
  /** The schema that a reference names. */
  readonly target: (reference: Schema) => unknown
  /** Called with the keyword that cannot be negated. */
  readonly undecided: (keyword: string) => never
  /** All numbers in question are whole. */
  readonly wholeOnly: boolean
}

/** Schemas of which one is valid exactly where `schema` is not; none: that is valid for all values. */
export function negation(schema: unknown, context: NegationContext): unknown[] {
  const { target, undecided, wholeOnly } = context
  if (schema === false) return [true]
  if (ANY(schema)) return []
  if (!isObject(schema)) return undecided("")
  if (isReference(schema)) return negation(target(schema), context)
  return Object.keys(schema).flatMap((key) => {
    if (IGNORED.has(key)) return []
    const value = schema[key]
    const plusOne = (by: bigint): number =>
      Number(decimalOf(value)?.units ?? 0n) * 10 ** (decimalOf(value)?.exponent ?? 0) + Number(by)
    switch (key) {
      case "type":
        return complement([value].flat() as Type[], wholeOnly, undecided)
      case "const":
      case "enum":
        return [{ not: { [key]: value } }]
      case "pattern":
        return [{ type: "string", not: { pattern: value } }]
      case "minimum":
        return [{ type: "number", exclusiveMaximum: value }]
      case "maximum":
        return [{ type: "number", exclusiveMinimum: value }]
      case "exclusiveMinimum":
        return [{ type: "number", maximum: value }]
      case "exclusiveMaximum":
        return [{ type: "number", minimum: value }]
      case "minLength":
      case "minItems":
      case "minProperties":
        return plusOne(-1n) < 0 ? [] : [{ type: COUNTED[key], [key.replace("min", "max")]: plusOne(-1n) }]
      case "maxLength":
      case "maxItems":
      case "maxProperties":
        return [{ type: COUNTED[key], [key.replace("max", "min")]: plusOne(1n) }]
      case "required":
        return (Array.isArray(value) ? value : []).map((name: string) => ({
          type: "object",
          properties: { [name]: false },
        }))
      case "properties":
        return (isObject(value) ? entriesOf(value) : [])
          .filter(([, part]) => !ANY(part))
          .map(([name, part]) => ({ type: "object", required: [name], properties: { [name]: { not: part } } }))
      case "not":
        return [value]
      case "allOf":
        return (Array.isArray(value) ? value : []).flatMap((part) => negation(part, context))
      case "anyOf":
        return [{ allOf: (Array.isArray(value) ? value : []).map((part) => ({ not: part })) }]
      case "additionalProperties":
      case "items":
        return ANY(value) ? [] : undecided(key)
      default:
        return KEYWORDS.has(key) ? undecided(key) : []
    }
  })
}

const COUNTED: Readonly<Record<string, string>> = {
  minLength: "string",
  maxLength: "string",
  minItems: "array",
  maxItems: "array",
  minProperties: "object",
  maxProperties: "object",
}

/** Keywords that are neither negated nor annotations. */
const KEYWORDS: ReadonlySet<string> = new Set([
  "$ref",
  "oneOf",
  "if",
  "multipleOf",
  "uniqueItems",
  "contains",
  "prefixItems",
  "patternProperties",
  "propertyNames",
  "unevaluatedProperties",
  "unevaluatedItems",
  "dependentRequired",
  "dependentSchemas",
  "dependencies",
  "nullable",
  "contentMediaType",
])

function complement(types: readonly Type[], wholeOnly: boolean, undecided: (keyword: string) => never): unknown[] {
  const wholes = types.includes("integer") && !types.includes("number")
  if (wholes && !wholeOnly) return undecided("type")
  const left = TYPES.filter((type) => type !== "integer" && !types.includes(type) && !(wholes && type === "number"))
  return left.length === 0 ? [] : [{ type: left }]
}
