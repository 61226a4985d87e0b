/** Random JSON schemas, and an independent validator (Ajv) for texts generated under them. */

import Ajv2020 from "ajv/dist/2020"
import addFormats from "ajv-formats"
import fc from "fast-check"

export type Schema = Record<string, unknown>

const NAMES = ["a", "b", "name", "ä ö", 'quo"te', "日本", "x-1", "constructor", "with space", "😀"]
const TEXTS = ["", "a", "red", "grün", 'a "b"', "back\\slash", "tab\t", "😀", "0", "null"]
const PATTERNS = [
  "^[a-z]{2,5}$",
  "^\\d{3}-\\d{4}$",
  "^(foo|bar)+$",
  "[A-F0-9]{4}",
  "^[^\\s]{1,6}$",
  "^[äöüß]{2}$",
  "^[一-龥]{1,4}$",
  "^x*$",
  "^.{0,5}$",
  '^"[\\\\/"]$',
  "^[\\u0400-\\u04ff😀]{2,}$",
]
const FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "hostname", "email"]

const shorter = <T>(values: readonly T[]) => fc.constantFrom(...values)
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined })
const clean = (schema: Schema): Schema =>
  Object.fromEntries(Object.entries(schema).filter(([, value]) => value !== undefined))
const scalar = fc.oneof(shorter(TEXTS), fc.integer({ min: -9, max: 999 }), fc.boolean(), fc.constant(null))

const bounds = (value: fc.Arbitrary<number>) =>
  fc.tuple(value, value, fc.constantFrom("none", "minimum", "maximum", "both", "exclusive")).map(([a, b, kind]) => {
    const [low, high] = [Math.min(a, b), Math.max(a, b)]
    if (kind === "none") return {}
    if (kind === "minimum") return { minimum: low }
    if (kind === "maximum") return { maximum: high }
    if (kind === "both") return { minimum: low, maximum: high }
    return { exclusiveMinimum: low, exclusiveMaximum: high === low ? high + 1 : high }
  })

const hundredths = fc.integer({ min: -200_000, max: 200_000 }).map((value) => value / 100)
const leaf: fc.Arbitrary<Schema> = fc.oneof(
  fc.constant<Schema>({ type: "boolean" }),
  fc.constant<Schema>({ type: "null" }),
  bounds(fc.integer({ min: -2000, max: 20_000 })).map((range) => ({ type: "integer", ...range })),
  bounds(hundredths).map((range) => ({ type: "number", ...range })),
  fc.record({ low: fc.nat(4), more: fc.nat(12) }).map(({ low, more }) => ({
    type: "string",
    minLength: low,
    maxLength: low + more,
  })),
  fc.constant<Schema>({ type: "string" }),
  shorter(PATTERNS).map((pattern) => ({ type: "string", pattern })),
  shorter(FORMATS).map((format) => ({ type: "string", format })),
  fc.uniqueArray(scalar, { minLength: 1, maxLength: 4 }).map((values) => ({ enum: values })),
  scalar.map((value) => ({ const: value })),
  fc.constant<Schema>({ type: ["integer", "null"] }),
)

const typedEnum = fc.uniqueArray(shorter(TEXTS), { minLength: 1, maxLength: 5 }).map((values) => ({
  type: "string",
  enum: values,
}))

const objectOf = (value: fc.Arbitrary<Schema>): fc.Arbitrary<Schema> =>
  fc
    .record({
      names: fc.uniqueArray(shorter(NAMES), { maxLength: 4 }),
      values: fc.array(value, { minLength: 4, maxLength: 4 }),
      needed: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
      additional: fc.oneof(fc.constantFrom(undefined, false), value),
    })
    .map(({ names, values, needed, additional }) =>
      clean({
        type: "object",
        properties: Object.fromEntries(names.map((name, i) => [name, values[i]])),
        required: names.filter((_, i) => needed[i]),
        additionalProperties: additional,
      }),
    )

const listOf = (value: fc.Arbitrary<Schema>): fc.Arbitrary<Schema> =>
  fc
    .record({
      items: value,
      prefix: maybe(fc.array(value, { minLength: 1, maxLength: 3 })),
      min: fc.nat(3),
      more: maybe(fc.nat(4)),
    })
    .map(({ items, prefix, min, more }) =>
      clean({
        type: "array",
        items,
        prefixItems: prefix,
        minItems: min,
        maxItems: more === undefined ? undefined : Math.max(min + more, 0),
      }),
    )

