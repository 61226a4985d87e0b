/**
 * Errors and their responses. A failure that has no name here becomes a plain 500: neither stack traces nor internal messages leave the
 * process.
 */

import { z } from "zod"
import {
  ContextOverflowError,
  EngineError,
  FieldMessage,
  type FieldNames,
  literalMessage,
  OverloadedError,
  RequestError,
} from "../../errors.ts"
import { TokenizerError } from "../../text/index.ts"
import { currentRequest } from "../observe/record.ts"
import { BudgetError, ModelLoadError, NameTakenError, NotLoadedError, UnknownModelError } from "../pool/errors.ts"

/** The body of an error in OpenAI's shape, which is also that of all routes outside of any API. */
export const errorSchema = z.object({
  error: z.object({
    message: z.string(),
    type: z.enum([
      "invalid_request_error",
      "not_found_error",
      "rate_limit_error",
      "service_unavailable",
      "server_error",
    ]),
    param: z.string().nullable().describe("The request field at fault."),
    code: z.string().nullable(),
  }),
})
type ErrorBody = z.output<typeof errorSchema>

/** Most characters of a message, and of a field's name, in a response: both can repeat parts of the request. */
const MAX_MESSAGE = 2000
const MAX_PARAM = 200
const clip = (text: string, length: number): string => (text.length > length ? `${text.slice(0, length - 1)}…` : text)

/** A failure with everything that its response needs. */
export class ApiError extends Error {
  override readonly name = "ApiError"
  readonly #message: FieldMessage
  readonly #param: FieldMessage | null

  /**
   * @param message Names fields by their keys, or is a plain string.
   * @param param The field at fault: its key, as a message, or its name in the request's own API, as a plain string.
   */
  constructor(
    readonly status: number,
    readonly type: ErrorBody["error"]["type"],
    message: string | FieldMessage,
    param: string | FieldMessage | null = null,
    readonly code: string | null = null,
    readonly headers: Readonly<Record<string, string>> = {},
    /** Of a text that does not fit into the context: its tokens, and those that the context holds. */
    readonly overflow?: { readonly nTokens: number; readonly contextLength: number },
  ) {
    const text = typeof message === "string" ? literalMessage(message) : message
    super(clip(text.render(), MAX_MESSAGE))
    this.#message = text
    this.#param = typeof param === "string" ? literalMessage(param) : param
  }

