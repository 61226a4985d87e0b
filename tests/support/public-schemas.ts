/** Schemas in the style of those that are published: parameters of functions, configuration files, and each keyword on its own. */

import type { Schema } from "./json-schemas.ts"

/** An object of these properties and no others. A name that ends in `?` is optional. */
function object(properties: Readonly<Record<string, Schema | boolean>>, more: Schema = {}): Schema {
  const names = Object.keys(properties)
  return {
    type: "object",
    properties: Object.fromEntries(names.map((name) => [name.replace(/\?$/, ""), properties[name]])),
    required: names.filter((name) => !name.endsWith("?")),
    additionalProperties: false,
    ...more,
  }
}

const text: Schema = { type: "string" }
const flag: Schema = { type: "boolean" }
const whole: Schema = { type: "integer" }
const number: Schema = { type: "number" }
const list = (items: Schema, more: Schema = {}): Schema => ({ type: "array", items, ...more })
const oneOf = (...values: unknown[]): Schema => ({ enum: values })
const upTo = (maxLength: number, minLength = 0): Schema => ({ type: "string", minLength, maxLength })
const between = (minimum: number, maximum: number, type = "integer"): Schema => ({ type, minimum, maximum })
const like = (pattern: string): Schema => ({ type: "string", pattern })
const as = (format: string): Schema => ({ type: "string", format })
const maybe = (schema: Schema): Schema => ({ anyOf: [schema, { type: "null" }] })
const map = (values: Schema, more: Schema = {}): Schema => ({ type: "object", additionalProperties: values, ...more })

/** Parameters of functions that models call. */
const FUNCTIONS: readonly Schema[] = [
  object({ city: text, unit: oneOf("celsius", "fahrenheit") }),
  object({ location: text, "unit?": oneOf("c", "f"), "days?": between(1, 14) }),
  object({ symbol: like("^[A-Z]{1,5}$") }),
  object({ query: upTo(40, 1), "top_k?": between(1, 50), "filters?": list(text, { maxItems: 3 }) }),
  object({ path: text, content: text, "overwrite?": flag }),
  object({ command: text, "timeout_ms?": between(0, 600000), "cwd?": maybe(text) }),
  object({ file: text, start: between(1, 9999), end: between(1, 9999) }),
  object({ pattern: text, "glob?": text, "ignore_case?": flag, "max?": between(1, 1000) }),
  object({ to: list(text, { minItems: 1, maxItems: 3 }), subject: upTo(30), body: text, "cc?": list(text) }),
  object({ title: upTo(20, 1), start: as("date-time"), "end?": as("date-time") }),
  object({ amount: between(0, 10000, "number"), currency: oneOf("USD", "EUR", "GBP") }),
  object({ from: oneOf("en", "de", "fr"), to: oneOf("en", "de", "fr"), text }),
  object({ a: number, b: number, op: oneOf("+", "-", "*", "/") }),
  object({ latitude: between(-90, 90, "number"), longitude: between(-180, 180, "number") }),
  object({ id: whole }),
  object({ ids: list(whole, { minItems: 1 }) }),
  object({ name: text, "age?": between(0, 150), "email?": text }),
  object({ url: like("^https?://[a-z.]{1,20}$"), "method?": oneOf("GET", "POST") }),
  object({ url: text, headers: map(text), "body?": text }),
  object({ color: like("^#[0-9a-f]{6}$"), "alpha?": between(0, 1, "number") }),
  object({ date: like("^\\d{4}-\\d{2}-\\d{2}$") }),
  object({ phone: like("^\\+[1-9]\\d{6,14}$") }),
  object({ zip: like("^\\d{5}(-\\d{4})?$"), "country?": { const: "US" } }),
  object({ items: list(object({ sku: text, quantity: between(1, 99) }), { minItems: 1, maxItems: 4 }) }),
  object({ answer: text, confidence: between(0, 1, "number"), "sources?": list(text) }),
  object({ steps: list(object({ thought: text, "action?": text })), final: text }),
  object({ sentiment: oneOf("positive", "neutral", "negative"), score: between(-1, 1, "number") }),
  object({ labels: list(oneOf("bug", "feature", "docs"), { maxItems: 3 }) }),
  object({ point: { type: "array", prefixItems: [number, number], items: false, minItems: 2, maxItems: 2 } }),
  object({ box: list(whole, { minItems: 4, maxItems: 4 }) }),
  object({ todo: list(object({ content: text, status: oneOf("pending", "in_progress", "completed") })) }),
  object({ value: { anyOf: [text, number, flag] } }),
  object({ value: { type: ["string", "integer", "null"] } }),
  object({ key: like("^[a-z][a-z0-9_]*$"), value: {} }),
  object({ command: oneOf("view", "create", "undo"), path: text, "range?": list(whole, { minItems: 2, maxItems: 2 }) }),
  object({ action: { const: "click" }, x: between(0, 4096), y: between(0, 4096) }),
  object({ rows: list(list(number, { maxItems: 3 }), { maxItems: 3 }) }),
  object({ name: text, arguments: map({}) }),
  object({ user: object({ name: text, "tags?": list(text) }), "notify?": flag }),
  object({ sql: text, "params?": list({ type: ["string", "number", "null"] }) }),
  object({ duration: between(1, 86400), "unit?": oneOf("s", "m", "h") }),
  object({ uuid: as("uuid") }),
  object({ host: as("ipv4"), port: between(1, 65535) }),
  object({ day: as("date"), "at?": as("time") }),
  object({ amount: like("^-?\\d+(\\.\\d{1,2})?$") }),
  object({ version: like("^\\d+\\.\\d+\\.\\d+$") }),
  object({ hash: like("^[0-9a-f]{40}$") }),
  object({ regex: text, flags: like("^[gimsuy]{0,3}$") }),
  object({ priority: oneOf(1, 2, 3), "due?": maybe(as("date")) }),
  object({ enabled: { const: true }, level: oneOf("debug", "info", null) }),
]

