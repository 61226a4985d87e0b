import { readFileSync, renameSync, rmSync, type Stats, statSync, writeFileSync } from "node:fs"
import { z } from "zod"

/** What was proved about a file, kept beside it so that a start does not hash gigabytes again. */
const receiptSchema = z.object({
  sha256: z.string(),
  bytes: z.number(),
  /** The file's modification time when it was hashed; another time makes the receipt worthless. */
  mtime_ms: z.number(),
  source: z.string(),
})
type Receipt = z.infer<typeof receiptSchema>

const receiptPath = (path: string): string => `${path}.receipt.json`

/** `undefined` when there is no such file, also because something on its path is no directory. */
export function fileStat(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOTDIR") return undefined
    throw error
  }
}

/** The receipt, if it still describes the file on disk. */
export function readReceipt(path: string): Receipt | undefined {
  const stat = fileStat(path)
  if (!stat?.isFile()) return undefined
  let parsed: unknown
  try {
    parsed = JSON.parse(readFileSync(receiptPath(path), "utf8"))
  } catch {
    return undefined // none, or cut short: the file is hashed again
  }
  const receipt = receiptSchema.safeParse(parsed)
  if (!receipt.success || receipt.data.bytes !== stat.size || receipt.data.mtime_ms !== stat.mtimeMs) return undefined
  return receipt.data
}

/** Best effort: a store on read-only media works without receipts, only slower. */
export function writeReceipt(path: string, sha256: string, source: string): void {
  const stat = statSync(path)
  const receipt: Receipt = { sha256, bytes: stat.size, mtime_ms: stat.mtimeMs, source }
  const part = `${receiptPath(path)}.${process.pid}`
  try {
    writeFileSync(part, `${JSON.stringify(receipt)}\n`)
    renameSync(part, receiptPath(path))
  } catch {
    rmSync(part, { force: true })
  }
}

export async function sha256File(path: string, signal?: AbortSignal): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256")
  for await (const chunk of Bun.file(path).stream()) {
    signal?.throwIfAborted()
    hasher.update(chunk)
  }
  return hasher.digest("hex")
}

export interface Expected {
  bytes?: number | undefined
  sha256?: string | undefined
}

/** Whether the stored file is the expected one: by its receipt when that is valid, else by hashing it. */
export async function isGenuine(path: string, expected: Expected, signal?: AbortSignal): Promise<boolean> {
  const stat = fileStat(path)
  if (!stat?.isFile()) return false
  if (expected.bytes !== undefined && stat.size !== expected.bytes) return false
  if (expected.sha256 === undefined) return true
  const known = readReceipt(path)
  if (known) return known.sha256 === expected.sha256
  const actual = await sha256File(path, signal)
  if (actual === expected.sha256) writeReceipt(path, actual, "found in the store")
  return actual === expected.sha256
}
