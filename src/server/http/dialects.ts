/** Each API family's clients read errors in a shape of their own; the path says whose request it is. */

import { messageErrorBody } from "../apis/anthropic/errors.ts"
import { ollamaErrorBody } from "../apis/ollama/errors.ts"
import { type ApiError, errorBody } from "./errors.ts"

type ErrorShape = (error: ApiError) => unknown

const SHAPES: readonly (readonly [prefix: string, shape: ErrorShape])[] = [
  ["/v1/messages", messageErrorBody],
  ["/api", ollamaErrorBody],
]

/** The error as the clients of this path's API expect it. */
export function failureResponse(request: Request, error: ApiError): Response {
  // Without a Host header the URL is a path alone.
  const { pathname } = new URL(request.url, "http://localhost")
  const shape = SHAPES.find(([prefix]) => pathname === prefix || pathname.startsWith(`${prefix}/`))?.[1] ?? errorBody
  return Response.json(shape(error), { status: error.status, headers: error.headers })
}
