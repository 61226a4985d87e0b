import { DownloadError } from "./errors.ts"

/** Limit from the request to the headers of the response, including redirects. */
const CONNECT_TIMEOUT_MS = 5_000

const CONNECTION_CODES = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ENETUNREACH",
  "EHOSTUNREACH",
  "ETIMEDOUT",
  "ECONNRESET",
  "EPIPE",
  "ConnectionRefused",
  "ConnectionClosed",
  "FailedToOpenSocket",
])

/**
 * `fetch` that fails when no headers arrive within five seconds, so that a host that drops packets costs seconds, not minutes.
 * @throws DownloadError `unreachable` when there is no answer.
 */
export async function fetchHeaders(url: string | URL | Request, init: RequestInit = {}): Promise<Response> {
  const host = new URL(url instanceof Request ? url.url : url).host
  const timeout = new AbortController()
  const timer = setTimeout(() => timeout.abort(), CONNECT_TIMEOUT_MS)
  const signals = init.signal ? [init.signal, timeout.signal] : [timeout.signal]
  try {
    return await fetch(url, { ...init, signal: AbortSignal.any(signals) })
  } catch (error) {
    init.signal?.throwIfAborted()
    if (timeout.signal.aborted) {
      throw new DownloadError(`${host} did not answer within ${CONNECT_TIMEOUT_MS / 1000} s`, "unreachable")
    }
    throw new DownloadError(`${host} cannot be reached (${reason(error)})`, "unreachable")
  } finally {
    clearTimeout(timer)
  }
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code: unknown = "code" in error ? error.code : undefined
  return typeof code === "string" && CONNECTION_CODES.has(code) ? code : error.message
}
