import { ApiError } from "./errors.ts"

/** Does what may refuse a field, which the error then calls what the request's own API calls it: `names` has its names by ours. */
export async function renamingFields<T>(names: Readonly<Record<string, string>>, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    const { status, type, message, param, code, headers } = error
    const name = param === null ? undefined : names[param]
    if (name === undefined) throw error
    throw new ApiError(status, type, message.replaceAll(`'${param}'`, `'${name}'`), name, code, headers)
  }
}
