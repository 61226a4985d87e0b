/** Generates values from the schemas of an OpenAPI 3.0 document: valid ones, and corrupted ones. */

import fc from "fast-check"

/** A schema object of OpenAPI 3.0, with the keywords that this server's document uses. */
export interface Schema {
  readonly type?: "object" | "array" | "string" | "number" | "integer" | "boolean"
  readonly nullable?: boolean
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly allOf?: readonly Schema[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: boolean | Schema
  readonly items?: Schema
  readonly minItems?: number
  readonly maxItems?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: boolean
  readonly exclusiveMaximum?: boolean
  readonly example?: unknown
}

/** Longest generated list or text; other tests cover long ones. */
const LONGEST = 4
/** Nesting level below which optional fields are omitted. */
const DEEPEST = 6

const text = fc.oneof(
  { weight: 4, arbitrary: fc.string({ maxLength: 24 }) },
  { weight: 2, arbitrary: fc.string({ unit: "grapheme", maxLength: 12 }) },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 12 }) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      "a",
      " ",
      "\0",
      "\ud800",
      "<|im_start|>",
      "<tool_call>",
      "{{ messages }}",
      "../../etc/passwd",
      "'",
      "__proto__",
      "x".repeat(5000),
    ),
  },
)

/** JSON schemas for structured output and tools: supported and unsupported ones. */
const formOf = fc.letrec<{ form: object }>((tie) => ({
  form: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom<object>(
      { type: "string" },
      { type: "integer", minimum: -3, exclusiveMaximum: 1e3 },
      { type: ["number", "null"] },
      { enum: ["a", 1, null, { b: [] }] },
      { const: "\ud83d\ude00" },
      { type: "string", pattern: "^[a-z]{2,5}(-\\d+)?$", maxLength: 9 },
      { type: "string", format: "date-time" },
      { type: "object", properties: { child: { $ref: "#" } } },
      { $ref: "#/$defs/none" },
      { type: "array", uniqueItems: true, minItems: 3, maxItems: 1 },
      { not: {} },
      { type: "what" },
      { minimum: "x" },
      {},
    ),
    fc.record(
      { type: fc.constant("array"), items: tie("form"), minItems: fc.nat(2), maxItems: fc.nat(4) },
      { requiredKeys: ["type"] },
    ),
    fc.record({ anyOf: fc.array(tie("form"), { maxLength: 3 }) }),
    fc
      .tuple(
        fc.dictionary(fc.oneof(fc.constantFrom("a", "b", "é", ""), text), tie("form"), { maxKeys: 3 }),
        fc.nat(3),
        fc.boolean(),
      )
      .map(([properties, n, additionalProperties]) => {
        const required = Object.keys(properties).slice(0, n)
        return { type: "object", properties, required, additionalProperties }
      }),
  ),
})).form

/** Generators for fields whose valid values the schema does not fully describe. */
const SPECIAL: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  schema: formOf,
  parameters: formOf,
  input_schema: formOf,
  format: formOf,
  json: formOf,
  regex: fc.constantFrom(
    "[a-c]{1,3}",
    "(yes|no)!",
    "\\d+\\.\\d{2}",
    "(?=a)b",
    "(a",
    "[^\\x00-\\uffff]",
    "a{5,2}",
    "\\p{L}*",
    "",
  ),
  grammar: fc.constantFrom(
    'root ::= "a" | "b" root',
    "root ::= root",
    'root ::= [a-z]+ x\nx ::= "."',
    "root ::= missing",
    "x ::= ",
    "",
  ),
}

/** Values that a schema allows; arbitrary values where the schema has no constraint. */
export function allowed(schema: Schema, level = 0): fc.Arbitrary<unknown> {
  const value = withoutNull(schema, level)
  return schema.nullable
    ? fc.oneof({ weight: 5, arbitrary: value }, { weight: 1, arbitrary: fc.constant(null) })
    : value
}

function withoutNull(schema: Schema, level: number): fc.Arbitrary<unknown> {
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum)
  const choices = schema.anyOf ?? schema.oneOf
  if (choices !== undefined) return fc.oneof(...choices.map((choice) => allowed(choice, level)))
  if (schema.allOf !== undefined)
    return fc.tuple(...schema.allOf.map((part) => allowed(part, level))).map((parts) => Object.assign({}, ...parts))
  switch (schema.type) {
    case "object":
      return objectOf(schema, level)
    case "array": {
      const { items = {}, minItems = 0, maxItems = LONGEST } = schema
      return fc.array(allowed(items, level + 1), {
        minLength: minItems,
        maxLength: Math.max(minItems, Math.min(maxItems, LONGEST)),
      })
    }
    case "string": {
      const { pattern, minLength = 0, maxLength = Number.POSITIVE_INFINITY } = schema
      if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern))
      return text.filter(({ length }) => length >= minLength && length <= maxLength)
    }
    case "integer":
    case "number":
      return numberOf(schema)
    case "boolean":
      return fc.boolean()
    default:
      return fc.jsonValue({ maxDepth: 2 })
  }
}

