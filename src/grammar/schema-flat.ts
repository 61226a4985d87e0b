/**
 * Resolves the references, combinations and conditions of a schema: into keywords that must hold, and groups of alternatives of which one
 * must hold. `oneOf`, `not`, `if` and dependencies become alternatives, where their negations can be expressed.
 */

import { type Expr, GrammarError } from "./expr.ts"
import type { JsonRules } from "./json-text.ts"
import { anywhere } from "./regex.ts"
import { ownKeywords, type Refuse } from "./schema-keywords.ts"
import { negation, onlyKey } from "./schema-not.ts"
import { bothOf, commonTypes, NO_KEYWORDS, type Own } from "./schema-own.ts"
import { isObject, referenceOf, type Schema, type SchemaSource } from "./schema-source.ts"
import { TYPES, type Type } from "./schema-values.ts"
import type { Term, Terms } from "./terms.ts"

/** A place in the schema, as a JSON pointer. */
export type Path = string

/** A part of a schema is invalid or not supported. */
export class SchemaError extends GrammarError {
  constructor(
    readonly what: string,
    readonly path: Path,
    readonly keyword: string,
  ) {
    super(what)
  }
}

/** Alternatives of which one must be valid. */
interface Group {
  readonly name: string
  readonly branches: readonly unknown[]
  readonly path: Path
}

export interface Flat {
  readonly own: Own
  readonly groups: readonly Group[]
}

/** The conversion of a schema's parts. */
export interface Context {
  readonly rules: JsonRules
  readonly flattener: Flattener
  /** The texts of a schema's values. @throws SchemaError */
  value(schema: unknown, path: Path): Expr
}

/** Greatest number of references that lead to each other. */
const MAX_REFERENCES = 64

/** A schema without values. */
const NEVER: Flat = { own: { ...NO_KEYWORDS, types: [] }, groups: [] }

export class Flattener {
  readonly #joints = new Map<unknown, Map<unknown, Schema>>()
  readonly #interned = new WeakSet<object>()
  #depth = 0

  constructor(
    readonly source: SchemaSource,
    readonly terms: Terms,
  ) {}

  /** @throws SchemaError for the part that is not supported. */
  flatten(schema: unknown, path: Path): Flat {
    if (schema === true) return { own: NO_KEYWORDS, groups: [] }
    if (schema === false) return NEVER
    if (!isObject(schema)) throw new SchemaError("a schema must be an object or a boolean", path, "")
    if (++this.#depth > MAX_REFERENCES) {
      this.#depth = 0
      throw new SchemaError("a '$ref' leads to itself, or schemas are combined too deep", path, "$ref")
    }
    const flat = this.#object(schema, path)
    this.#depth--
    return flat
  }

  /** Both of two schemas. */
  both(a: Flat, b: Flat, path: Path): Flat {
    if (a.own === NO_KEYWORDS && a.groups.length === 0) return b
    if (b.own === NO_KEYWORDS && b.groups.length === 0) return a
    const matches = (pattern: string, name: string) => this.terms.matches(this.pattern(pattern, path), name)
    const refuse = (what: string): never => {
      throw new SchemaError(what, path, "allOf")
    }
    const own = bothOf(a.own, b.own, (x, y) => this.joint(x, y), matches, refuse)
    return { own, groups: [...a.groups, ...b.groups] }
  }

  /** The texts in which a pattern matches. */
  pattern(pattern: string, path: Path): Term {
    try {
      return anywhere(this.terms, pattern)
    } catch (error) {
      if (error instanceof GrammarError) throw new SchemaError(error.message, path, "pattern")
      throw error
    }
  }

  /** A schema for two schemas; the same for the same two, so that recursion through both ends. */
  joint(a: unknown, b: unknown): unknown {
    if (a === undefined || a === true || a === b) return b
    if (b === undefined || b === true) return a
    if (a === false || b === false) return false
    const byFirst = this.#joints.get(a) ?? new Map<unknown, Schema>()
    this.#joints.set(a, byFirst)
    const known = byFirst.get(b)
    if (known) return known
    const made: Schema = { allOf: [a, b] }
    byFirst.set(b, made)
    this.#interned.add(made)
    return made
  }

