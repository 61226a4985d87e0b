import { ApiError, invalidRequest } from "./errors.ts"
import { checkStructure } from "./json-structure.ts"

/**
 * Reads a request's JSON body, at most `limit` bytes of it. Only `application/json` is taken: a browser sends any other type across
 * origins without asking first, and pages on the web must not be able to drive a server on localhost.
 * @throws ApiError 415 for another content type, 413 for a larger body (declared or sent, or of too many parts), 400 for JSON
 * that is malformed or nests too deep.
 */
export async function readJson(request: Request, limit: number): Promise<unknown> {
  const type = request.headers.get("content-type") ?? ""
  if (type.split(";")[0]?.trim().toLowerCase() !== "application/json")
    throw new ApiError(
      415,
      "invalid_request_error",
      `Send the header 'content-type: application/json' (it was '${type}').`,
      null,
      "unsupported_media_type",
    )
  const bytes = await readBytes(request, limit)
  checkStructure(bytes)
  let text: string
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    throw invalidRequest("The body is not valid UTF-8.", null, "invalid_json")
  }
  try {
    return JSON.parse(text)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "syntax error"
    throw invalidRequest(`The body is not valid JSON: ${reason}.`, null, "invalid_json")
  }
}

/** The body's bytes; stops reading at the first byte beyond `limit`, whatever content-length promised. */
async function readBytes(request: Request, limit: number): Promise<Uint8Array> {
  const declared = Number(request.headers.get("content-length") ?? 0)
  if (declared > limit) throw tooLarge(limit)
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength
    if (size > limit) throw tooLarge(limit)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, size)
}

const tooLarge = (limit: number): ApiError =>
  new ApiError(
    413,
    "invalid_request_error",
    `The body is larger than this server's limit of ${limit} bytes.`,
    null,
    "request_too_large",
  )
