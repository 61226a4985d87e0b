import { timingSafeEqual } from "node:crypto"

/** A key that opens the server; its name stands for it in logs. */
export interface ApiKey {
  readonly name: string
  readonly key: string
}

/** What a request shows: a bearer token, Anthropic's `x-api-key`, or the password a browser asked its user for. */
export function credentialOf(headers: Headers): string | undefined {
  const authorization = headers.get("authorization")
  if (authorization === null) return headers.get("x-api-key")?.trim() || undefined
  const [, scheme, value] = /^(Bearer|Basic) +(\S+)\s*$/i.exec(authorization) ?? []
  if (value === undefined) return undefined
  if (scheme?.toLowerCase() === "bearer") return value
  const pair = Buffer.from(value, "base64").toString("utf8")
  const colon = pair.indexOf(":")
  return colon < 0 ? undefined : pair.slice(colon + 1) || undefined
}

const digest = (key: string): Uint8Array => new Bun.CryptoHasher("sha256").update(key).digest()

/** The keys that open a server, kept as hashes. */
export class ApiKeys {
  readonly #keys: readonly { readonly name: string; readonly digest: Uint8Array }[]

  /** @throws Error for a key that no header could carry, or two names for one key. */
  constructor(keys: readonly ApiKey[]) {
    for (const [i, { name, key }] of keys.entries()) {
      if (!/^[\x21-\x7e]+$/.test(key))
        throw new Error(`the API key "${name}" must be printable ASCII without spaces; choose another`)
      const same = keys.slice(0, i).find((before) => before.key === key)
      if (same !== undefined) throw new Error(`the API keys "${same.name}" and "${name}" are one and the same`)
    }
    this.#keys = keys.map(({ name, key }) => ({ name, digest: digest(key) }))
  }

  /** The name of the key that was shown; takes as long whichever it is, or none. */
  nameOf(credential: string): string | undefined {
    const shown = digest(credential)
    let found: string | undefined
    for (const { name, digest } of this.#keys) if (timingSafeEqual(shown, digest)) found = name
    return found
  }
}

/**
 * Reads a file of keys: one a line, as `KEY` or `NAME:KEY`; empty lines and those that begin with `#` are left out.
 * @throws Error when there is none in it.
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
  if (nameless !== undefined) throw new Error(`${file} has a line with an empty name or key; write NAME:KEY, or KEY`)
  if (keys.length === 0) throw new Error(`${file} holds no API key; write one on each line, as NAME:KEY or KEY`)
  return keys
}
