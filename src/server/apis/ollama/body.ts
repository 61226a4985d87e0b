import { readJson } from "../../http/body.ts"

/**
 * Reads a request's JSON body. Ollama's documentation shows `curl -d`, which calls it a form: taken too, but not from a browser, where any
 * page can send one (browsers say where a POST comes from).
 * @throws as `readJson` does.
 */
export function readOllamaJson(request: Request, limit: number): Promise<unknown> {
  if (request.headers.has("origin") || request.headers.has("sec-fetch-site")) return readJson(request, limit)
  const headers = new Headers(request.headers)
  headers.set("content-type", "application/json")
  return readJson(new Request(request, { headers }), limit)
}
