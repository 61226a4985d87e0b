/**
 * Errors in OpenAI's shape, `{error: {message, type, param, code}}`, with the status its clients turn into typed errors. A failure
 * that has no name here becomes a plain 500: neither stack traces nor internal messages leave the process.
 */

import type { z } from "zod"
import { EngineError, OverloadedError, RequestError } from "../../errors.ts"
import { TokenizerError } from "../../text/index.ts"
import { currentRequest } from "../observe/record.ts"
import { ModelLoadError, UnknownModelError } from "../pool/errors.ts"
import type { ErrorBody } from "./error-schema.ts"

/** What an error repeats of a request is not more than this, in characters. */
const LONGEST_MESSAGE = 2000
const LONGEST_PARAM = 200
const clip = (text: string, length: number): string => (text.length > length ? `${text.slice(0, length - 1)}…` : text)

/** A failure with everything its response needs; `param` is the request field at fault. */
export class ApiError extends Error {
  override readonly name = "ApiError"
  readonly param: string | null
  constructor(
    readonly status: number,
    readonly type: ErrorBody["error"]["type"],
    message: string,
    param: string | null = null,
    readonly code: string | null = null,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(clip(message, LONGEST_MESSAGE))
    this.param = param === null ? null : clip(param, LONGEST_PARAM)
  }
}

export const invalidRequest = (message: string, param: string | null, code: string): ApiError =>
  new ApiError(400, "invalid_request_error", message, param, code)

/** 404 for a path, or 405 with `Allow` where the path exists for other methods. */
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
  return new ApiError(
    405,
    "invalid_request_error",
    `${method} is not allowed on ${path}; use ${allow}.`,
    null,
    "method_not_allowed",
    {
      allow,
    },
  )
}

/** The first problem that zod found, named by its field in OpenAI's terms. */
export function validationError(error: z.ZodError): ApiError {
  const issue = error.issues[0]
  if (issue === undefined) return invalidRequest("The request is not valid.", null, "invalid_value")
  return fromIssue(issue, [])
}

function fromIssue(issue: z.core.$ZodIssue, parents: readonly PropertyKey[]): ApiError {
  const path = [...parents, ...issue.path]
  if (issue.code === "unrecognized_keys") {
    const param = fieldName([...path, issue.keys[0] ?? ""])
    return invalidRequest(`Unknown field '${param}'.`, param, "unknown_parameter")
  }
  const param = path.length > 0 ? fieldName(path) : null
  if ((issue.code === "invalid_type" || issue.code === "invalid_union") && issue.input === undefined && param !== null)
    return invalidRequest(`'${param}' is required.`, param, "missing_required_parameter")
  // Of a union's branches, report the one that took the value's type, or got furthest into it: it is the one that was meant.
  if (issue.code === "invalid_union") {
    const refused = issue.errors.flat().find(({ code, path }) => code === "custom" && path.length === 0)
    if (refused !== undefined) return fromIssue(refused, path)
    const depth = (issues: readonly z.core.$ZodIssue[]) => Math.max(0, ...issues.map((i) => i.path.length))
    const [closest] = [...issue.errors].sort((a, b) => depth(b) - depth(a))
    if (closest?.[0] !== undefined && depth(closest) > 0) return fromIssue(closest[0], path)
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
const fieldName = (path: readonly PropertyKey[]): string =>
  path.reduce<string>(
    (name, key) => (typeof key === "number" ? `${name}[${key}]` : name ? `${name}.${String(key)}` : String(key)),
    "",
  )

/** What a thrown value means to the client. `undefined`: an unexpected failure, to be logged and answered with a plain 500. */
function known(thrown: unknown): ApiError | undefined {
  if (thrown instanceof ApiError) return thrown
  if (thrown instanceof RequestError) return invalidRequest(thrown.message, thrown.param, thrown.code)
  if (thrown instanceof TokenizerError) return invalidRequest(thrown.message, null, thrown.code)
  if (thrown instanceof UnknownModelError)
    return new ApiError(404, "invalid_request_error", thrown.message, "model", "model_not_found")
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

/** Turns any thrown value into an {@link ApiError}; what was not expected is logged in full, and goes nowhere else. */
export function toApiError(thrown: unknown): ApiError {
  const error = known(thrown)
  if (error !== undefined) return error
  const record = currentRequest()
  const log = record?.observers.log
  if (log === undefined) console.error("rocmforge: unexpected error while serving a request:", thrown)
  else log.error({ request_id: record?.id, err: thrown }, "unexpected error while serving a request")
  return new ApiError(
    500,
    "server_error",
    "The server failed unexpectedly; its log has the details.",
    null,
    "internal_error",
  )
}

export const errorBody = (error: ApiError): ErrorBody => ({
  error: { message: error.message, type: error.type, param: error.param, code: error.code },
})
