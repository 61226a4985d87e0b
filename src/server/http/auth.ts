import { ApiError } from "./errors.ts"
import { type ApiKey, ApiKeys, credentialOf } from "./keys.ts"
import { LIMITS } from "./limits.ts"

/** Open to whoever can reach the server: monitors have no keys. */
const PUBLIC: ReadonlySet<string> = new Set(["/health", "/ready"])

/** Lets requests in, or says why not. */
export class Gate {
  readonly #keys: ApiKeys | undefined

  constructor(keys: readonly ApiKey[]) {
    this.#keys = keys.length > 0 ? new ApiKeys(keys) : undefined
  }

  /**
   * @returns the name of the key that was shown, where one is needed.
   * @throws ApiError 431 for too many headers, 401 without a good key.
   */
  admit({ headers }: Request, path: string): string | undefined {
    if (headers.count > LIMITS.headers)
      throw new ApiError(
        431,
        "invalid_request_error",
        `The request has ${headers.count} header fields; this server takes ${LIMITS.headers}.`,
        null,
        "too_many_headers",
      )
    if (this.#keys === undefined || PUBLIC.has(path)) return undefined
    const credential = credentialOf(headers)
    if (credential === undefined)
      throw refused(headers, "This server wants an API key: send 'Authorization: Bearer KEY'.")
    const name = this.#keys.nameOf(credential)
    if (name === undefined) throw refused(headers, "The API key is not one of this server's.")
    return name
  }
}

/** A browser that opens a page is made to ask its user: the key is the password, under any name. */
function refused(headers: Headers, message: string): ApiError {
  const page = headers.get("accept")?.includes("text/html") ?? false
  return new ApiError(401, "invalid_request_error", message, null, "invalid_api_key", {
    "www-authenticate": page ? 'Basic realm="ROCmForge", charset="UTF-8"' : 'Bearer realm="ROCmForge"',
  })
}
