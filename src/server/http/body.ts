import { nextTurn } from "../../async.ts"
import { parseWithExact } from "../../json.ts"
import { decoderOf } from "./encoding.ts"
import { ApiError, invalidRequest, tooLarge, unsupportedMedia } from "./errors.ts"
import { LIMITS } from "./limits.ts"

/** Bytes of a body above which each step of reading it takes milliseconds. */
const LARGE = 2 ** 20

/**
 * Reads a request's JSON body of at most `limit` bytes, also after decompression. Only `application/json` is accepted: browsers send other
 * types across origins without a preflight, and web pages must not be able to use a server on localhost. Numbers are doubles; `exactOf`
 * gives a list or object in the body without loss.
 * @throws ApiError 415 for another content type or an unknown encoding, 413 for a body with too many bytes or parts, 400 for JSON that is
 * malformed or nests too deep.
 */
export async function readJson(request: Request, limit: number): Promise<unknown> {
  const type = request.headers.get("content-type") ?? ""
  if (type.split(";")[0]?.trim().toLowerCase() !== "application/json")
    throw unsupportedMedia(`Send the header 'content-type: application/json' (it was '${type}').`)
  const decode = decoderOf(request)
  const sent = await readBytes(request, limit).catch((cause: unknown) => {
    if (cause instanceof ApiError) throw cause
    // The client is gone; this is for the log.
    throw invalidRequest("The connection was closed before the whole body had arrived.", null, "incomplete_body")
  })
  const bytes = decode === undefined ? sent : await decode(sent, limit)
  // Each of these steps takes tens of milliseconds for a large body. Other requests are served between them.
  const rest = bytes.byteLength > LARGE ? nextTurn : () => undefined
  const inexact = checkStructure(bytes)
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
    value = inexact ? parseWithExact(text) : JSON.parse(text)
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

const [QUOTE, PLUS, MINUS, DOT, ZERO, NINE, COLON, BACKSLASH, E] = [
  0x22, 0x2b, 0x2d, 0x2e, 0x30, 0x39, 0x3a, 0x5c, 0x65,
]
const [LIST, LIST_END, OBJECT, OBJECT_END] = [0x5b, 0x5d, 0x7b, 0x7d]

/** Digits of a number that a double certainly keeps. */
const EXACT_DIGITS = 15
/** Characters of 0.000001, the smallest fraction that JavaScript writes without an exponent. */
const SMALL_FRACTION = 8
/** Digits of the largest key that JavaScript takes for an index. */
const INDEX_DIGITS = 10

/**
 * Checks the structure of JSON text before it is parsed: deep nesting overflows the stack of code that walks the value, and many small
 * objects take many times the memory of their text. Ignores malformed JSON.
 * @returns whether a list or object in the body may hold something that JavaScript's parser loses: the digits or spelling of a number, or
 * the order of keys
 * @throws ApiError 400 for too many levels, 413 for too many lists, objects, fields and numbers that a double may not keep.
 */
export function checkStructure(text: Uint8Array): boolean {
  const { length } = text
  let depth = 0
  let nodes = 0
  let inexact = false
  /** By level: the last key of the object there, if it looks like an array's index; Infinity: another key. */
  const greatest: number[] = []
  /** Where the last string begins, and where it ends. */
  let quote = 0
  let end = 0
  for (let i = 0; i < length; i++) {
    const code = text[i] as number
    switch (code) {
      case QUOTE:
        quote = i
        for (i++; i < length && text[i] !== QUOTE; i++) if (text[i] === BACKSLASH) i++
        end = i
        break
      case LIST:
      case OBJECT:
        nodes++
        if (++depth > LIMITS.depth) throw tooDeep()
        greatest[depth] = -1
        break
      case LIST_END:
      case OBJECT_END:
        depth--
        break
      case COLON:
        nodes++
        // The order of the body's own fields does not matter, nor does the spelling of their numbers.
        if (!inexact && depth > 1) {
          const index = indexOf(text, quote + 1, end)
          // JavaScript puts such keys first, in ascending order.
          inexact = index !== Number.POSITIVE_INFINITY && index <= (greatest[depth] as number)
          greatest[depth] = index
        }
        break
      default: {
        if (code !== MINUS && (code < ZERO || code > NINE)) break
        const start = i
        i = numberEnd(text, i) - 1
        if (depth < 2 || keepsNumber(text, start, i + 1)) break
        inexact = true
        nodes++
      }
    }
  }
  if (nodes > LIMITS.nodes) throw tooMany(nodes)
  return inexact
}

/** The end of the characters that a number may consist of. */
function numberEnd(text: Uint8Array, start: number): number {
  let i = start + 1
  for (; i < text.length; i++) {
    const code = text[i] as number
    if (code < ZERO || code > NINE) if (code !== DOT && code !== MINUS && code !== PLUS && (code | 32) !== E) break
  }
  return i
}

/** Whether a double certainly keeps the digits and the spelling of a number. */
function keepsNumber(text: Uint8Array, start: number, end: number): boolean {
  const first = text[start] === MINUS ? start + 1 : start
  let fraction = false
  for (let i = first; i < end; i++) {
    const code = text[i] as number
    if (code === DOT) fraction = true
    else if (code < ZERO || code > NINE) return false
  }
  // JavaScript writes -0 as 0, 1.0 as 1 and 0.0000001 as 1e-7.
  if (!fraction) return end - first <= EXACT_DIGITS && (text[start] !== MINUS || text[first] !== ZERO)
  const small = end - first > SMALL_FRACTION && text[first] === ZERO && text[first + 2] === ZERO
  return end - first <= EXACT_DIGITS && text[end - 1] !== ZERO && !small
}

/** Bytes of the longest key that can be an index: ten digits, each in an escape. */
const MOST_KEY = 60

/** The array index that a key looks like. Infinity: it is none; -1: it may be one, in escapes. */
function indexOf(text: Uint8Array, start: number, end: number): number {
  if (end === start || end - start > MOST_KEY) return Number.POSITIVE_INFINITY
  if (text[start] === BACKSLASH) return -1
  if (end - start > INDEX_DIGITS || (text[start] === ZERO && end - start > 1)) return Number.POSITIVE_INFINITY
  let index = 0
  for (let i = start; i < end; i++) {
    const code = text[i] as number
    if (code === BACKSLASH) return -1
    if (code < ZERO || code > NINE) return Number.POSITIVE_INFINITY
    index = index * 10 + code - ZERO
  }
  return index
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
    `The body has ${nodes} lists, objects, fields and long numbers; this server takes up to ${LIMITS.nodes}.`,
    null,
    "request_too_large",
  )
