import { RequestError } from "../../errors.ts"
import { ApiError } from "./errors.ts"

/** What a request's own API calls its fields, by our names for them. */
export type FieldNames = Readonly<Record<string, string>>

/** Does what may refuse a field, which the error then calls what the request's own API calls it. */
export async function renamingFields<T>(names: FieldNames, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw renamed(names, error)
  }
}

/** What was thrown, or the same of a field by its other name. */
export function renamed(names: FieldNames, error: unknown): unknown {
  if (!(error instanceof ApiError || error instanceof RequestError) || error.param === null) return error
  const { param } = error
  const name = names[param]
  if (name === undefined) return error
  const message = error.message.replaceAll(`'${param}'`, `'${name}'`)
  if (error instanceof RequestError) return new RequestError(message, name, error.code)
  return new ApiError(error.status, error.type, message, name, error.code, error.headers)
}
