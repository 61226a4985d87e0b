/** Checks answers against the OpenAPI document. */

import Ajv, { type ValidateFunction } from "ajv"
import type { FuzzRequest, OpenApi, Operation } from "./requests.ts"
import type { Schema } from "./schema-values.ts"

export interface FuzzAnswer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

export class DocumentCheck {
  readonly #ajv = new Ajv({ strict: false, allErrors: false, validateFormats: false })
  readonly #compiled = new Map<Schema, ValidateFunction>()

  constructor(readonly document: OpenApi) {}

  /** Describes the fault of an answer; `undefined` for a valid answer. */
  problem(request: FuzzRequest, answer: FuzzAnswer): string | undefined {
    const { status, headers, text } = answer
    // 501 tells that the model has no such ability, where llama-server's clients expect that status.
    if (status >= 500 && status !== 501) return `the server failed: ${status}`
    if (!/^[\w.:=+/@-]{1,128}$/.test(headers.get("x-request-id") ?? "")) return "it has no request id"
    const operations = this.document.paths[request.route] ?? {}
    const operation = operations[request.method.toLowerCase()]
    if (request.method === "HEAD" && operations.get !== undefined) {
      // HEAD is answered like GET, without a body.
      return text === "" && operations.get.responses[status] !== undefined
        ? undefined
        : `HEAD was answered with ${status}, ${text}`
    }
    if (operation === undefined) return this.#wrongMethod(request, answer)
    const content = operation.responses[status]?.content
    if (content === undefined) return `status ${status} is not documented`
    const type = headers.get("content-type")?.split(";")[0]?.trim() ?? ""
    const documented = content[type]
    if (documented === undefined) return `content type '${type}' of status ${status} is not documented`
    if (status === 200 && this.#refuses(operation, request)) return "it takes what its schema refuses"
    const { schema } = documented
    // Other content is a plain string, which needs no check.
    return schema && type !== "text/plain" ? this.#bodyProblem(schema, type, text) : undefined
  }

  /** An undocumented method must be answered with 405, and `Allow` must list the documented ones. */
  #wrongMethod({ method, route }: FuzzRequest, { status, headers }: FuzzAnswer): string | undefined {
    if (status !== 405) return `${method} is not documented, and was answered with ${status}`
    const methods = Object.keys(this.document.paths[route] ?? {}).map((name) => name.toUpperCase())
    const allow = headers.get("allow")?.split(", ") ?? []
    return methods.every((name) => allow.includes(name)) ? undefined : `Allow is '${allow}'`
  }

  #refuses({ requestBody }: Operation, { json }: FuzzRequest): boolean {
    const schema = requestBody?.content["application/json"]?.schema
    if (schema === undefined || json === undefined) return false
    // The value after JSON serialization, as the server parses it: without -0 and duplicate fields.
    return !this.#validate(schema)(JSON.parse(JSON.stringify(json)))
  }

  #bodyProblem(schema: Schema, type: string, text: string): string | undefined {
    const validate = this.#validate(schema)
    for (const part of partsOf(type, text)) {
      let value: unknown
      try {
        value = JSON.parse(part)
      } catch {
        return `it is not JSON: ${part.slice(0, 200)}`
      }
      if (!validate(value)) return `${this.#ajv.errorsText(validate.errors)} in ${part.slice(0, 300)}`
    }
    return undefined
  }

  #validate(schema: Schema): ValidateFunction {
    const known = this.#compiled.get(schema)
    if (known !== undefined) return known
    const validate = this.#ajv.compile(jsonSchema(schema) as object)
    this.#compiled.set(schema, validate)
    return validate
  }
}

/** The JSON texts of an answer: one for a plain answer, one per event for a stream. */
function partsOf(type: string, text: string): string[] {
  if (type === "text/event-stream") {
    const lines = text.split("\n").filter((line) => line.startsWith("data: "))
    return lines.map((line) => line.slice(6)).filter((data) => data !== "[DONE]")
  }
  return type === "application/x-ndjson" ? text.split("\n").filter((line) => line !== "") : [text]
}

/** Converts OpenAPI 3.0's schema dialect to JSON Schema: `nullable`, and boolean exclusive bounds. */
function jsonSchema(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(jsonSchema)
  if (typeof schema !== "object" || schema === null) return schema
  const {
    nullable,
    exclusiveMinimum,
    exclusiveMaximum,
    minimum,
    maximum,
    enum: values,
    example: _,
    properties,
    ...rest
  } = schema as Schema
  const changed: Record<string, unknown> = Object.fromEntries(
    Object.entries(rest).map(([key, value]) => [key, jsonSchema(value)]),
  )
  if (values !== undefined) changed.enum = values
  if (properties !== undefined)
    changed.properties = Object.fromEntries(
      Object.entries(properties).map(([name, value]) => [name, jsonSchema(value)]),
    )
  if (minimum !== undefined) changed[exclusiveMinimum ? "exclusiveMinimum" : "minimum"] = minimum
  if (maximum !== undefined) changed[exclusiveMaximum ? "exclusiveMaximum" : "maximum"] = maximum
  return nullable ? { anyOf: [changed, { type: "null" }] } : changed
}