  isJoint(schema: object): boolean {
    return this.#interned.has(schema)
  }

  target(schema: Schema, path: Path): unknown {
    return this.source.target(schema, (what) => {
      throw new SchemaError(what, path, "$ref")
    })
  }

  #object(schema: Schema, path: Path): Flat {
    const refuse: Refuse = (keyword, what) => {
      throw new SchemaError(what, path, keyword)
    }
    const list = (key: string): readonly unknown[] => {
      const value = schema[key]
      if (value === undefined) return []
      if (!Array.isArray(value) || value.length === 0) refuse(key, `'${key}' must be a list of schemas`)
      return value
    }
    if (schema.nullable === true && COMBINING.some((key) => schema[key] !== undefined)) {
      const rest = Object.fromEntries(Object.entries(schema).filter(([key]) => key !== "nullable"))
      return {
        own: NO_KEYWORDS,
        groups: [{ name: "nullable", branches: [this.#kept(schema, rest), { type: "null" }], path }],
      }
    }
    let flat: Flat = { own: ownKeywords(schema, refuse), groups: [] }
    const add = (part: Flat): void => {
      flat = this.both(flat, sealed(part, path), path)
    }
    if (schema.const !== undefined && schema.enum !== undefined) add(this.flatten({ const: schema.const }, path))
    if (referenceOf(schema) !== undefined) add(this.flatten(this.target(schema, path), path))
    for (const [i, part] of list("allOf").entries()) add(this.flatten(part, `${path}/allOf/${i}`))
    const groups: Group[] = []
    const group = (name: string, branches: readonly unknown[]) => groups.push({ name, branches, path })
    if (schema.anyOf !== undefined) group("anyOf", list("anyOf"))
    if (schema.oneOf !== undefined) group("oneOf", this.#exclusive(list("oneOf"), path))
    if (schema.not !== undefined) add(this.#not(schema.not, path, flat.own.types))
    if (schema.if !== undefined && (schema.then !== undefined || schema.else !== undefined)) {
      const otherwise = this.#negation(schema.if, path, "if", flat.own.types).map((not) =>
        this.joint(not, schema.else ?? true),
      )
      group("if", [this.joint(schema.if, schema.then ?? true), ...otherwise])
    }
    for (const [key, value] of this.#dependencies(schema, refuse)) {
      const present = { type: "object", required: Array.isArray(value) ? [key, ...value] : [key] }
      const others = TYPES.filter((type) => type !== "object" && type !== "integer")
      const with_ = Array.isArray(value) ? present : this.joint(present, value)
      group("dependencies", [with_, { type: "object", properties: { [key]: false } }, { type: others }])
    }
    return { own: flat.own, groups: [...flat.groups, ...groups] }
  }

  /** A copy of a schema whose references lead where those of the original do. */
  #kept(schema: Schema, copy: Schema): unknown {
    if (referenceOf(schema) === undefined) return copy
    const { $ref: _, $dynamicRef: __, $recursiveRef: ___, ...others } = copy
    return this.joint(this.target(schema, "#"), Object.keys(others).length === 0 ? true : others)
  }

  #dependencies(schema: Schema, refuse: Refuse): [string, unknown][] {
    return ["dependentRequired", "dependentSchemas", "dependencies"].flatMap((key) => {
      const value = schema[key]
      if (value === undefined) return []
      if (!isObject(value)) return refuse(key, `'${key}' must be an object`)
      return Object.entries(value)
    })
  }

  #not(schema: unknown, path: Path, types: readonly Type[] | undefined): Flat {
    const only = onlyKey(schema)
    const part = isObject(schema) && only !== undefined ? schema[only] : undefined
    if (only === "const") return { own: { ...NO_KEYWORDS, excluded: [part] }, groups: [] }
    if (only === "enum" && Array.isArray(part)) return { own: { ...NO_KEYWORDS, excluded: part }, groups: [] }
    if (only === "pattern" && typeof part === "string")
      return { own: { ...NO_KEYWORDS, types: ["string"], notPatterns: [part] }, groups: [] }
    const branches = this.#negation(schema, path, "not", types)
    if (branches.length === 0) return NEVER
    if (branches.length === 1) return this.flatten(branches[0], path)
    return { own: NO_KEYWORDS, groups: [{ name: "not", branches, path }] }
  }

