/** Generates requests to every operation of an OpenAPI document: valid, nearly valid, and invalid ones. */

import fc from "fast-check"
import { allowed, type Schema, spoiled } from "./schema-values.ts"

interface Parameter {
  readonly name: string
  readonly in: "path" | "query" | "header"
  readonly required?: boolean
  readonly schema: Schema
}

type Contents = Readonly<Record<string, { readonly schema?: Schema }>>

/** An operation: one method of one path. */
export interface Operation {
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly content: Contents }
  readonly responses: Readonly<Record<string, { readonly content?: Contents }>>
}

export interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

/** One request. It is printed when its answer is wrong. */
export interface FuzzRequest {
  readonly method: string
  /** The path in the document, with `{parameters}`. */
  readonly route: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
  /** The body's value, if the body is JSON. */
  readonly json?: unknown
}

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]

const word = fc.string({ minLength: 1, maxLength: 12 })
/** Valid header values: no line breaks, no NUL. */
const headerText = fc.string({
  unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
  maxLength: 40,
})

const oddHeaders = fc.dictionary(
  fc.constantFrom(
    "authorization",
    "x-api-key",
    "x-request-id",
    "accept",
    "accept-encoding",
    "content-encoding",
    "origin",
    "cookie",
    "if-none-match",
    "range",
    "traceparent",
    "x-odd",
  ),
  fc.oneof(
    headerText,
    fc.constantFrom("Bearer x", "Basic Og==", "*/*", "text/event-stream", "gzip", "bytes=0-1", "\xff\xfe"),
  ),
  { maxKeys: 3 },
)

const oddQuery = fc.oneof(
  fc.constant(""),
  fc.constantFrom(
    "?",
    "?&",
    "?=",
    "?%",
    "?%00",
    "?a=%ff",
    "?limit=1&limit=2",
    "?stream=true",
    "?__proto__=1",
    `?${"a".repeat(3000)}`,
  ),
  fc.array(fc.tuple(word, word), { maxLength: 3 }).map((pairs) => `?${new URLSearchParams(pairs)}`),
)

/** Invalid and borderline JSON texts. */
function brokenJson(text: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.oneof(
    fc.constantFrom(
      "",
      " ",
      "{",
      "[",
      "nul",
      "{}{}",
      "NaN",
      "'{}'",
      '{"a":1,}',
      "\ufeff{}",
      "[".repeat(5000),
      '{"a":'.repeat(3000),
      "1e999",
      '"\\ud800"',
    ),
    fc.tuple(text, fc.nat()).map(([json, n]) => json.slice(0, n % Math.max(1, json.length))),
    fc.tuple(text, fc.nat(), word).map(([json, n, noise]) => {
      const at = n % (json.length + 1)
      return json.slice(0, at) + noise + json.slice(at + 1)
    }),
  )
}

/** Ids of existing objects, such as models, by the name of the parameter or field that takes them. */
export type Known = Readonly<Record<string, readonly string[]>>

/** Requests for a whole document; most of them address documented operations. */
export function requestsOf(document: OpenApi, known: Known): fc.Arbitrary<FuzzRequest> {
  const operations = Object.entries(document.paths).flatMap(([route, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      weight: operation.requestBody === undefined ? 1 : 4,
      arbitrary: requestOf(route, method.toUpperCase(), operation, known),
    })),
  )
  const routes = Object.keys(document.paths)
  // The server accepts `HEAD` wherever it accepts `GET`.
  const takes = (route: string, method: string) =>
    document.paths[route]?.[method === "HEAD" ? "get" : method.toLowerCase()] !== undefined
  const wrongMethod = fc
    .tuple(fc.constantFrom(...routes), fc.constantFrom(...METHODS), oddHeaders)
    .filter(
      ([route, method]) =>
        document.paths[route]?.[method.toLowerCase()] === undefined &&
        !routes.some((other) => other !== route && covers(other, route) && takes(other, method)),
    )
    .map(([route, method, headers]) => ({
      method,
      route,
      path: route.replace(/\{\w+\}/g, "x"),
      headers,
      body: undefined,
    }))
  return fc.oneof({ weight: 20, arbitrary: fc.oneof(...operations) }, { weight: 1, arbitrary: wrongMethod })
}

/** Whether a path matches a route's pattern, which may contain `{parameters}`. */
const covers = (route: string, path: string): boolean =>
  new RegExp(`^${route.replace(/[.]/g, "\\.").replace(/\{\w+\}/g, "[^/]+")}$`).test(path)

