/** Errors as Anthropic's clients read them: `{type: "error", error: {type, message}}`. The message names the field at fault. */

import type { ApiError } from "../../http/errors.ts"
import type { MessageError } from "./schema.ts"

type ErrorType = MessageError["error"]["type"]

const TYPES: Readonly<Record<number, ErrorType>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  504: "timeout_error",
}

export const messageErrorBody = (error: ApiError): MessageError => ({
  type: "error",
  error: { type: errorType(error), message: error.message },
})

function errorType({ status, type }: ApiError): ErrorType {
  const named = TYPES[status]
  if (named !== undefined) return named
  if (status < 500) return "invalid_request_error"
  return type === "service_unavailable" ? "overloaded_error" : "api_error"
}
