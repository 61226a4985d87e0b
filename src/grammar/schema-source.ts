/** A schema's document: what its references name, and its text without what does not affect validity. */

import { entriesOf, isRawNumber, objectOf } from "../json.ts"

export type Schema = Readonly<Record<string, unknown>>

export const isObject = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !isRawNumber(value)

/** Keywords that do not affect which values are valid. Unknown keywords, such as `x-order`, do not either. */
export const ANNOTATIONS: ReadonlySet<string> = new Set([
  "title",
  "description",
  "default",
  "examples",
  "example",
  "$comment",
  "deprecated",
  "readOnly",
  "writeOnly",
])

/** Keywords whose value is a schema, a list of schemas, or schemas by name. */
const HOLDS_ONE = [
  "additionalProperties",
  "propertyNames",
  "unevaluatedProperties",
  "items",
  "additionalItems",
  "unevaluatedItems",
  "contains",
  "not",
  "if",
  "then",
  "else",
  "contentSchema",
] as const
const HOLDS_LIST = ["allOf", "anyOf", "oneOf", "prefixItems", "items"] as const
const HOLDS_NAMED = [
  "properties",
  "patternProperties",
  "$defs",
  "definitions",
  "dependentSchemas",
  "dependencies",
] as const
const ONE: ReadonlySet<string> = new Set(HOLDS_ONE)
const LIST: ReadonlySet<string> = new Set(HOLDS_LIST)
const NAMED: ReadonlySet<string> = new Set(HOLDS_NAMED)

/** A schema without annotations, at every depth. It allows the same values. */
export function withoutAnnotations(schema: unknown): unknown {
  if (!isObject(schema)) return schema
  return objectOf(
    entriesOf(schema)
      .filter(([key]) => !ANNOTATIONS.has(key))
      .map(([key, value]): [string, unknown] => {
        if (NAMED.has(key) && isObject(value))
          return [key, objectOf(entriesOf(value).map(([name, part]) => [name, withoutAnnotations(part)]))]
        if (LIST.has(key) && Array.isArray(value)) return [key, value.map(withoutAnnotations)]
        return [key, ONE.has(key) ? withoutAnnotations(value) : value]
      }),
  )
}

/** Whether a schema has `$ref` and otherwise nothing that affects validity. */
export const isReference = (schema: Schema): boolean =>
  referenceOf(schema) !== undefined &&
  Object.keys(schema).every((key) => REFERENCES.includes(key) || ANNOTATIONS.has(key) || IDENTITIES.has(key))

const REFERENCES: readonly string[] = ["$ref", "$dynamicRef", "$recursiveRef"]
const IDENTITIES: ReadonlySet<string> = new Set(["$id", "$schema", "$anchor", "$dynamicAnchor", "$defs", "definitions"])

/** The value of `$ref`, or of the references of other drafts. */
export const referenceOf = (schema: Schema): unknown => schema.$ref ?? schema.$dynamicRef ?? schema.$recursiveRef

/** A base for addresses in schemas without one. */
const NOWHERE = "schema://local/"

/** What references within one document name. */
export class SchemaSource {
  /** By absolute address, with the anchor after `#`. */
  readonly #named = new Map<string, unknown>()
  /** The base address of each schema that has a reference. */
  readonly #bases = new WeakMap<object, string>()

  constructor(readonly root: unknown) {
    this.#named.set(NOWHERE, root)
    this.#visit(root, NOWHERE)
  }

  #visit(schema: unknown, outer: string): void {
    if (!isObject(schema)) return
    const id = schema.$id ?? schema.id
    const base = typeof id === "string" && !id.startsWith("#") ? resolved(id, outer) : outer
    if (base !== outer && !this.#named.has(base)) this.#named.set(base, schema)
    const anchors = [schema.$anchor, schema.$dynamicAnchor, typeof id === "string" && id.startsWith("#") && id.slice(1)]
    for (const anchor of anchors) {
      const name = `${base}#${anchor}`
      if (typeof anchor === "string" && !this.#named.has(name)) this.#named.set(name, schema)
    }
    if (referenceOf(schema) !== undefined) this.#bases.set(schema, base)
    for (const [key, value] of Object.entries(schema)) {
      if (NAMED.has(key) && isObject(value)) for (const part of Object.values(value)) this.#visit(part, base)
      else if (LIST.has(key) && Array.isArray(value)) for (const part of value) this.#visit(part, base)
      else if (ONE.has(key)) this.#visit(value, base)
    }
  }

  /**
   * The schema that a reference names.
   * @param refuse Called with the reason where there is none.
   */
  target(schema: Schema, refuse: (what: string) => never): unknown {
    const reference = referenceOf(schema)
    if (typeof reference !== "string") return refuse("'$ref' must be a string")
    const whole = resolved(reference, this.#bases.get(schema) ?? NOWHERE)
    const at = whole.indexOf("#")
    const [address, fragment] = at < 0 ? [whole, ""] : [whole.slice(0, at), decoded(whole.slice(at + 1))]
    const document = this.#named.get(address)
    if (document === undefined) return refuse(`a '$ref' to another schema (${reference}) is not supported`)
    if (fragment === "") return document
    if (!fragment.startsWith("/")) {
      const named = this.#named.get(`${address}#${fragment}`)
      return named === undefined ? refuse(`'$ref' names ${reference}, which does not exist`) : named
    }
    let found: unknown = document
    for (const step of fragment.split("/").slice(1)) {
      const key = step.replaceAll("~1", "/").replaceAll("~0", "~")
      if (typeof found !== "object" || found === null || !Object.hasOwn(found, key))
        return refuse(`'$ref' names ${reference}, which does not exist`)
      found = (found as Schema)[key]
    }
    return found
  }
}

/** The address that `reference` has within `base`. */
function resolved(reference: string, base: string): string {
  if (reference.startsWith("#")) return `${base.replace(/#.*$/, "")}${reference}`
  try {
    return new URL(reference, base).href.replace(/#$/, "")
  } catch {
    return reference // an address that no document here has
  }
}

function decoded(fragment: string): string {
  try {
    return decodeURIComponent(fragment)
  } catch {
    return fragment // no percent-encoding, then
  }
}
