/** Request bodies that are compressed (`content-encoding`). */

import { promisify } from "node:util"
import zlib from "node:zlib"
import { invalidRequest, tooLarge, unsupportedMedia } from "./errors.ts"

type Inflate = (bytes: Uint8Array, options: { maxOutputLength: number }) => Promise<Uint8Array>

/** Decompressors of the content encodings (RFC 9110, 7932 and 8878). Each runs beside the event loop and stops at its limit. */
const DECODERS: Readonly<Record<string, Inflate>> = {
  gzip: promisify(zlib.gunzip),
  deflate: (bytes, options) => (hasZlibHeader(bytes) ? inflate : inflateRaw)(bytes, options),
  br: promisify(zlib.brotliDecompress),
  zstd: (bytes, options) => unzstd(bytes, { ...options, params: ZSTD_PARAMS }),
}
const inflate: Inflate = promisify(zlib.inflate)
const inflateRaw: Inflate = promisify(zlib.inflateRaw)
const unzstd = promisify(zlib.zstdDecompress) as (bytes: Uint8Array, options: zlib.ZstdOptions) => Promise<Uint8Array>
/** The window that RFC 9659 allows, so that a small frame cannot ask for a large buffer: 8 MiB. */
const ZSTD_PARAMS = { [zlib.constants.ZSTD_d_windowLogMax]: 23 }

/** Whether compressed data begins as RFC 1950 says. Some clients send `deflate` without that header. */
const hasZlibHeader = (bytes: Uint8Array): boolean =>
  bytes.length > 1 && ((bytes[0] ?? 0) & 15) === 8 && (((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0)) % 31 === 0

/** The function that decodes a request's body; `undefined`: it is not encoded. @throws ApiError 415 for an unknown encoding. */
export function decoderOf({
  headers,
}: Request): ((bytes: Uint8Array, limit: number) => Promise<Uint8Array>) | undefined {
  const sent = headers.get("content-encoding") ?? ""
  const names = sent.split(",").map((name) => name.trim().toLowerCase())
  const [name, ...more] = names.filter((name) => name !== "" && name !== "identity")
  if (name === undefined) return undefined
  const encoding = name === "x-gzip" ? "gzip" : name
  const decoder = Object.hasOwn(DECODERS, encoding) ? DECODERS[encoding] : undefined
  if (decoder === undefined || more.length > 0)
    throw unsupportedMedia(
      `The content-encoding '${sent}' is not supported; use one of ${Object.keys(DECODERS).join(", ")}, or none.`,
    )
  return async (bytes, limit) => {
    try {
      return await decoder(bytes, { maxOutputLength: Math.max(1, limit) })
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") throw tooLarge(limit)
      throw invalidRequest(`The body is not valid ${encoding} data.`, null, "invalid_encoding")
    }
  }
}
