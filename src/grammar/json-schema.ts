/**
 * Converts JSON Schema (draft 2020-12, and what older drafts and OpenAPI 3.0 write) into rules. Every text that they derive is JSON that
 * validates, with properties in the schema's order. A keyword that cannot be kept is refused by name and place, or, where the converter is
 * lenient, the part of the schema that has it allows any value of its type. Annotations and unknown keywords have no effect.
 */

import { choice, type Expr, GrammarError, literal } from "./expr.ts"
import { JsonRules } from "./json-text.ts"
import { equalTo, integerTerm, numberTerm } from "./number-range.ts"
import { listExpr } from "./schema-array.ts"
import { isValidOwn } from "./schema-check.ts"
import { type Context, type Flat, Flattener, type Path, SchemaError } from "./schema-flat.ts"
import { objectExpr } from "./schema-object.ts"
import { applicable, limitsNumbers, type Own } from "./schema-own.ts"
import { isObject, isReference, type Schema, SchemaSource } from "./schema-source.ts"
import { stringExpr } from "./schema-string.ts"
import { decimalOf, hasType, TYPES, type Type, textsOf } from "./schema-values.ts"
import { NOTHING } from "./term-expr.ts"

/** Greatest nesting depth of schemas. */
const MAX_DEPTH = 64
/** Most subschemas that are converted, counted again wherever they are combined with others. */
const MAX_SCHEMAS = 20_000

/** Rules for any JSON object. */
export function jsonObjectRules(): JsonRules {
  const rules = new JsonRules()
  rules.define("root", rules.object)
  return rules
}

/** @throws GrammarError naming the unsupported keyword or the error in the schema. */
export function jsonSchemaRules(schema: unknown): JsonRules {
  const rules = new JsonRules()
  rules.define("root", new SchemaConverter(schema, rules).convert())
  return rules
}

interface ConverterOptions {
  /** Name of the schema's root in messages. */
  at?: string
  /** The value is an object, even if the schema does not say so. */
  isObject?: boolean
  /** Receives each place that is relaxed, and why. Without it, what cannot be kept is refused. */
  onRelaxed?: (place: string) => void
}

/** Converts one schema. Several converters may add to the same rules. */
export class SchemaConverter implements Context {
  readonly rules: JsonRules
  readonly flattener: Flattener
  /** Rules of schemas that references and combinations name. */
  readonly #named = new Map<unknown, Expr>()
  readonly #at: string
  readonly #onRelaxed: ((place: string) => void) | undefined
  readonly #isObject: boolean
  /** The root, and that it is an object. */
  #whole: unknown
  #depth = 0
  #nSchemas = 0

  constructor(
    readonly root: unknown,
    rules: JsonRules,
    { at = "#", isObject: object = false, onRelaxed }: ConverterOptions = {},
  ) {
    this.rules = rules
    this.#at = at
    this.#onRelaxed = onRelaxed
    this.#isObject = object
    this.flattener = new Flattener(new SchemaSource(root), rules.terms)
  }

  /** @throws GrammarError naming the part that is not supported, and its place. */
  convert(): Expr {
    try {
      const sure = !this.#isObject || (isObject(this.root) && this.root.type === "object")
      this.#whole = sure ? this.root : this.flattener.joint({ type: "object" }, this.root)
      return this.value(this.#whole, "#")
    } catch (error) {
      if (!(error instanceof SchemaError)) throw error
      throw new GrammarError(this.#placed(error))
    }
  }

  #placed({ what, path }: SchemaError): string {
    return `${what} (in the schema at ${this.#at}${path.slice(1)})`
  }

  /** The texts of a schema's values. @throws SchemaError */
  value(schema: unknown, path: Path): Expr {
    const depth = this.#depth
    try {
      return this.#value(schema, path)
    } catch (error) {
      this.#depth = depth
      if (!(error instanceof SchemaError) || this.#onRelaxed === undefined) throw error
      this.#onRelaxed(this.#placed(error))
      const { keyword } = error
      if (error.path !== path || !isObject(schema) || schema[keyword] === undefined) return this.#anyOfType(schema)
      return this.value(Object.fromEntries(Object.entries(schema).filter(([key]) => key !== keyword)), path)
    }
  }

  /** Any value of the types that a schema names. */
  #anyOfType(schema: unknown): Expr {
    // Where schemas are combined, the first one may contain only the type.
    const [first] = isObject(schema) && this.flattener.isJoint(schema) ? [schema.allOf].flat() : [schema]
    const names = isObject(first) ? TYPES.filter((type) => [first.type].flat().includes(type)) : []
    if (names.length === 0) return this.rules.any
    return choice(...names.map((type) => this.rules.anyOf(type)))
  }

  #value(schema: unknown, path: Path): Expr {
    if (schema === true) return this.rules.any
    if (schema === false) return NOTHING
    if (!isObject(schema)) throw new SchemaError("a schema must be an object or a boolean", path, "")
    if (isReference(schema)) {
      const target = this.flattener.target(schema, path)
      return this.#once(target, typeof schema.$ref === "string" ? schema.$ref : path)
    }
    return this.flattener.isJoint(schema) ? this.#once(schema, path) : this.#object(schema, path)
  }

