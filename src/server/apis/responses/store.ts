/** The responses that clients can come back to, in an SQLite database. */

import type { Database } from "bun:sqlite"
import { z } from "zod"
import { IN_MEMORY, openDatabase } from "./database.ts"
import { type StoredItem, storedItem } from "./items-schema.ts"
import { type ResponseBody, responseSchema } from "./schema.ts"

/** A response that has ended, and what was asked. */
export interface StoredResponse {
  readonly response: ResponseBody
  /** The request's own input, without what came before it. */
  readonly input: readonly StoredItem[]
}

export interface StoreLimits {
  /** Responses at most. */
  readonly count: number
  /** Bytes of JSON at most, over all responses. */
  readonly bytes: number
  /** Milliseconds without use after which a response is gone. */
  readonly ageMs: number
}

const DAY_MS = 24 * 3600 * 1000
export const FILE_LIMITS: StoreLimits = { count: 10_000, bytes: 256 * 2 ** 20, ageMs: 30 * DAY_MS }
export const MEMORY_LIMITS: StoreLimits = { ...FILE_LIMITS, bytes: 64 * 2 ** 20 }

const row = z.object({ response: z.string(), input: z.string() })
const stored = z.object({ response: responseSchema, input: z.array(storedItem) })
const totals = z.object({ n: z.int(), size: z.int() })

/**
 * Keeps responses by the API key that made them, which alone finds them again. When there are too many, or they are too large, those
 * whose last use is longest ago go; going on from a response uses all that it goes on from.
 */
export class ResponseStore implements Disposable {
  readonly limits: StoreLimits
  readonly #db: Database

  /**
   * @param path A file, made where it is missing. Default: in memory.
   * @throws ResponseStoreError
   */
  constructor(path = IN_MEMORY, limits: StoreLimits = path === IN_MEMORY ? MEMORY_LIMITS : FILE_LIMITS) {
    this.limits = limits
    this.#db = openDatabase(path)
  }

  /**
   * Keeps it, unless it is larger than all may be together.
   * @param owner Who made it: the hash of the API key; "" without one.
   */
  put({ response, input }: StoredResponse, owner: string, now = Date.now()): void {
    const { id, output } = response
    const texts = { response: JSON.stringify(response), input: JSON.stringify(input) }
    const size = Buffer.byteLength(texts.response) + Buffer.byteLength(texts.input)
    if (size > this.limits.bytes) return
    this.#db.transaction(() => {
      this.#db
        .query(
          "INSERT OR REPLACE INTO responses (id, owner, used, size, response, input) " +
            "VALUES ($id, $owner, $used, $size, $response, $input)",
        )
        .run({ id, owner, used: now, size, ...texts })
      const name = this.#db.query("INSERT OR IGNORE INTO items (item, response) VALUES ($item, $id)")
      for (const item of [...input, ...output]) name.run({ item: item.id, id })
      this.#evict(now)
    })()
  }

  get(id: string, owner: string, now = Date.now()): StoredResponse | undefined {
    const found = this.#db
      .query("SELECT response, input FROM responses WHERE id = $id AND owner = $owner AND used >= $oldest")
      .get({ id, owner, oldest: now - this.limits.ageMs })
    if (found === null) return undefined
    const { response, input } = row.parse(found)
    return stored.parse({ response: JSON.parse(response), input: JSON.parse(input) })
  }

  /**
   * A response and all before it, the first one first, each used now.
   * @returns `undefined` where one of them is gone.
   */
  chain(id: string, owner: string, now = Date.now()): StoredResponse[] | undefined {
    const chain: StoredResponse[] = []
    for (let next: string | null = id; next !== null; ) {
      const found = this.get(next, owner, now)
      if (found === undefined) return undefined
      chain.push(found)
      next = found.response.previous_response_id
    }
    const touch = this.#db.query("UPDATE responses SET used = $now WHERE id = $id")
    this.#db.transaction(() => {
      for (const { response } of chain) touch.run({ now, id: response.id })
    })()
    return chain.reverse()
  }

  /** An item of a response's input or output. */
  item(id: string, owner: string, now = Date.now()): StoredItem | undefined {
    const found = this.#db
      .query(
        "SELECT responses.id FROM items JOIN responses ON responses.id = items.response " +
          "WHERE items.item = $id AND responses.owner = $owner ORDER BY used DESC LIMIT 1",
      )
      .get({ id, owner })
    if (found === null) return undefined
    const holder = this.get(z.object({ id: z.string() }).parse(found).id, owner, now)
    return holder && [...holder.input, ...holder.response.output].find((item) => item.id === id)
  }

  /** False when there is none. */
  delete(id: string, owner: string): boolean {
    return this.#db.query("DELETE FROM responses WHERE id = $id AND owner = $owner").run({ id, owner }).changes > 0
  }

  get count(): number {
    return this.#totals().n
  }

  /** Safe twice. */
  close(): void {
    this.#db.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #totals(): z.output<typeof totals> {
    return totals.parse(this.#db.query("SELECT n, size FROM totals").get())
  }

  #evict(now: number): void {
    const { count, bytes, ageMs } = this.limits
    this.#db.query("DELETE FROM responses WHERE used < $oldest").run({ oldest: now - ageMs })
    const drop = this.#db.query(
      "DELETE FROM responses WHERE rowid IN (SELECT rowid FROM responses ORDER BY used, rowid LIMIT $surplus)",
    )
    for (let { n, size } = this.#totals(); n > count || size > bytes; { n, size } = this.#totals())
      drop.run({ surplus: Math.max(1, n - count) })
  }
}
