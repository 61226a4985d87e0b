/** Stored responses, in an SQLite database. */

import type { Database } from "bun:sqlite"
import { z } from "zod"
import { parseWithExact } from "../../../json.ts"
import { IN_MEMORY, openDatabase } from "./database.ts"
import { type StoredItem, storedItem } from "./items-schema.ts"
import { type ResponseBody, responseSchema } from "./schema.ts"

/** A response that has ended, and its input. */
export interface StoredResponse {
  readonly response: ResponseBody
  /** The request's own input, without that of the responses it continues. */
  readonly input: readonly StoredItem[]
}

interface StoreLimits {
  /** Most responses. */
  readonly count: number
  /** Most bytes of JSON, over all responses. */
  readonly bytes: number
  /** Milliseconds without use after which a response is deleted. */
  readonly ageMs: number
}

const DAY_MS = 24 * 3600 * 1000
const FILE_LIMITS: StoreLimits = { count: 10_000, bytes: 256 * 2 ** 20, ageMs: 30 * DAY_MS }
const MEMORY_LIMITS: StoreLimits = { ...FILE_LIMITS, bytes: 64 * 2 ** 20 }

const row = z.object({ response: z.string(), input: z.string() })
const stored = z.object({ response: responseSchema, input: z.array(storedItem) })
const totals = z.object({ n: z.int(), size: z.int() })

/**
 * Stores responses under the API key that created them, and returns them only to that key. Beyond the limits, the least recently used
 * responses are deleted. Continuing a response counts as a use of every response before it.
 */
export class ResponseStore implements Disposable {
  readonly limits: StoreLimits
  readonly #db: Database

  /**
   * @param path A file, which is created if it does not exist. Default: in memory.
   * @throws ResponseStoreError
   */
  constructor(path = IN_MEMORY, limits: StoreLimits = path === IN_MEMORY ? MEMORY_LIMITS : FILE_LIMITS) {
    this.limits = limits
    this.#db = openDatabase(path)
  }

  /**
   * Stores a response, unless it alone exceeds the limit of bytes.
   * @param owner The hash of the API key; "" without a key.
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
    return stored.parse({ response: parseWithExact(response), input: JSON.parse(input) })
  }

  /**
   * A response and all responses that it continues, in order. Counts as a use of each.
   * @returns `undefined` if one of them is missing.
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

  /** @returns whether there was such a response. */
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
