import { ApiError } from "./errors.ts"
import { type ApiKey, ApiKeys, credentialOf } from "./keys.ts"
import { LIMITS } from "./limits.ts"

/** Paths that need no API key, so that monitors work without one. */
const PUBLIC: ReadonlySet<string> = new Set(["/health", "/ready"])

/** Admits a request by its headers and API key. */
export class Auth {
  readonly #keys: ApiKeys | undefined

  constructor(keys: readonly ApiKey[]) {
    this.#keys = keys.length > 0 ? new ApiKeys(keys) : undefined
  }

  /**
   * @returns the name of the request's API key, if the path needs one.
   * @throws ApiError 431 for too many headers, 401 for a missing or unknown key.
   */
  admit({ headers }: Request, path: string): string | undefined {
    if (headers.count > LIMITS.headers)
      throw new ApiError(
        431,
        "invalid_request_error",
        `The request has ${headers.count} header fields; the limit is ${LIMITS.headers}.`,
        null,
        "too_many_headers",
      )
    if (this.#keys === undefined || PUBLIC.has(path)) return undefined
    const credential = credentialOf(headers)
    if (credential === undefined)
      throw unauthorized(
        headers,
        "This server requires an API key. Send it as 'Authorization: Bearer KEY', 'x-api-key: KEY' or 'api-key: KEY'.",
      )
    const name = this.#keys.nameOf(credential)
    if (name === undefined)
      throw unauthorized(headers, "The API key is unknown to this server. Check the key that the client sends.")
    return name
  }
}

/** A 401. For a browser that opens a page it requests Basic auth, so that the browser asks for the key: any user name, the key as password. */
function unauthorized(headers: Headers, message: string): ApiError {
  const page = headers.get("accept")?.includes("text/html") ?? false
  return new ApiError(401, "invalid_request_error", message, null, "invalid_api_key", {
    "www-authenticate": page ? 'Basic realm="ROCmForge", charset="UTF-8"' : 'Bearer realm="ROCmForge"',
  })
}
