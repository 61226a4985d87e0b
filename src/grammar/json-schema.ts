/**
 * Converts JSON Schema (draft 2020-12) into rules. Every text that they derive is JSON that validates, with properties in the schema's order.
 * Unsupported keywords are refused by name and place. Only annotations are ignored.
 */

import { choice, EMPTY, type Expr, GrammarError, literal, optional, type Rules, repeat, sequence } from "./expr.ts"
import { FORMATS, JsonRules, jsonChars, limitedString, quoted } from "./json-text.ts"
import { integerRange, numberRange } from "./number-range.ts"
import { regexToExpr } from "./regex.ts"
import { ANNOTATIONS, isObject, mergeSchemas, type Schema } from "./schema-merge.ts"

/** A place in the schema, as a JSON pointer. */
type Path = string

const TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"] as const
type Type = (typeof TYPES)[number]
/** Keywords that apply to one type of value. */
const OF_TYPE: Readonly<Record<Type, readonly string[]>> = {
  object: ["properties", "required", "additionalProperties"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  integer: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  boolean: [],
  null: [],
}
const KNOWN: ReadonlySet<string> = new Set([
  "type",
  "enum",
  "const",
  "$ref",
  "allOf",
  "anyOf",
  "oneOf",
  ...Object.values(OF_TYPE).flat(),
])
/** Greatest count in a schema, and greatest nesting depth. */
const MAX_COUNT = 16_384
const MAX_DEPTH = 64
/** Most subschemas that are converted, counted again wherever a `$ref` is merged with others. */
const MAX_SCHEMAS = 20_000

/** Rules for any JSON object. */
export function jsonObjectRules(): Rules {
  const rules = new JsonRules()
  rules.define("root", rules.object)
  return rules
}

/** @throws GrammarError naming the unsupported keyword or the error in the schema. */
export function jsonSchemaRules(schema: unknown): Rules {
  const rules = new JsonRules()
  rules.define("root", new SchemaConverter(schema, rules).convert())
  return rules
}

/** Converts one schema. Several converters may add to the same rules. */
export class SchemaConverter {
  readonly #rules: JsonRules
  /** Rules of schemas that `$ref` names. */
  readonly #refs = new Map<string, Expr>()
  readonly #at: Path
  #depth = 0
  #nSchemas = 0

  /** @param at Name of the schema's root in messages. */
  constructor(
    readonly root: unknown,
    rules: JsonRules,
    at: Path = "#",
  ) {
    this.#rules = rules
    this.#at = at
  }

  convert(): Expr {
    return this.#value(this.root, "#")
  }

  #refuse(path: Path, what: string): never {
    throw new GrammarError(`${what} (in the schema at ${this.#at}${path.slice(1)})`)
  }

  #value(schema: unknown, path: Path): Expr {
    if (schema === true) return this.#rules.any
    if (schema === false) this.#refuse(path, "the schema `false` allows no value")
    if (!isObject(schema)) this.#refuse(path, "a schema must be an object or a boolean")
    if (++this.#depth > MAX_DEPTH) this.#refuse(path, `schemas nest more than ${MAX_DEPTH} deep`)
    if (++this.#nSchemas > MAX_SCHEMAS) this.#refuse(path, `the schema has more than ${MAX_SCHEMAS} subschemas`)
    const body = this.#object(schema, path)
    this.#depth--
    return body
  }

  #object(whole: Schema, path: Path): Expr {
    const schema: Schema = Object.fromEntries(Object.entries(whole).filter(([key]) => !ANNOTATIONS.has(key)))
    const keywords = Object.keys(schema)
    const unknown = keywords.find((key) => !KNOWN.has(key))
    if (unknown !== undefined) this.#refuse(path, `the keyword '${unknown}' is not supported`)
    const { allOf, anyOf, oneOf, $ref, ...rest } = schema
    if ($ref !== undefined) {
      if (keywords.length === 1) return this.#reference($ref, path)
      const { $ref: _, ...others } = schema
      return this.#value(this.#merge([others, this.#target($ref, path)], path), path)
    }
    if (allOf !== undefined) {
      const { allOf: _, ...others } = schema
      const parts = this.#branches(allOf, "allOf", path)
      const single = keywords.length === 1 && parts.length === 1
      return single
        ? this.#value(parts[0], `${path}/allOf/0`)
        : this.#value(this.#merge([others, ...parts], path), path)
    }
    if (anyOf !== undefined && oneOf !== undefined) this.#refuse(path, "'oneOf' beside 'anyOf' is not supported")
    const name = anyOf !== undefined ? "anyOf" : "oneOf"
    if (schema[name] !== undefined) {
      const parts = this.#branches(schema[name], name, path)
      const alone = Object.keys(rest).length === 0
      const branches = alone ? parts : parts.map((part) => this.#merge([rest, part], path))
      if (name === "oneOf" && !this.#disjoint(branches))
        this.#refuse(path, "'oneOf' of schemas that can be valid together is not supported; use 'anyOf'")
      return choice(...branches.map((branch, i) => this.#value(branch, `${path}/${name}/${i}`)))
    }
    if (schema.enum !== undefined || schema.const !== undefined) return this.#constants(schema, path)
    return this.#typed(schema, path)
  }

  #branches(branches: unknown, name: string, path: Path): readonly unknown[] {
    if (!Array.isArray(branches) || branches.length === 0) this.#refuse(path, `'${name}' must be a list of schemas`)
    return branches
  }

  /** Merges schemas that must all be valid. */
  #merge(schemas: readonly unknown[], path: Path): Schema {
    const parts = schemas.map((schema) => {
      let part = schema === true ? {} : schema
      for (let i = 0; isObject(part) && part.$ref !== undefined; i++) {
        if (i > MAX_DEPTH) this.#refuse(path, `'$ref' ${part.$ref} leads to itself`)
        const { $ref, ...others } = part
        const target = this.#target($ref, path)
        part = Object.keys(others).length === 0 ? target : { ...others, allOf: [...listOf(others.allOf), target] }
      }
      if (!isObject(part)) this.#refuse(path, "schemas that are combined must be objects")
      return part
    })
    return mergeSchemas(parts, (what) => this.#refuse(path, what))
  }

  #constants({ enum: values, const: only, ...rest }: Schema, path: Path): Expr {
    if (values !== undefined && !(Array.isArray(values) && values.length > 0))
      this.#refuse(path, "'enum' must be a list that is not empty")
    const beside = Object.keys(rest).find((key) => key !== "type")
    if (beside !== undefined) this.#refuse(path, `'${beside}' beside 'enum' or 'const' is not supported`)
    const types = this.#types(rest, path)
    const texts = (list: readonly unknown[]) => list.map((value) => JSON.stringify(value))
    const allowed = (Array.isArray(values) ? values : [only]).filter((value) => {
      const both = values === undefined || only === undefined || texts([value])[0] === texts([only])[0]
      return both && types.some((name) => isOfType(value, name))
    })
    if (allowed.length === 0) this.#refuse(path, "the other keywords allow no value of 'enum' or 'const'")
    return this.#rules.add(choice(...[...new Set(texts(allowed))].map(literal)))
  }

  #target(ref: unknown, path: Path): unknown {
    if (typeof ref !== "string" || !ref.startsWith("#"))
      this.#refuse(path, "a '$ref' to another schema is not supported")
    if (ref !== "#" && !ref.startsWith("#/")) this.#refuse(path, `'$ref' ${ref} is not supported; use #/$defs/NAME`)
    let at: unknown = this.root
    for (const step of ref.slice(1).split("/").slice(1)) {
      const key = decoded(step).replaceAll("~1", "/").replaceAll("~0", "~")
      if (typeof at !== "object" || at === null || !Object.hasOwn(at, key))
        this.#refuse(path, `'$ref' names ${ref}, which does not exist`)
      at = (at as Schema)[key]
    }
    return at
  }

  #reference(ref: unknown, path: Path): Expr {
    const target = this.#target(ref, path)
    const known = this.#refs.get(ref as string)
    if (known) return known
    const name = this.#rules.reserve()
    const rule: Expr = { type: "rule", name }
    this.#refs.set(ref as string, rule)
    this.#rules.define(name, this.#value(target, ref as string))
    return rule
  }

  #resolved(schema: unknown, path: Path): Schema | undefined {
    let at = schema
    for (let i = 0; isObject(at) && typeof at.$ref === "string" && i < MAX_DEPTH; i++) at = this.#target(at.$ref, path)
    return isObject(at) ? at : undefined
  }

  /** Whether no value can be valid for two branches: they differ in type, in constants, or in those of a property that all require. */
  #disjoint(branches: readonly unknown[]): boolean {
    const schemas = branches.map((branch) => this.#resolved(branch, "#"))
    const types = schemas.map((schema) => (typeof schema?.type === "string" ? schema.type : undefined))
    const kinds = types.map((type) => (type === "integer" ? "number" : type))
    if (!kinds.includes(undefined) && new Set(kinds).size === kinds.length) return true
    if (areDifferent(schemas)) return true
    const required = schemas.map((schema) => (schema?.type === "object" ? listOf(schema.required) : []))
    return (required[0] ?? []).some((key: unknown) => {
      if (typeof key !== "string" || !required.every((keys) => keys.includes(key))) return false
      return areDifferent(schemas.map((schema) => (schema?.properties as Schema | undefined)?.[key]))
    })
  }

  /** The types that a schema allows. Without `type`: the one that its keywords apply to, or all. */
  #types(schema: Schema, path: Path): readonly Type[] {
    const { type } = schema
    if (type === undefined) {
      const applicable = TYPES.filter((name) => name !== "integer" && OF_TYPE[name].some((key) => key in schema))
      if (applicable.length > 1) this.#refuse(path, "keywords of several types need a 'type'")
      return applicable.length === 1 ? applicable : TYPES
    }
    const names: unknown[] = [type].flat()
    const wrong = names.find((name) => !TYPES.includes(name as Type))
    if (names.length === 0 || wrong !== undefined) this.#refuse(path, `there is no type ${JSON.stringify(wrong ?? [])}`)
    return names as Type[]
  }

  #typed(schema: Schema, path: Path): Expr {
    const types = this.#types(schema, path)
    if (types === TYPES) return this.#rules.any
    return this.#rules.add(choice(...types.map((type) => this.#ofType(type, schema, path))))
  }

  #ofType(type: Type, schema: Schema, path: Path): Expr {
    switch (type) {
      case "object":
        return this.#members(schema, path)
      case "array":
        return this.#list(schema, path)
      case "string":
        return this.#string(schema, path)
      case "boolean":
        return choice(literal("true"), literal("false"))
      case "null":
        return literal("null")
      default:
        return this.#number(type, schema, path)
    }
  }

  #number(type: "number" | "integer", schema: Schema, path: Path): Expr {
    const keys = OF_TYPE[type].filter((key) => schema[key] !== undefined)
    if (keys.length === 0) return this.#rules[type]
    const bounds = Object.fromEntries(keys.map((key) => [key, this.#finite(schema, key, path)]))
    return this.#placed(path, () => (type === "integer" ? integerRange(bounds) : numberRange(bounds)))
  }

  /** Runs `make`, and adds the place to its GrammarError. */
  #placed(path: Path, make: () => Expr): Expr {
    try {
      return make()
    } catch (error) {
      if (error instanceof GrammarError) this.#refuse(path, error.message)
      throw error
    }
  }

  #finite(schema: Schema, key: string, path: Path): number {
    const value = schema[key]
    if (typeof value !== "number" || !Number.isFinite(value)) this.#refuse(path, `'${key}' must be a number`)
    return value
  }

  #count(schema: Schema, key: string, path: Path): number | undefined {
    if (schema[key] === undefined) return undefined
    const value = this.#finite(schema, key, path)
    if (!Number.isInteger(value) || value < 0) this.#refuse(path, `'${key}' must be a whole number, at least 0`)
    if (value > MAX_COUNT) this.#refuse(path, `'${key}' above ${MAX_COUNT} is not supported`)
    return value
  }

  #string(schema: Schema, path: Path): Expr {
    const { pattern, format } = schema
    const min = this.#count(schema, "minLength", path) ?? 0
    const max = this.#count(schema, "maxLength", path)
    const limited = min > 0 || max !== undefined
    if ([limited, pattern !== undefined, format !== undefined].filter(Boolean).length > 1)
      this.#refuse(path, "only one of a length, 'pattern' and 'format' is supported at a time")
    if (limited) {
      if (min > (max ?? min)) this.#refuse(path, "'minLength' is above 'maxLength'")
      return limitedString(min, max)
    }
    if (pattern === undefined && format === undefined) return this.#rules.string
    const known = typeof format === "string" ? FORMATS[format] : undefined
    const source = typeof pattern === "string" ? pattern : known
    if (source === undefined) {
      const formats = Object.keys(FORMATS).join(", ")
      this.#refuse(path, format === undefined ? "'pattern' must be a string" : `'format' must be one of ${formats}`)
    }
    return this.#placed(path, () => quoted(regexToExpr(source, jsonChars)))
  }

  #list(schema: Schema, path: Path): Expr {
    const { items = true, prefixItems = [] } = schema
    const min = this.#count(schema, "minItems", path) ?? 0
    const max = this.#count(schema, "maxItems", path)
    if (!Array.isArray(prefixItems)) this.#refuse(path, "'prefixItems' must be a list of schemas")
    if (min > (max ?? min)) this.#refuse(path, "'minItems' is above 'maxItems'")
    const { space, comma } = this.#rules
    const first = prefixItems.slice(0, max).map((item, i) => this.#value(item, `${path}/prefixItems/${i}`))
    const restMax = max === undefined ? undefined : max - first.length
    const item = items === false || restMax === 0 ? undefined : this.#rules.add(this.#value(items, `${path}/items`))
    if (item === undefined && min > first.length)
      this.#refuse(path, "'minItems' is above the number of items that the list can have")
    const follow = (value: Expr): Expr => sequence(comma, value, space)
    const filled = (head: Expr, tail: Expr): Expr => {
      const inside = sequence(head, space, tail)
      return sequence(literal("["), space, min === 0 ? optional(inside) : inside, literal("]"))
    }
    const less = (count: number | undefined): number | undefined => (count === undefined ? undefined : count - 1)
    if (first.length === 0) {
      if (item === undefined) return sequence(literal("["), space, literal("]"))
      return filled(item, repeat(follow(item), Math.max(0, min - 1), less(max)))
    }
    // Built from the last item to the first. The list may end before any item that is not required.
    let tail = item === undefined ? EMPTY : repeat(follow(item), Math.max(0, min - first.length), restMax)
    for (let i = first.length - 1; i > 0; i--) {
      tail = sequence(follow(first[i] as Expr), tail)
      if (i >= min) tail = optional(tail)
    }
    return filled(first[0] as Expr, tail)
  }

  #members(schema: Schema, path: Path): Expr {
    const { properties = {}, required = [], additionalProperties } = schema
    if (!isObject(properties)) this.#refuse(path, "'properties' is an object")
    if (!Array.isArray(required) || !required.every((key) => typeof key === "string"))
      this.#refuse(path, "'required' is a list of names")
    const names = Object.keys(properties)
    const unnamed = [...new Set<string>(required)].filter((key) => !names.includes(key))
    if (unnamed.length > 0 && additionalProperties === false)
      this.#refuse(path, `'required' names "${unnamed[0]}", which is no property`)
    // Where a schema names properties, others are allowed only by `additionalProperties`.
    const open = additionalProperties ?? names.length + unnamed.length === 0
    const { space, colon, comma, string } = this.#rules
    const others = open === false ? undefined : this.#rules.add(this.#value(open, `${path}/additionalProperties`))
    if (names.length + unnamed.length === 0) {
      if (others === undefined) return sequence(literal("{"), space, literal("}"))
      return this.#rules.objectOf(sequence(string, space, colon, others))
    }
    const member = (name: string, value: Expr): Expr =>
      this.#rules.add(sequence(literal(JSON.stringify(name)), space, colon, value, space))
    const members = [
      ...names.map((name) => ({
        text: member(name, this.#value(properties[name], `${path}/properties/${name}`)),
        needed: required.includes(name),
      })),
      ...unnamed.map((name) => ({ text: member(name, others ?? this.#rules.any), needed: true })),
    ]
    // Built from the last member to the first. `head` follows the brace, `tail` follows another member.
    const extra = others && sequence(this.#rules.keyExcept([...names, ...unnamed]), space, colon, others, space)
    let tail = extra === undefined ? EMPTY : this.#rules.add(repeat(sequence(comma, extra), 0))
    let head = extra === undefined ? EMPTY : this.#rules.add(choice(EMPTY, sequence(extra, tail)))
    for (const { text, needed } of members.reverse()) {
      const first = sequence(text, tail)
      const next = sequence(comma, text, tail)
      head = this.#rules.add(needed ? first : choice(first, head))
      tail = this.#rules.add(needed ? next : choice(next, tail))
    }
    return sequence(literal("{"), space, head, literal("}"))
  }
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

function decoded(step: string): string {
  try {
    return decodeURIComponent(step)
  } catch {
    return step // no percent-encoding, then
  }
}

/** Whether each of these schemas allows only constants, and no two allow the same one. */
function areDifferent(schemas: readonly unknown[]): boolean {
  const constants = schemas.map((schema) => {
    const { const: only, enum: values } = (isObject(schema) ? schema : {}) as Schema
    return (Array.isArray(values) ? values : only === undefined ? [] : [only]).map((value) => JSON.stringify(value))
  })
  const all = constants.flat()
  return constants.every((list) => list.length > 0) && new Set(all).size === all.length
}

function isOfType(value: unknown, type: Type): boolean {
  if (type === "null") return value === null
  if (type === "array") return Array.isArray(value)
  if (type === "integer") return Number.isInteger(value)
  if (type === "object") return isObject(value)
  return typeof value === type
}
