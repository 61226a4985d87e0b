/** Merges schemas that must all be valid: `allOf`, and keywords beside `$ref` and `anyOf`. */

export type Schema = Readonly<Record<string, unknown>>

/** Keywords that do not affect which values are valid. */
export const ANNOTATIONS: ReadonlySet<string> = new Set([
  "title",
  "description",
  "default",
  "examples",
  "example",
  "$schema",
  "$id",
  "$comment",
  "deprecated",
  "readOnly",
  "writeOnly",
  "$defs",
  "definitions",
])

const LEAST: ReadonlySet<string> = new Set(["maximum", "exclusiveMaximum", "maxLength", "maxItems"])
const MOST: ReadonlySet<string> = new Set(["minimum", "exclusiveMinimum", "minLength", "minItems"])

/** @param refuse Called with the reason why two schemas cannot be merged. */
export function mergeSchemas(schemas: readonly Schema[], refuse: (what: string) => never): Schema {
  const merged: Record<string, unknown> = {}
  for (const schema of schemas) {
    for (const [key, value] of Object.entries(schema)) {
      if (ANNOTATIONS.has(key)) continue
      merged[key] = key in merged ? join(key, merged[key], value, refuse) : value
    }
  }
  // `additionalProperties` refers to its own schema's properties, but the merged schema has more.
  const closed = schemas.some(
    (schema) => schema.additionalProperties !== undefined && schema.additionalProperties !== true,
  )
  const more = schemas.filter((schema) => Object.keys((schema.properties ?? {}) as object).length > 0).length
  if (closed && more > 1) refuse("'additionalProperties' in one of several combined schemas is not supported")
  return merged
}

function join(key: string, a: unknown, b: unknown, refuse: (what: string) => never): unknown {
  if (JSON.stringify(a) === JSON.stringify(b)) return a
  if (LEAST.has(key) && typeof a === "number" && typeof b === "number") return Math.min(a, b)
  if (MOST.has(key) && typeof a === "number" && typeof b === "number") return Math.max(a, b)
  if (key === "required" && Array.isArray(a) && Array.isArray(b)) return [...new Set([...a, ...b])]
  if (key === "allOf" && Array.isArray(a) && Array.isArray(b)) return [...a, ...b]
  if (key === "type") return joinTypes([a].flat(), [b].flat()) ?? refuse("the combined schemas have no type in common")
  if (key === "properties" && isObject(a) && isObject(b)) {
    const both: Record<string, unknown> = { ...a }
    for (const [name, value] of Object.entries(b)) both[name] = name in both ? { allOf: [both[name], value] } : value
    return both
  }
  if (key === "items") return { allOf: [a, b] }
  return refuse(`'${key}' in several combined schemas is not supported`)
}

function joinTypes(a: readonly unknown[], b: readonly unknown[]): unknown {
  const both = a.filter((type) => b.includes(type) || (type === "integer" && b.includes("number")))
  if (a.includes("number") && b.includes("integer")) both.push("integer")
  return both.length === 0 ? undefined : both.length === 1 ? both[0] : both
}

export const isObject = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value)