/** Configuration files. */
const CONFIGURATIONS: readonly Schema[] = [
  object({ name: like("^[a-z0-9-]+$"), version: text, "private?": flag, "scripts?": map(text) }),
  object({
    compilerOptions: object({ "strict?": flag, "target?": oneOf("es5", "es2022"), "paths?": map(list(text)) }),
  }),
  object({ services: map(object({ image: text, "ports?": list(text), "environment?": map(text) })) }),
  object({ semi: flag, tabWidth: between(1, 16), "printWidth?": between(20, 400) }),
  object({ root: flag, rules: map({ anyOf: [oneOf("off", "warn", "error"), between(0, 2)] }) }),
  object({
    on: { anyOf: [text, list(text)] },
    jobs: map(object({ "runs-on": text, steps: list(object({ "run?": text })) })),
  }),
  object({
    replicas: between(0, 100),
    image: text,
    "resources?": object({ "cpu?": like("^\\d+m?$"), "memory?": like("^\\d+(Ki|Mi|Gi)$") }),
  }),
  object({ log: object({ level: oneOf("trace", "debug", "info"), "file?": maybe(text) }) }),
  object({ server: object({ host: text, port: between(1, 65535), "tls?": object({ cert: text, key: text }) }) }),
  object({ cache: { anyOf: [{ const: false }, object({ ttl: between(0, 3600) })] } }),
  object({ retries: between(0, 10), backoff: { type: "number", exclusiveMinimum: 0, maximum: 60 } }),
  object({ theme: object({ primary: like("^#[0-9a-fA-F]{3}$"), "dark?": flag }) }),
  object({
    plugins: list({ anyOf: [text, { type: "array", prefixItems: [text, map({})], items: false, minItems: 2 }] }),
  }),
  object({ include: list(text, { minItems: 1 }), exclude: list(text) }),
  object({ $schema: text, "extends?": text }),
  object({ "a/b": text, "c~d": text, "e f": text }),
  object({ ключ: text, 日本: whole, "😀": flag }),
  object({ 'quo"ted': text, "back\\slash": text }),
  object({ __proto__x: text, constructor: whole, toString: flag }),
  object({ matrix: object({ os: list(oneOf("linux", "macos")), node: list(whole) }) }),
  object({ schedule: list(object({ cron: like("^[0-9*/ ,-]{1,20}$") })) }),
  object({ limits: map(between(0, 100)) }),
  object({ weights: map(between(0, 1, "number")) }),
  object({ features: map(flag), "version?": { const: 2 } }),
  object({ env: list(object({ name: like("^[A-Z_]+$"), value: text })) }),
  { type: "object", properties: { name: text }, required: ["name"], additionalProperties: text },
  { type: "object", properties: { id: whole, ok: flag }, required: [], additionalProperties: { type: "null" } },
  { type: "object", properties: { a: text, ab: text, abc: text }, required: ["ab"], additionalProperties: whole },
  { type: "object", patternProperties: { "^x-": text }, additionalProperties: false },
  { type: "object", patternProperties: { "^[a-z]{2}$": whole }, additionalProperties: false },
  { type: "object", properties: { n: whole }, patternProperties: { "^s_": text }, additionalProperties: false },
  map(text),
  map(whole, { minProperties: 1 }),
  map(flag, { maxProperties: 2 }),
  list(object({ k: text, v: text })),
  list(map(whole), { maxItems: 2 }),
]