function requestOf(route: string, method: string, operation: Operation, known: Known): fc.Arbitrary<FuzzRequest> {
  const { parameters = [] } = operation
  const schema = operation.requestBody?.content["application/json"]?.schema
  const bodies = schema === undefined ? fc.constant({ body: undefined, headers: {} }) : bodyOf(schema, known)
  return fc
    .tuple(
      pathOf(route, known),
      queryOf(parameters),
      fc.oneof({ weight: 4, arbitrary: fc.constant({}) }, { weight: 1, arbitrary: oddHeaders }),
      bodies,
    )
    .map(([path, query, odd, { headers, ...body }]) => ({
      method,
      route,
      path: path + query,
      headers: { ...odd, ...headers },
      ...body,
    }))
}

function pathOf(route: string, known: Known): fc.Arbitrary<string> {
  const names = [...route.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? "")
  const values = names.map((name) =>
    fc
      .oneof(
        { weight: 3, arbitrary: fc.constantFrom(...(known[name] ?? ["x"])) },
        fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 }).filter((text) => !/^\.+$/.test(text)),
        fc.constantFrom("a/b", "%", "\0", "x".repeat(3000)),
      )
      .map((text) => encodeURIComponent(text.toWellFormed())),
  )
  return fc.tuple(...values).map((parts) => parts.reduce((path, part) => path.replace(/\{\w+\}/, () => part), route))
}

function queryOf(parameters: readonly Parameter[]): fc.Arbitrary<string> {
  const known = parameters.filter((parameter) => parameter.in === "query")
  if (known.length === 0) return fc.oneof({ weight: 6, arbitrary: fc.constant("") }, { weight: 1, arbitrary: oddQuery })
  const value = (schema: Schema) =>
    fc.oneof({ weight: 3, arbitrary: allowed(schema).map(String) }, { weight: 1, arbitrary: word })
  const fields = fc.record(Object.fromEntries(known.map(({ name, schema }) => [name, value(schema)])), {
    requiredKeys: [],
  })
  return fc.oneof(
    { weight: 4, arbitrary: fields.map((record) => `?${new URLSearchParams(record as Record<string, string>)}`) },
    { weight: 1, arbitrary: oddQuery },
  )
}

/** A body and the headers that it needs. */
function bodyOf(schema: Schema, known: Known): fc.Arbitrary<Pick<FuzzRequest, "body" | "json" | "headers">> {
  const { properties = {}, example } = schema
  const names = Object.keys(properties).filter((name) => known[name] !== undefined)
  const existing = fc.record(Object.fromEntries(names.map((name) => [name, fc.constantFrom(...(known[name] ?? []))])))
  /** Replaces generated ids with ids of existing objects. */
  const settled = (values: fc.Arbitrary<unknown>) =>
    fc.tuple(values, existing).map(([value, all]) => {
      const fields = Object.entries(all).filter(([name]) => name === "model" || Object.hasOwn(value as object, name))
      return { ...(value as object), ...Object.fromEntries(fields) }
    })
  // The example with a few additional fields: the server accepts most of these.
  const extended = fc.tuple(allowed({ ...schema, required: [] }), fc.nat(2)).map(([value, n]) => ({
    ...(example as object),
    ...Object.fromEntries(Object.entries(value as object).slice(0, n)),
  }))
  const valid = fc.oneof(settled(allowed(schema)), { weight: 2, arbitrary: settled(extended) })
  const json = fc.oneof(
    { weight: 3, arbitrary: valid },
    { weight: 3, arbitrary: spoiled(valid) },
    { weight: 1, arbitrary: allowed(schema) },
  )
  const text = json.map((value) => JSON.stringify(value) ?? "")
  const type = { "content-type": "application/json" }
  const wrongType = fc.constantFrom(
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "application/jsonx",
    "",
    "application/json; charset=latin1",
    "APPLICATION/JSON",
    ";",
  )
  return fc.oneof(
    { weight: 16, arbitrary: json.map((value) => ({ body: JSON.stringify(value) ?? "", json: value, headers: type })) },
    { weight: 2, arbitrary: brokenJson(text).map((body) => ({ body, headers: type })) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(text, wrongType)
        .map(([body, odd]) => ({ body, headers: { "content-type": odd } as Record<string, string> })),
    },
    { weight: 1, arbitrary: fc.constant({ body: undefined, headers: {} }) },
  )
}