const disjoint = (value: fc.Arbitrary<Schema>): fc.Arbitrary<Schema> =>
  fc.tuple(value, value).map(([a, b]) => ({
    oneOf: ["a", "b"].map((kind, i) => ({
      type: "object",
      properties: { kind: { const: kind }, value: i === 0 ? a : b },
      required: ["kind", "value"],
    })),
  }))

const joined = (value: fc.Arbitrary<Schema>): fc.Arbitrary<Schema> =>
  fc.tuple(value, value).map(([a, b]) => ({
    allOf: [{ type: "object", properties: { left: a }, required: ["left"] }, { properties: { right: b, left: true } }],
  }))

/** Schemas with references: to definitions, to a list of themselves, to a tree, and to the root. */
const referring = (value: fc.Arbitrary<Schema>): fc.Arbitrary<Schema> =>
  fc.oneof(
    value.map((inner) => ({
      type: "object",
      properties: {
        first: { $ref: "#/$defs/inner~1one" },
        second: { $ref: "#/$defs/inner~1one", description: "again" },
      },
      required: ["first", "second"],
      $defs: { "inner/one": inner },
    })),
    value.map((inner) => ({
      $ref: "#/$defs/node",
      $defs: {
        node: {
          type: "object",
          properties: { value: inner, next: { anyOf: [{ type: "null" }, { $ref: "#/$defs/node" }] } },
          required: ["value", "next"],
          additionalProperties: false,
        },
      },
    })),
    value.map((inner) => ({
      type: "object",
      properties: { leaf: inner, children: { type: "array", items: { $ref: "#" }, maxItems: 2 } },
      required: ["leaf"],
    })),
  )

const nested = fc.letrec<{ schema: Schema }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    leaf,
    typedEnum,
    objectOf(tie("schema")),
    listOf(tie("schema")),
    fc.array(tie("schema"), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
    disjoint(tie("schema")),
    joined(tie("schema")),
  ),
})).schema

/** Any supported schema. */
const supportedSchema: fc.Arbitrary<Schema> = fc.oneof(
  { weight: 4, arbitrary: nested },
  { weight: 2, arbitrary: objectOf(nested) },
  { weight: 1, arbitrary: referring(leaf) },
)

/** A fixed sample of `n` schemas. `objects`: only schemas with an object at the root. */
export function sampleSchemas(n: number, seed: number, objects = false): Schema[] {
  const source = objects ? fc.oneof(objectOf(nested), referring(leaf)) : supportedSchema
  return fc.sample(source, { numRuns: n, seed })
}

/** A validator for draft 2020-12, with formats. @returns a function that returns the first error, or `undefined`. */
export function validatorFor(schema: unknown): (value: unknown) => string | undefined {
  const ajv = new Ajv2020({ strict: false, ownProperties: true })
  addFormats(ajv as never)
  const validate = ajv.compile(schema as Schema)
  return (value) => (validate(value) ? undefined : JSON.stringify(validate.errors))
}

/** A copy of a schema that bounds every string, list and object, so that a tiny model reaches the end. */
export function limited(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(limited)
  if (typeof schema !== "object" || schema === null) return schema
  const parts = Object.entries(schema).map(([key, value]) => {
    if (key === "enum" || key === "const" || key === "required") return [key, value]
    if (key === "pattern")
      return [
        key,
        (value as string)
          .replace(/\+(?=\$)/, "{1,3}")
          .replace(/\*(?=\$)/, "{0,4}")
          .replace("{2,}", "{2,5}"),
      ]
    return [key, limited(value)]
  })
  const {
    type,
    pattern,
    format,
    enum: values,
    maxLength,
    maxItems,
    minItems = 0,
    additionalProperties,
  } = schema as Schema
  const open = additionalProperties !== undefined && additionalProperties !== false
  const isText = type === "string" && [pattern, format, values, maxLength].every((limit) => limit === undefined)
  return {
    ...Object.fromEntries(parts),
    ...(isText && { maxLength: 20 }),
    ...(type === "array" && maxItems === undefined && { maxItems: Math.max(2, minItems as number) }),
    ...(open && { additionalProperties: false }),
  }
}