  /** The rule of a schema that may occur in several places, and within itself. */
  #once(schema: unknown, path: Path): Expr {
    const known = this.#named.get(schema)
    if (known) return known
    if (!isObject(schema)) return this.#value(schema, path)
    const name = this.rules.reserve()
    const rule: Expr = { type: "rule", name }
    this.#named.set(schema, rule)
    try {
      // A reference that names a reference goes on; any other schema is converted here.
      const body = isReference(schema) ? this.value(schema, path) : this.#relaxed(schema, path)
      this.rules.define(name, body)
    } catch (error) {
      this.#named.delete(schema)
      throw error
    }
    return rule
  }

  #relaxed(schema: Schema, path: Path): Expr {
    if (this.#onRelaxed === undefined || this.flattener.isJoint(schema)) return this.#object(schema, path)
    return this.value(schema, path)
  }

  #object(schema: Schema, path: Path): Expr {
    if (++this.#depth > MAX_DEPTH) throw new SchemaError(`schemas nest more than ${MAX_DEPTH} deep`, path, "")
    const body = this.#flat(this.flattener.flatten(schema, path), path)
    this.#depth--
    // Combined schemas may exclude each other, as long as others are left.
    if (body === undefined && this.flattener.isJoint(schema) && schema !== this.#whole) return NOTHING
    if (body === undefined) throw new SchemaError("no value is valid for all keywords and combined schemas", path, "")
    return body
  }

  /** @returns `undefined` where no value is valid. */
  #flat({ own, groups }: Flat, path: Path): Expr | undefined {
    if (++this.#nSchemas > MAX_SCHEMAS)
      throw new SchemaError(`the schema has more than ${MAX_SCHEMAS} subschemas, combined ones included`, path, "")
    const [group, ...others] = groups
    if (group === undefined) return this.#own(own, path)
    const alone = others.length === 0 && saysNothing(own)
    const parts = group.branches.map((branch, i): Expr | undefined => {
      const place = `${path}/${group.name}/${i}`
      if (alone) return this.#alternative(branch, place)
      const both = (schema: unknown) =>
        this.#flat(this.flattener.both({ own, groups: others }, this.flattener.flatten(schema, place), path), path)
      try {
        return both(branch)
      } catch (error) {
        if (!(error instanceof SchemaError) || this.#onRelaxed === undefined) throw error
        this.#onRelaxed(this.#placed(error))
        return both(true)
      }
    })
    const possible = parts.filter((part) => part !== undefined && part !== NOTHING)
    return possible.length === 0 ? undefined : choice(...(possible as Expr[]))
  }

  #alternative(branch: unknown, path: Path): Expr | undefined {
    if (!isObject(branch) || isReference(branch) || this.#onRelaxed !== undefined) return this.value(branch, path)
    return this.flattener.isJoint(branch)
      ? this.#once(branch, path)
      : this.#flat(this.flattener.flatten(branch, path), path)
  }

  #own(own: Own, path: Path): Expr | undefined {
    if (own.values) {
      const values = own.values.filter((value) => isValidOwn(value, own, this.flattener, path))
      return values.length === 0 ? undefined : this.rules.add(choice(...textsOf(values).map(literal)))
    }
    if (saysNothing(own)) return this.rules.any
    const types = own.types ?? applicable(own)
    const wide = types.includes("number") ? types.filter((type) => type !== "integer") : types
    const parts = wide.map((type) => this.#ofType(type, own, path)).filter((part) => part !== undefined)
    return parts.length === 0 ? undefined : this.rules.add(choice(...parts))
  }

  #ofType(type: Type, own: Own, path: Path): Expr | undefined {
    const excluded = own.excluded.filter((value) => hasType(value, type === "integer" ? "number" : type))
    switch (type) {
      case "object":
      case "array":
        if (excluded.length > 0) throw new SchemaError(`'not' of an ${type} is not supported`, path, "not")
        return type === "object" ? objectExpr(this, own, path) : listExpr(this, own, path)
      case "string":
        return stringExpr(this, own, excluded as string[], path)
      case "boolean": {
        const left = [true, false].filter((value) => !excluded.includes(value))
        return left.length === 0 ? undefined : choice(...left.map((value) => literal(`${value}`)))
      }
      case "null":
        return excluded.length > 0 ? undefined : literal("null")
      default:
        return this.#number(type, own, excluded, path)
    }
  }

  #number(type: "number" | "integer", own: Own, excluded: readonly unknown[], path: Path): Expr {
    if (!limitsNumbers(own) && excluded.length === 0) return this.rules[type]
    const { terms } = this.rules
    try {
      const range = type === "integer" ? integerTerm(terms, own.bounds) : numberTerm(terms, own.bounds)
      const others = excluded
        .flatMap((value) => decimalOf(value) ?? [])
        .map((value) => terms.not(equalTo(terms, value)))
      return this.rules.term(terms.and(range, ...others))
    } catch (error) {
      if (!(error instanceof GrammarError)) throw error
      const keyword = own.bounds.multipleOf && error.message.includes("multipleOf") ? "multipleOf" : "minimum"
      throw new SchemaError(error.message, path, keyword)
    }
  }
}

const saysNothing = (own: Own): boolean =>
  own.types === undefined &&
  own.values === undefined &&
  own.excluded.length === 0 &&
  applicable(own).length === TYPES.length - 1
