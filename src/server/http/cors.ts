/** An origin of this machine. */
const LOCAL = /^https?:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i

/** Cross-origin access for web pages: denied, unless the page's origin is listed. */
export class Cors {
  readonly #origins: ReadonlySet<string>

  /**
   * @param origins As in a browser's Origin header (`https://chat.example`), `localhost` for pages from this machine at any port, or `*` for
   *   any origin.
   */
  constructor(origins: readonly string[]) {
    this.#origins = new Set(origins.map((origin) => origin.replace(/\/$/, "").toLowerCase()))
  }

  /** The request's origin, if it is listed. */
  allowed(request: Request): string | undefined {
    if (this.#origins.size === 0) return undefined
    const origin = request.headers.get("origin")
    if (origin === null) return undefined
    const listed = this.#origins.has("*") || this.#origins.has(origin.toLowerCase())
    return listed || (this.#origins.has("localhost") && LOCAL.test(origin)) ? origin : undefined
  }

  /** Answers a preflight where any origin is listed. Preflights carry no credentials, so no API key is required. */
  preflight(request: Request): Response | undefined {
    const { headers } = request
    if (request.method !== "OPTIONS" || !headers.has("access-control-request-method")) return undefined
    if (this.#origins.size === 0) return undefined
    // Without the origin's name in it, the answer allows nothing.
    if (this.allowed(request) === undefined) return new Response("OK")
    const asked = headers.get("access-control-request-headers") ?? ""
    return new Response("OK", {
      headers: {
        // Those of this server's routes. HEAD needs no permission.
        "access-control-allow-methods": "GET, POST, DELETE, OPTIONS",
        "access-control-allow-headers": /^[\w\-, ]{1,2000}$/.test(asked) ? asked : "*",
        // Chrome asks before a page of a public site reaches a server in the local network.
        ...(headers.has("access-control-request-private-network") && {
          "access-control-allow-private-network": "true",
        }),
        "access-control-max-age": "600",
      },
    })
  }

  /** Adds the headers that let the page read the response. */
  mark(request: Request, headers: Headers): void {
    if (this.#origins.size === 0) return
    headers.append("vary", "Origin")
    const origin = this.allowed(request)
    if (origin === undefined) return
    headers.set("access-control-allow-origin", origin)
    headers.set("access-control-expose-headers", "x-request-id, retry-after")
  }
}
