/** Parameters in URLs: reading them, and describing them for OpenAPI. */

import type { z } from "zod"
import { validationError } from "./errors.ts"

/**
 * Reads a request's query. A list is written as `name[]=a&name[]=b` or `name[0]=a`.
 * @throws ApiError 400
 */
export function readQuery<T extends z.ZodType>(request: Request, schema: T): z.output<T> {
  const query: Record<string, string | string[]> = {}
  for (const [key, value] of new URL(request.url, "http://localhost").searchParams) {
    const [, name, list] = /^([^[]*)(\[\d*\])?$/.exec(key) ?? [key, key]
    if (name === undefined) continue
    if (list === undefined) query[name] = value
    else query[name] = [query[name] ?? [], value].flat()
  }
  const result = schema.safeParse(query, { reportInput: true })
  if (!result.success) throw validationError(result.error)
  return result.data
}

export const inPath = (name: string, description: string) => ({
  name,
  in: "path" as const,
  required: true,
  description,
  schema: { type: "string" as const },
})
export const inQuery = (name: string, description: string, schema: object) => ({
  name,
  in: "query" as const,
  required: false,
  description,
  schema,
})