function numberOf({ type, minimum = -(2 ** 31), maximum = 2 ** 31 - 1, exclusiveMinimum, exclusiveMaximum }: Schema) {
  const range = { min: minimum, max: maximum }
  const edges = [minimum, maximum, 0, 1, 2].filter(
    (n) => n >= minimum && n <= maximum && !(exclusiveMinimum && n === minimum) && !(exclusiveMaximum && n === maximum),
  )
  const any: fc.Arbitrary<number> =
    type === "integer"
      ? fc.integer(range)
      : fc.double({
          ...range,
          noNaN: true,
          minExcluded: exclusiveMinimum ?? false,
          maxExcluded: exclusiveMaximum ?? false,
        })
  return fc.oneof(any, fc.constantFrom(...edges))
}

function objectOf(schema: Schema, level: number): fc.Arbitrary<object> {
  const { properties = {}, required = [], additionalProperties = false } = schema
  const names = level < DEEPEST ? Object.keys(properties) : required
  const fields = new Map(
    names.map((name) => {
      const plain = allowed(properties[name] ?? {}, level + 1)
      const special = SPECIAL[name]
      return [name, special === undefined ? plain : fc.oneof(plain, { weight: 2, arbitrary: special })]
    }),
  )
  const optional = names.filter((name) => !required.includes(name))
  // Few of many optional fields: otherwise nearly every request would have an invalid field.
  const known = fc
    .subarray(optional, { maxLength: Math.min(optional.length, LONGEST) })
    .chain((chosen) =>
      fc.record(
        Object.fromEntries([...required, ...chosen].map((name) => [name, fields.get(name) ?? fc.constant(null)])),
      ),
    )
  if (additionalProperties === false) return known
  const more = additionalProperties === true ? fc.jsonValue({ maxDepth: 1 }) : allowed(additionalProperties, level + 1)
  const others = fc.dictionary(fc.oneof(text, fc.nat().map(String)), more, { maxKeys: 3 })
  return fc.tuple(known, others).map(([own, other]) => ({ ...other, ...own }))
}

/** Values that no field expects. */
const ODD: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    0,
    -1,
    1.5,
    -0,
    1e308,
    -1e308,
    5e-324,
    2 ** 31,
    2 ** 53,
    2 ** 64,
    "",
    "0",
    "null",
    "\ud800",
    "\0",
    "𝕏".repeat(300),
    [],
    {},
    [null],
    [[[[[[[[]]]]]]]],
    { "": "" },
    { constructor: 1 },
    { toString: null },
  ),
  fc.jsonValue({ maxDepth: 3 }),
  text,
)

type Path = (string | number)[]

/** The paths of all nodes of a value. */
function placesOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== "object" || value === null) return [path]
  const keys = Array.isArray(value) ? [...value.keys()] : Object.keys(value)
  return [path, ...keys.flatMap((key) => placesOf((value as Record<string | number, unknown>)[key], [...path, key]))]
}

/** The value with its node at `path` replaced; `undefined` removes the node. */
function replaced(value: unknown, [key, ...rest]: Path, put: unknown): unknown {
  if (key === undefined) return put
  if (Array.isArray(value)) {
    const items = value.map((item, i) => (i === key ? replaced(item, rest, put) : item))
    return put === undefined && rest.length === 0 ? items.filter((_, i) => i !== key) : items
  }
  const fields = Object.entries(value as object).map(([name, field]) => [
    name,
    name === key ? replaced(field, rest, put) : field,
  ])
  return Object.fromEntries(fields.filter(([, field]) => field !== undefined))
}

interface Change {
  readonly where: number
  readonly how: "put" | "drop" | "add"
  readonly odd: unknown
  readonly name: string
}

function changed(value: unknown, { where, how, odd, name }: Change): unknown {
  const places = placesOf(value)
  const path = places[where % places.length] ?? []
  if (how === "put" || typeof value !== "object" || value === null) return replaced(value, path, odd)
  if (how === "drop") return replaced(value, path, undefined) ?? {}
  return Array.isArray(value) ? [...value, odd] : { ...value, [name]: odd }
}

/** Corrupts values: a few nodes are replaced or removed, or a field or item is added. */
export function spoiled(values: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const how = fc.constantFrom("put" as const, "drop" as const, "add" as const)
  const changes = fc.array(fc.record({ where: fc.nat(), how, odd: ODD, name: text }), { minLength: 1, maxLength: 3 })
  return fc.tuple(values, changes).map(([value, list]) => list.reduce(changed, value))
}
