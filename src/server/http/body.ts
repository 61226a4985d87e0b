import { nextTurn } from "../../async.ts"
import { ApiError, invalidRequest } from "./errors.ts"
import { checkStructure } from "./json-structure.ts"

/** Bytes of a body that takes milliseconds to read. */
const LARGE = 2 ** 20

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
  const bytes = await readBytes(request, limit).catch((cause: unknown) => {
    if (cause instanceof ApiError) throw cause
    // Nobody is left to read this, but the log.
    throw invalidRequest("The connection was closed before the whole body had come.", null, "incomplete_body")
  })
  // Each of these steps takes tens of milliseconds for a large body; others have their turn between them.
  const rest = bytes.byteLength > LARGE ? nextTurn : () => undefined
  checkStructure(bytes)
  await rest()
  let text: string
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    throw invalidRequest("The body is not valid UTF-8.", null, "invalid_json")
  }
  await rest()
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "syntax error"
    throw invalidRequest(`The body is not valid JSON: ${reason}.`, null, "invalid_json")
  }
  await rest()
  return value
}

/** The body's bytes. One whose length is declared is no longer than that, and comes in one piece; of others, what is beyond `limit` is not read. */
async function readBytes(request: Request, limit: number): Promise<Uint8Array> {
  const declared = request.headers.get("content-length")
  if (declared !== null) {
    if (Number(declared) > limit) throw tooLarge(limit)
    const bytes = await request.bytes()
    if (bytes.byteLength > limit) throw tooLarge(limit)
    return bytes
  }
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
