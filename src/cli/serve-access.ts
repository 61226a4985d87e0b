import { readFile } from "node:fs/promises"
import { type ApiKey, ApiKeys, parseKeyFile } from "../server/http/keys.ts"
import { checkTls, type Tls } from "../server/http/tls.ts"
import { UsageError } from "./exit.ts"
import type { OptionValues } from "./options/commander.ts"
import { note } from "./output.ts"

export const ACCESS_OPTIONS = ["apiKey", "apiKeyFile", "corsOrigin", "tlsCert", "tlsKey"] as const
type AccessValues = OptionValues<(typeof ACCESS_OPTIONS)[number]>

/** Who may use the server, and over what. */
export interface Access {
  readonly apiKeys: readonly ApiKey[]
  readonly corsOrigins: readonly string[]
  readonly tls?: Tls
}

/**
 * Reads the files that the options name, and checks what is in them.
 * @throws UsageError, TlsError
 */
export async function readAccess(values: AccessValues): Promise<Access> {
  const tls = await readTls(values)
  return { apiKeys: await readKeys(values), corsOrigins: values.corsOrigin, ...(tls !== undefined && { tls }) }
}

async function readKeys({ apiKey, apiKeyFile }: AccessValues): Promise<ApiKey[]> {
  const keys = apiKey.map((key, i): ApiKey => ({ name: `key-${i + 1}`, key }))
  const text = apiKeyFile === undefined ? undefined : await read("--api-key-file", apiKeyFile)
  try {
    if (apiKeyFile !== undefined && text !== undefined) keys.push(...parseKeyFile(text, apiKeyFile))
    if (keys.length > 0) new ApiKeys(keys)
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
  return keys
}

async function readTls({ tlsCert, tlsKey }: AccessValues): Promise<Tls | undefined> {
  if (tlsCert === undefined && tlsKey === undefined) return undefined
  if (tlsCert === undefined) throw new UsageError("--tls-key needs --tls-cert, the certificate that it belongs to")
  if (tlsKey === undefined) throw new UsageError("--tls-cert needs --tls-key, its private key")
  const tls = { cert: await read("--tls-cert", tlsCert), key: await read("--tls-key", tlsKey) }
  const until = checkTls(tls, { cert: tlsCert, key: tlsKey })
  if (until.getTime() < Date.now())
    note(`warning: the certificate ${tlsCert} expired on ${until.toISOString().slice(0, 10)}; clients will refuse it`)
  return tls
}

async function read(option: string, path: string): Promise<string> {
  try {
    return await readFile(path, "utf8")
  } catch (error) {
    throw new UsageError(`${option} ${path} cannot be read: ${error instanceof Error ? error.message : error}`)
  }
}

/** Warns of a server that everyone in reach may use. @param host as it was asked for */
export function warnIfOpen({ apiKeys }: Access, host: string): void {
  if (apiKeys.length > 0 || isLoopback(host)) return
  note(
    `warning: whoever reaches ${host} may use this server; give it --api-key-file (or ROCMFORGE_API_KEY), or leave out --host to serve this machine alone`,
  )
}

const isLoopback = (host: string): boolean =>
  /^(localhost|127(\.\d{1,3}){3}|(::ffff:)?127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(host)
