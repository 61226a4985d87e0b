import { nextTurn } from "../../async.ts"
import { ApiError, invalidRequest } from "./errors.ts"
import { LIMITS } from "./limits.ts"

/** Bytes of a body above which each step of reading it takes milliseconds. */
const LARGE = 2 ** 20

/**
 * Reads a request's JSON body of at most `limit` bytes. Only `application/json` is accepted: browsers send other types across origins
 * without a preflight, and web pages must not be able to use a server on localhost.
 * @throws ApiError 415 for another content type, 413 for a body with too many bytes or parts, 400 for JSON that is malformed or nests too
 * deep.
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
    // The client is gone; this is for the log.
    throw invalidRequest("The connection was closed before the whole body had arrived.", null, "incomplete_body")
  })
  // Each of these steps takes tens of milliseconds for a large body. Other requests are served between them.
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

/** Reads the body. With Content-Length it arrives in one piece; without, reading stops beyond `limit`. */
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

const [QUOTE, BACKSLASH, COLON] = [0x22, 0x5c, 0x3a]
const [LIST, LIST_END, OBJECT, OBJECT_END] = [0x5b, 0x5d, 0x7b, 0x7d]

/**
 * Checks the structure of JSON text before it is parsed: deep nesting overflows the stack of code that walks the value, and many small
 * objects take many times the memory of their text. Ignores malformed JSON.
 * @throws ApiError 400 for too many levels, 413 for too many lists, objects and fields.
 */
export function checkStructure(text: Uint8Array): void {
  const { length } = text
  let depth = 0
  let nodes = 0
  for (let i = 0; i < length; i++) {
    switch (text[i]) {
      case QUOTE:
        for (i++; i < length && text[i] !== QUOTE; i++) if (text[i] === BACKSLASH) i++
        break
      case LIST:
      case OBJECT:
        nodes++
        if (++depth > LIMITS.depth) throw tooDeep()
        break
      case LIST_END:
      case OBJECT_END:
        depth--
        break
      case COLON:
        nodes++
    }
  }
  if (nodes > LIMITS.nodes) throw tooMany(nodes)
}

const tooDeep = (): ApiError =>
  invalidRequest(
    `The body nests lists and objects deeper than this server's limit of ${LIMITS.depth} levels.`,
    null,
    "json_too_deep",
  )

const tooMany = (nodes: number): ApiError =>
  new ApiError(
    413,
    "invalid_request_error",
    `The body has ${nodes} lists, objects and fields; this server takes up to ${LIMITS.nodes}.`,
    null,
    "request_too_large",
  )
