/** Names that may stand in headers, logs and traces as they are. */
const GOOD = /^[\w.:=+/@-]{1,128}$/

/** The request's own `X-Request-Id`, if it is short and plain, else a new name. */
export function requestIdOf(headers: Headers): string {
  const given = headers.get("x-request-id")
  return given !== null && GOOD.test(given) ? given : `req_${crypto.randomUUID().replaceAll("-", "")}`
}