const tree = {
  $ref: "#/$defs/node",
  $defs: { node: object({ value: whole, "children?": list({ $ref: "#/$defs/node" }) }) },
}
const chain = { $ref: "#/$defs/link", $defs: { link: object({ id: text, next: maybe({ $ref: "#/$defs/link" }) }) } }
const expression = {
  $ref: "#/$defs/e",
  $defs: {
    e: { anyOf: [number, object({ op: oneOf("+", "*"), l: { $ref: "#/$defs/e" }, r: { $ref: "#/$defs/e" } })] },
  },
}
const kinds = (...names: string[]): Schema[] =>
  names.map((kind, i) => object({ kind: { const: kind }, [`v${i}`]: whole }))

/** References and combinations. */
const COMBINATIONS: readonly Schema[] = [
  tree,
  chain,
  expression,
  { ...object({ a: { $ref: "#/$defs/p" }, b: { $ref: "#/$defs/p" } }), $defs: { p: object({ x: number, y: number }) } },
  { ...list({ $ref: "#/definitions/i" }), definitions: { i: between(0, 9) } },
  { anyOf: kinds("a", "b", "c") },
  { anyOf: [text, whole] },
  { anyOf: [{ type: "null" }, flag, list(whole)] },
  { anyOf: [object({ a: text }), object({ b: text })] },
  { allOf: [{ type: "integer", minimum: 3 }, { maximum: 12 }] },
  { allOf: [{ type: "string", minLength: 2 }, { maxLength: 4 }] },
  {
    type: "object",
    properties: { a: text },
    required: ["a"],
    additionalProperties: false,
    allOf: [{ required: ["a"] }],
  },
  { $ref: "#/$defs/s", $defs: { s: oneOf("x", "y") } },
  { $ref: "#/$defs/a~1b", $defs: { "a/b": flag } },
  { type: ["object", "null"], properties: { a: whole }, required: ["a"], additionalProperties: false },
  { type: ["array", "string"], items: whole, maxLength: 3 },
  { type: ["number", "boolean"] },
  object({ shape: { anyOf: kinds("circle", "square") } }),
  object({ shape: { oneOf: kinds("circle", "square") } }),
  object({
    event: { anyOf: [object({ type: { const: "key" }, code: whole }), object({ type: { const: "text" }, text })] },
  }),
  object({ value: { oneOf: [text, whole, { type: "null" }] } }),
  list({ anyOf: [whole, text] }, { minItems: 1, maxItems: 3 }),
  maybe(maybe(whole)),
  {},
]

