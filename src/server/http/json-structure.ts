import { ApiError, invalidRequest } from "./errors.ts"
import { LIMITS } from "./limits.ts"

const [QUOTE, BACKSLASH, COLON] = [0x22, 0x5c, 0x3a]
const [LIST, LIST_END, OBJECT, OBJECT_END] = [0x5b, 0x5d, 0x7b, 0x7d]

/**
 * Looks through JSON text before it is parsed: what nests too deep overflows the stacks of those who walk it later, and many small
 * objects take many times the memory of their text. Says nothing of what is not JSON.
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
