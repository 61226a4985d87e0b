import { Database, SQLiteError } from "bun:sqlite"
import { createHash } from "node:crypto"
import { mkdirSync } from "node:fs"
import { join } from "node:path"

const POLL_MS = 200

/**
 * Runs `work` while holding the lock of `key`, which excludes other processes. The lock is an exclusive SQLite transaction on an empty
 * file: the kernel releases it when the holder dies, so no lock can be stale.
 * @param onWait called once if another process holds the lock.
 */
export async function withLock<T>(
  folder: string,
  key: string,
  work: () => Promise<T>,
  onWait?: () => void,
  signal?: AbortSignal,
): Promise<T> {
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `${createHash("sha256").update(key).digest("hex").slice(0, 16)}.lock`)
  let told = false
  for (;;) {
    signal?.throwIfAborted()
    const database = tryLock(file)
    if (database) {
      try {
        return await work()
      } finally {
        database.close()
      }
    }
    if (!told) onWait?.()
    told = true
    await Bun.sleep(POLL_MS)
  }
}

function tryLock(file: string): Database | undefined {
  const database = new Database(file, { create: true })
  try {
    database.run("PRAGMA busy_timeout = 0")
    database.run("BEGIN EXCLUSIVE")
    return database
  } catch (error) {
    database.close()
    if (error instanceof SQLiteError && error.code === "SQLITE_BUSY") return undefined
    throw error
  }
}