/** Single keywords. */
const KEYWORDS: readonly Schema[] = [
  flag,
  { type: "null" },
  text,
  whole,
  number,
  { type: "object" },
  { type: "array" },
  { const: 12 },
  { const: "a b" },
  { const: null },
  { const: [1, "a", {}] },
  { const: { a: { b: [] } } },
  oneOf("a", "ab", "abc", "b"),
  oneOf(1, 10, 100, "1"),
  oneOf(true, null, 0, ""),
  oneOf({ a: 1 }, { a: 2 }, []),
  oneOf('"', "\\", "\n", "ä"),
  { type: "string", enum: ["yes", "no", 1] },
  ...[
    [0, 9],
    [1, 12],
    [-5, 5],
    [0, 100],
    [10, 99],
    [5, 105],
    [-128, 127],
    [0, 65535],
    [1900, 2100],
    [-1000, -10],
  ].map(([low, high]) => between(low as number, high as number)),
  { type: "integer", minimum: 0 },
  { type: "integer", minimum: 17 },
  { type: "integer", maximum: -1 },
  { type: "integer", maximum: 1000 },
  { type: "integer", exclusiveMinimum: 0, exclusiveMaximum: 10 },
  ...[
    [0, 1],
    [-1, 1],
    [0.5, 2.5],
    [-90, 90],
    [0.25, 0.75],
    [1, 1.5],
    [-2.75, -0.5],
    [99.9, 100.1],
  ].map(([low, high]) => between(low as number, high as number, "number")),
  { type: "number", minimum: 0 },
  { type: "number", maximum: 2.5 },
  { type: "number", minimum: -0.5 },
  ...[2, 3, 5, 10, 25].map((multipleOf) => ({ type: "integer", multipleOf })),
  { type: "integer", multipleOf: 7, minimum: 0, maximum: 100 },
  ...[
    [0, 3],
    [1, 1],
    [2, 5],
    [0, 64],
    [10, 12],
  ].map(([min, max]) => upTo(max as number, min)),
  { type: "string", minLength: 2 },
  ...[
    "^a+$",
    "^[a-z]{2,4}$",
    "^(foo|bar)+$",
    "^\\d+$",
    "^[^x]*$",
    "^\\w+@\\w+\\.com$",
    "abc",
    "^abc",
    "abc$",
    "^(a|b)*c$",
    "^[A-Z]{2}\\d{2}( \\d{4}){3}$",
    "^(0|[1-9]\\d*)$",
    "^[\\w.-]{1,8}$",
    "^.{3}$",
    "^(?:[a-f]{2}:){2}[a-f]{2}$",
    "^[äöü]+$",
    "^\\s?x\\s?$",
    "^$|^ok$",
    "^x?y?z?$",
    "^a{2,3}b{0,2}$",
  ].map(like),
  ...["date", "time", "date-time", "uuid", "ipv4", "duration"].map(as),
  list(whole, { minItems: 1 }),
  list(whole, { maxItems: 2 }),
  list(whole, { minItems: 2, maxItems: 4 }),
  list(list(flag)),
  list(text),
  { type: "array", prefixItems: [text, whole], items: false },
  { type: "array", prefixItems: [text], items: whole, minItems: 2 },
  { type: "array", prefixItems: [whole, whole, whole], items: false, minItems: 1 },
  { type: "array", prefixItems: [flag], items: { type: "null" }, maxItems: 3 },
  { type: "array", items: false },
]

export const publicSchemas: readonly Schema[] = [...FUNCTIONS, ...CONFIGURATIONS, ...COMBINATIONS, ...KEYWORDS]
