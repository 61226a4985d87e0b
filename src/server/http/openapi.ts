import type { z } from "zod"
import { jsonSchema } from "./documented.ts"
import { errorSchema } from "./errors.ts"

interface EndpointDoc {
  readonly tag: string
  readonly summary: string
  readonly description?: string
  readonly response: z.ZodType
  /** The schema of one event, if the endpoint can stream. */
  readonly event?: z.ZodType
  /** Content type of the stream. Default: server-sent events. */
  readonly eventType?: string
  /** A description for each error status. */
  readonly errors: Readonly<Record<number, string>>
  /** The schema of its errors; default: OpenAI's. */
  readonly failure?: z.ZodType
  /** Requires no API key. */
  readonly open?: boolean
  /** Further statuses, whose bodies are not errors. */
  readonly others?: Readonly<Record<number, { readonly description: string; readonly schema: z.ZodType }>>
}

/** The OpenAPI description of one endpoint, for Elysia's `detail`. */
export function endpoint(doc: EndpointDoc) {
  const { tag, summary, description, response, event, errors, others = {} } = doc
  const content: Record<string, { schema: Record<string, unknown> }> = {
    "application/json": { schema: jsonSchema(response, "output") },
  }
  if (event !== undefined) content[doc.eventType ?? "text/event-stream"] = { schema: jsonSchema(event, "output") }
  const more = Object.entries(others).map(([status, { description, schema }]) => [
    status,
    { description, content: { "application/json": { schema: jsonSchema(schema, "output") } } },
  ])
  return {
    tags: [tag],
    ...(doc.open && { security: [] }),
    summary,
    description,
    responses: {
      200: { description: "Success", content },
      ...failures(errors, doc.failure, doc.open),
      ...Object.fromEntries(more),
    },
  }
}

/** The errors of every endpoint. */
const COMMON_ERRORS = {
  401: "The server requires an API key, and the request has none, or one that is not valid.",
  431: "The request has too many header fields, or they are too large (that response has no body).",
}

/** The responses for these errors, and for the errors of every endpoint. @param open The endpoint requires no API key. */
export function failures(
  errors: Readonly<Record<number, string>>,
  shape: z.ZodType = errorSchema,
  open = false,
): Record<string, object> {
  const content = { "application/json": { schema: jsonSchema(shape, "output") } }
  const { 401: locked, ...common } = COMMON_ERRORS
  const all = Object.entries({ ...errors, ...common, ...(!open && { 401: locked }) })
  return Object.fromEntries(all.map(([status, description]) => [status, { description, content }]))
}

/** The errors of every endpoint that generates text. */
export const GENERATION_ERRORS = {
  400: "The request is malformed, a field is not valid, or a feature is not supported yet; `param` names the field.",
  404: "No such model.",
  413: "The body is too large.",
  415: "The body is not JSON.",
  429: "Too many requests wait for this model; `Retry-After` says when to try again.",
  503: "The engine failed or is being started, there is no memory for the model now, the request's deadline has passed, or the server is shutting down; the same request may work after `Retry-After`.",
}
