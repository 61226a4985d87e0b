import { timingSafeEqual } from "node:crypto"

/** An API key of the server. Logs show its name instead of the key. */
export interface ApiKey {
  readonly name: string
  readonly key: string
}

/** The API key that a request sends: a bearer token, Anthropic's `x-api-key`, Azure's `api-key`, or the password of Basic auth. */
export function credentialOf(headers: Headers): string | undefined {
  const authorization = headers.get("authorization")
  if (authorization === null) return (headers.get("x-api-key") ?? headers.get("api-key"))?.trim() || undefined
  const [, scheme, value] = /^(Bearer|Basic) +(\S+)\s*$/i.exec(authorization) ?? []
  if (value === undefined) return undefined
  if (scheme?.toLowerCase() === "bearer") return value
  const pair = Buffer.from(value, "base64").toString("utf8")
  const colon = pair.indexOf(":")
  return colon < 0 ? undefined : pair.slice(colon + 1) || undefined
}

const digest = (key: string): Uint8Array => new Bun.CryptoHasher("sha256").update(key).digest()

/** The API keys of a server, stored as SHA-256 hashes. */
export class ApiKeys {
  readonly #keys: readonly { readonly name: string; readonly digest: Uint8Array }[]

  /** @throws Error for a key that a header cannot carry, and for the same key under two names. */
  constructor(keys: readonly ApiKey[]) {
    for (const [i, { name, key }] of keys.entries()) {
      if (!/^[\x21-\x7e]+$/.test(key))
        throw new Error(`the API key "${name}" must be printable ASCII without spaces; choose another key`)
      const same = keys.slice(0, i).find((before) => before.key === key)
      if (same !== undefined)
        throw new Error(`the API keys "${same.name}" and "${name}" are one and the same; remove one of them`)
    }
    this.#keys = keys.map(({ name, key }) => ({ name, digest: digest(key) }))
  }

  /** The name of a key; `undefined` for an unknown one. Takes the same time for every key, so that timing reveals nothing. */
  nameOf(credential: string): string | undefined {
    const given = digest(credential)
    let found: string | undefined
    for (const { name, digest } of this.#keys) if (timingSafeEqual(given, digest)) found = name
    return found
  }
}

/**
 * Parses a file of API keys: one per line, as `KEY` or `NAME:KEY`. Empty lines and lines that start with `#` are skipped.
 * @param file The file's name, for error messages.
 * @throws Error for an empty name or key, and for a file without any key.
 */
export function parseKeyFile(text: string, file: string): ApiKey[] {
  const lines = text.split("\n").map((line) => line.trim())
  const keys = lines.flatMap((line, i): ApiKey[] => {
    if (line === "" || line.startsWith("#")) return []
    const colon = line.indexOf(":")
    if (colon < 0) return [{ name: `line-${i + 1}`, key: line }]
    return [{ name: line.slice(0, colon).trim(), key: line.slice(colon + 1).trim() }]
  })
  const nameless = keys.find(({ name, key }) => name === "" || key === "")
  if (nameless !== undefined) throw new Error(`${file} has a line with an empty name or key; write NAME:KEY or KEY`)
  if (keys.length === 0) throw new Error(`${file} holds no API key; write one key per line, as NAME:KEY or KEY`)
  return keys
}
