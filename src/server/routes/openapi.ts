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
}

const failure = jsonSchema(errorBody, "output")

/** The OpenAPI description of one endpoint, for Elysia's `detail`. */
export function endpoint({ tag, summary, description, response, event, errors }: EndpointDoc) {
  const content: Record<string, { schema: Record<string, unknown> }> = {
    "application/json": { schema: jsonSchema(response, "output") },
  }
  if (event !== undefined) content["text/event-stream"] = { schema: jsonSchema(event, "output") }
  const failures = Object.entries(errors).map(([status, meaning]) => [
    status,
    { description: meaning, content: { "application/json": { schema: failure } } },
  ])
  return {
    tags: [tag],
    summary,
    description,
    responses: { 200: { description: "Success", content }, ...Object.fromEntries(failures) },
  }
}

/** What every endpoint that generates text can answer besides success. */
export const GENERATION_ERRORS = {
  400: "The request is malformed, a field is not valid, or a feature is not supported yet; `param` names the field.",
  404: "No such model.",
  413: "The body is too large.",
  415: "The body is not JSON.",
  503: "The engine failed; the same request may work later.",
}
