import type { z } from "zod"
import { jsonSchema } from "../schemas/documented.ts"
import { errorBody } from "../schemas/error.ts"

interface EndpointDoc {
  readonly tag: string
  readonly summary: string
  readonly description?: string
  readonly response: z.ZodType
  /** The schema of one event, where the endpoint can stream. */
  readonly event?: z.ZodType
  /** Error statuses with what each means. */
  readonly errors: Readonly<Record<number, string>>
  /** Further statuses whose body is no error object. */
  readonly others?: Readonly<Record<number, { readonly description: string; readonly schema: z.ZodType }>>
}

const failure = jsonSchema(errorBody, "output")

/** The OpenAPI description of one endpoint, for Elysia's `detail`. */
export function endpoint({ tag, summary, description, response, event, errors, others = {} }: EndpointDoc) {
  const content: Record<string, { schema: Record<string, unknown> }> = {
    "application/json": { schema: jsonSchema(response, "output") },
  }
  if (event !== undefined) content["text/event-stream"] = { schema: jsonSchema(event, "output") }
  const failures = Object.entries(errors).map(([status, meaning]) => [
    status,
    { description: meaning, content: { "application/json": { schema: failure } } },
  ])
  const more = Object.entries(others).map(([status, { description, schema }]) => [
    status,
    { description, content: { "application/json": { schema: jsonSchema(schema, "output") } } },
  ])
  return {
    tags: [tag],
    summary,
    description,
    responses: { 200: { description: "Success", content }, ...Object.fromEntries([...failures, ...more]) },
  }
}

/** What every endpoint that generates text can answer besides success. */
export const GENERATION_ERRORS = {
  400: "The request is malformed, a field is not valid, or a feature is not supported yet; `param` names the field.",
  404: "No such model.",
  413: "The body is too large.",
  415: "The body is not JSON.",
  429: "Too many requests wait for this model; `Retry-After` says when to try again.",
  503: "The engine failed or is being started, there is no memory for the model now, the request's deadline has passed, or the server is shutting down; the same request may work after `Retry-After`.",
}