  /** What a client is shown, with its API's names of the fields. */
  shown(names: FieldNames): { message: string; param: string | null } {
    return {
      message: clip(this.#message.render(names), MAX_MESSAGE),
      param: this.#param && clip(this.#param.render(names), MAX_PARAM),
    }
  }
}

/** A 413 for the body. @param limit Bytes. */
export const tooLarge = (limit: number): ApiError =>
  new ApiError(
    413,
    "invalid_request_error",
    `The body is larger than this server's limit of ${limit} bytes.`,
    null,
    "request_too_large",
  )

/** A 415. */
export const unsupportedMedia = (message: string): ApiError =>
  new ApiError(415, "invalid_request_error", message, null, "unsupported_media_type")

/** A 400. See {@link ApiError}. */
export const invalidRequest = (
  message: string | FieldMessage,
  param: string | FieldMessage | null,
  code: string,
): ApiError => new ApiError(400, "invalid_request_error", message, param, code)

/** The 404 for an unknown path, or the 405 with `Allow` for a path that has other methods. */
export function unknownRoute(method: string, path: string, allowed: readonly string[]): ApiError {
  if (allowed.length === 0)
    return new ApiError(
      404,
      "not_found_error",
      `No route ${method} ${path}; /swagger lists them all.`,
      null,
      "unknown_url",
    )
  const allow = allowed.join(", ")
  const message = `${method} is not allowed on ${path}; use ${allow}.`
  return new ApiError(405, "invalid_request_error", message, null, "method_not_allowed", { allow })
}

/** The first problem that zod found. The field has the name that the body gives it. */
export function validationError(error: z.ZodError): ApiError {
  const issue = error.issues[0]
  if (issue === undefined) return invalidRequest("The request is not valid.", null, "invalid_value")
  return issueError(issue, [])
}

function issueError(issue: z.core.$ZodIssue, parents: readonly PropertyKey[]): ApiError {
  const path = [...parents, ...issue.path]
  if (issue.code === "unrecognized_keys") {
    const param = pathName([...path, issue.keys[0] ?? ""])
    return invalidRequest(`Unknown field '${param}'.`, param, "unknown_parameter")
  }
  const param = path.length > 0 ? pathName(path) : null
  if ((issue.code === "invalid_type" || issue.code === "invalid_union") && issue.input === undefined && param !== null)
    return invalidRequest(`'${param}' is required.`, param, "missing_required_parameter")
  // In a union, the branch that accepted the value's type, or got furthest into it, is the one that the client meant.
  if (issue.code === "invalid_union") {
    const refused = issue.errors.flat().find(({ code, path }) => code === "custom" && path.length === 0)
    if (refused !== undefined) return issueError(refused, path)
    const depth = (issues: readonly z.core.$ZodIssue[]) => Math.max(0, ...issues.map((i) => i.path.length))
    const [closest] = [...issue.errors].sort((a, b) => depth(b) - depth(a))
    if (closest?.[0] !== undefined && depth(closest) > 0) return issueError(closest[0], path)
  }
  const code =
    issue.code === "custom" && typeof issue.params?.code === "string"
      ? issue.params.code
      : issue.code === "invalid_type"
        ? "invalid_type"
        : "invalid_value"
  return invalidRequest(param === null ? `${issue.message}.` : `'${param}': ${issue.message}.`, param, code)
}

/** `["messages", 0, "content"]` → `messages[0].content`. */
const pathName = (path: readonly PropertyKey[]): string =>
  path.reduce<string>(
    (name, key) => (typeof key === "number" ? `${name}[${key}]` : name ? `${name}.${String(key)}` : String(key)),
    "",
  )

/** The error that a thrown value means to the client; `undefined`: an unexpected failure. */
function known(thrown: unknown): ApiError | undefined {
  if (thrown instanceof ApiError) return thrown
  if (thrown instanceof RequestError) {
    const { messageTemplate, paramTemplate, code } = thrown
    const overflow = thrown instanceof ContextOverflowError ? thrown : undefined
    const [message, param] = [new FieldMessage(messageTemplate), new FieldMessage(paramTemplate)]
    return new ApiError(400, "invalid_request_error", message, param, code, {}, overflow)
  }
  if (thrown instanceof TokenizerError) return invalidRequest(thrown.message, null, thrown.code)
  if (thrown instanceof UnknownModelError)
    return new ApiError(404, "invalid_request_error", thrown.message, "model", "model_not_found")
  if (thrown instanceof NotLoadedError) return invalidRequest(thrown.message, "model", "model_not_loaded")
  if (thrown instanceof NameTakenError)
    return new ApiError(409, "invalid_request_error", thrown.message, "model", "name_taken")
  if (thrown instanceof BudgetError) return invalidRequest(`${capital(thrown.message)}.`, "model", "model_too_large")
  if (thrown instanceof OverloadedError) return overloaded(thrown)
  if (thrown instanceof ModelLoadError)
    return new ApiError(503, "server_error", `${capital(thrown.message)}.`, "model", "model_load_failed", {
      "retry-after": String(thrown.retryAfter),
    })
  if (thrown instanceof EngineError)
    return new ApiError(503, "server_error", `The engine failed: ${thrown.message}`, null, "engine_error", {
      "retry-after": "1",
    })
  return undefined
}

function overloaded({ message, code, retryAfter }: OverloadedError): ApiError {
  const headers = { "retry-after": String(retryAfter) }
  const text = `${capital(message)}; try again in ${retryAfter} s.`
  if (code === "queue_full") return new ApiError(429, "rate_limit_error", text, null, code, headers)
  return new ApiError(503, "service_unavailable", text, null, code, headers)
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

/** The {@link ApiError} for any thrown value; an unexpected one is a plain 500. */
export const toApiError = (thrown: unknown): ApiError =>
  known(thrown) ??
  new ApiError(500, "server_error", "The server failed unexpectedly; its log has the details.", null, "internal_error")

/** Logs an unexpected failure in full. Failures that have an error of their own are not logged. */
export function reportUnexpected(thrown: unknown): void {
  if (known(thrown) !== undefined) return
  const record = currentRequest()
  const log = record?.observers.log
  if (log === undefined) console.error("rocmforge: unexpected error while serving a request:", thrown)
  else log.error({ request_id: record?.id, err: thrown }, "unexpected error while serving a request")
}

/** Writes the body of an error as one API's clients read it. */
export type ErrorShape = (error: ApiError) => unknown

/** OpenAI's shape, with an API's names of the fields. */
export function errorBody(error: ApiError, names: FieldNames): ErrorBody {
  const { message, param } = error.shown(names)
  return { error: { message, type: error.type, param, code: error.code } }
}

export const errorResponse = (error: ApiError, shape: ErrorShape): Response =>
  Response.json(shape(error), { status: error.status, headers: error.headers })

/** An `onError` hook that answers whatever a plugin's routes throw in its API's shape. */
export const answerErrors =
  (shape: ErrorShape) =>
  ({ error }: { error: unknown }): Response => {
    // Elysia wraps what a parser or a schema throws.
    const cause = error instanceof Error && error.cause instanceof ApiError ? error.cause : error
    reportUnexpected(cause)
    return errorResponse(toApiError(cause), shape)
  }

/** An API whose errors have a shape of their own on every path under `prefix`, also where no route is reached. */
export interface ApiErrors {
  readonly prefix: string
  readonly shape: ErrorShape
}

/** Finds the error shape for a path: that of the API it belongs to, or `other`. */
export const errorShapes =
  (apis: readonly ApiErrors[], other: ErrorShape) =>
  (path: string): ErrorShape =>
    apis.find(({ prefix }) => path === prefix || path.startsWith(`${prefix}/`))?.shape ?? other
