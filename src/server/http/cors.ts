/** What pages of other origins may do: nothing, unless their origin is listed. */
export class Cors {
  readonly #origins: ReadonlySet<string>

  /** @param origins As browsers write them (`https://chat.example`), or `*` for all. */
  constructor(origins: readonly string[]) {
    this.#origins = new Set(origins.map((origin) => origin.replace(/\/$/, "").toLowerCase()))
  }

  /** The origin to allow, for a request that comes from a listed one. */
  allowed(request: Request): string | undefined {
    if (this.#origins.size === 0) return undefined
    const origin = request.headers.get("origin")
    if (origin === null) return undefined
    return this.#origins.has("*") || this.#origins.has(origin.toLowerCase()) ? origin : undefined
  }

  /** The answer to a browser that asks what it may send. It never shows a key, so none is wanted of it. */
  preflight(request: Request): Response | undefined {
    const { headers } = request
    if (request.method !== "OPTIONS" || !headers.has("access-control-request-method")) return undefined
    if (this.allowed(request) === undefined) return undefined
    const wanted = headers.get("access-control-request-headers") ?? ""
    return new Response(null, {
      status: 204,
      headers: {
        "access-control-allow-methods": "GET, POST, DELETE",
        ...(/^[\w\-, ]{1,2000}$/.test(wanted) && { "access-control-allow-headers": wanted }),
        "access-control-max-age": "600",
      },
    })
  }

  /** Lets the page read the answer. */
  mark(request: Request, headers: Headers): void {
    if (this.#origins.size === 0) return
    headers.append("vary", "Origin")
    const origin = this.allowed(request)
    if (origin === undefined) return
    headers.set("access-control-allow-origin", origin)
    headers.set("access-control-expose-headers", "x-request-id, retry-after")
  }
}