  /** @param types Those of the values that are in question. */
  #negation(schema: unknown, path: Path, name: string, types?: readonly Type[]): unknown[] {
    const undecided = (keyword: string): never => {
      const what = name === keyword ? `'${name}'` : `'${name}' of a schema with '${keyword}'`
      throw new SchemaError(`${what} is not supported`, path, name)
    }
    const wholeOnly = types !== undefined && !types.includes("number")
    return negation(schema, { target: (reference) => this.target(reference, path), undecided, wholeOnly })
  }

  /** Branches that exclude each other: where two could be valid together, each requires that the other is not. */
  #exclusive(branches: readonly unknown[], path: Path): readonly unknown[] {
    const flats = branches.map((branch, i) => this.flatten(branch, `${path}/oneOf/${i}`))
    return branches.map((branch, i) => {
      const own = flats[i] as Flat
      const others = branches.filter((_, j) => j !== i && !this.#disjoint(own, flats[j] as Flat, path))
      try {
        const nots = others.map((other) => ({ anyOf: this.#negation(other, path, "oneOf", own.own.types) }))
        return nots.reduce<unknown>((own, not) => this.joint(own, not.anyOf.length === 0 ? false : not), branch)
      } catch (error) {
        if (!(error instanceof SchemaError)) throw error
        const what = "'oneOf' of schemas that can be valid together is not supported; use 'anyOf'"
        throw new SchemaError(what, path, "oneOf")
      }
    })
  }

  /** Whether certainly no value is valid for both. */
  #disjoint(a: Flat, b: Flat, path: Path, depth = 0): boolean {
    const [x, y] = [a.own, b.own]
    if (x.types && y.types && commonTypes(x.types, y.types).length === 0) return true
    if (
      x.values &&
      y.values &&
      this.both({ own: x, groups: [] }, { own: y, groups: [] }, path).own.values?.length === 0
    )
      return true
    const objects = [x, y].every(({ types }) => types?.length === 1 && types[0] === "object")
    if (!objects || depth > 3) return false
    return [...new Set([...x.required, ...y.required])].some((key) => {
      const [left, right] = [x, y].map((own) => (own.properties.has(key) ? own.properties.get(key) : closedOf(own)))
      const needed = [x, y].map(({ required }) => required.includes(key))
      if (needed[0] && right === false) return true
      if (needed[1] && left === false) return true
      if (!needed[0] || !needed[1]) return false
      return this.#disjoint(this.flatten(left, path), this.flatten(right, path), path, depth + 1)
    })
  }
}

/** What a schema says about properties that it does not name. */
const closedOf = (own: Own): unknown =>
  own.patternProperties.size > 0 ? true : (own.additional ?? own.unevaluated ?? true)

const COMBINING = ["$ref", "allOf", "anyOf", "oneOf", "not", "if"] as const

/** A part of a combination, whose `unevaluated…` keywords count its own properties and items alone. */
function sealed(flat: Flat, path: Path): Flat {
  const { unevaluated, unevaluatedItem, ...own } = flat.own
  if (unevaluated === undefined && unevaluatedItem === undefined) return flat
  if (flat.groups.length > 0)
    throw new SchemaError("'unevaluatedProperties' in one of several combined schemas is not supported", path, "allOf")
  return { ...flat, own: { ...own, additional: own.additional ?? unevaluated, item: own.item ?? unevaluatedItem } }
}
