import { Database } from "bun:sqlite"
import { afterAll, describe, expect, test } from "bun:test"
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ResponseStoreError } from "../../../../src/server/apis/responses/database.ts"
import { ResponseStore, type StoredResponse } from "../../../../src/server/apis/responses/store.ts"
import { newResponse } from "../../../../src/server/apis/responses/writer.ts"

const folder = await mkdtemp(join(tmpdir(), "rocmforge-responses-"))
afterAll(() => rm(folder, { recursive: true }))

const made = (id: string, { previous = null, text = "hi" }: { previous?: string | null; text?: string } = {}) => {
  const head = { id, created: 1, model: "m" }
  const response = newResponse(head, { model: "m", input: text, previous_response_id: previous })
  const content = [{ type: "input_text" as const, text }]
  const input = [
    { type: "message" as const, id: `msg_${id}`, status: "completed" as const, role: "user" as const, content },
  ]
  return { response, input } satisfies StoredResponse
}
const limits = { count: 100, bytes: 2 ** 20, ageMs: 1000 }

describe("a store", () => {
  test("returns a stored response only to its owner", () => {
    using store = new ResponseStore()
    const a = made("a", { text: "Grüße" })
    store.put(a, "me")
    expect(store.get("a", "me")).toEqual(a)
    expect(store.get("a", "you")).toBeUndefined()
    expect(store.get("a", "")).toBeUndefined()
    expect(store.item("msg_a", "me")).toEqual(a.input[0])
    expect(store.item("msg_a", "you")).toBeUndefined()
    expect(store.chain("a", "you")).toBeUndefined()
    expect(store.delete("a", "you")).toBeFalse()
    expect(store.delete("a", "me")).toBeTrue()
    expect(store.delete("a", "me")).toBeFalse()
    expect([store.get("a", "me"), store.item("msg_a", "me"), store.count]).toEqual([undefined, undefined, 0])
  })

  test("replaces an older response by a newer one with the same id", () => {
    using store = new ResponseStore()
    const a = made("a")
    store.put(a, "me")
    a.response.status = "completed"
    store.put(a, "me")
    expect(store.count).toBe(1)
    expect(store.get("a", "me")?.response.status).toBe("completed")
    store.delete("a", "me")
    expect(store.count).toBe(0)
  })

  test("finds an item in any response that contains it", () => {
    using store = new ResponseStore()
    const a = made("a")
    const b = { ...made("b"), input: a.input }
    store.put(a, "me")
    store.put(b, "me")
    store.delete("b", "me")
    expect(store.item("msg_a", "me")).toEqual(a.input[0])
  })

  test("follows the chain of previous responses, and reports a missing one", () => {
    using store = new ResponseStore()
    for (const response of [made("a"), made("b", { previous: "a" }), made("c", { previous: "b" })])
      store.put(response, "me")
    expect(store.chain("c", "me")?.map(({ response }) => response.id)).toEqual(["a", "b", "c"])
    store.delete("a", "me")
    expect(store.chain("c", "me")).toBeUndefined()
    expect(store.get("c", "me")).toBeDefined()
  })
})

describe("a bounded store", () => {
  const ids = (store: ResponseStore, now?: number) =>
    [..."abcdefgh"].filter((id) => store.get(id, "me", now) !== undefined).join("")

  test("evicts the least recently used responses when there are too many", () => {
    using store = new ResponseStore(undefined, { ...limits, count: 3 })
    for (const [now, id] of [..."abc"].entries()) store.put(made(id), "me", now)
    store.chain("a", "me", 10)
    store.put(made("d"), "me", 11)
    expect(ids(store, 11)).toBe("acd")
    // Responses of other owners count as well.
    store.put(made("e"), "you", 12)
    expect(ids(store, 12)).toBe("ad")
  })

  test("evicts responses that are too large together, and does not keep a response that is too large by itself", () => {
    using store = new ResponseStore(undefined, { ...limits, bytes: 20_000 })
    for (const [now, id] of [..."abc"].entries()) store.put(made(id, { text: "x".repeat(5000) }), "me", now)
    expect(ids(store, 3)).toBe("abc")
    store.put(made("d", { text: "x".repeat(5000) }), "me", 4)
    expect(ids(store, 4)).toBe("bcd")
    store.put(made("e", { text: "x".repeat(30_000) }), "me", 5)
    expect(ids(store, 5)).toBe("bcd")
  })

  test("forgets responses that were not used for a long time", () => {
    using store = new ResponseStore(undefined, limits)
    store.put(made("a"), "me", 0)
    store.put(made("b"), "me", 500)
    expect(ids(store, 1000)).toBe("ab")
    expect(ids(store, 1001)).toBe("b")
    expect(store.item("msg_a", "me", 1001)).toBeUndefined()
    store.put(made("c"), "me", 1001)
    expect(store.count).toBe(2)
  })
})

describe("a store in a file", () => {
  test("survives a restart, is readable only by its user, and leaves no other files", async () => {
    const path = join(folder, "new", "responses.db")
    const a = made("a")
    {
      using store = new ResponseStore(path)
      store.put(a, "me")
      // Write-ahead logging: readers of another process do not wait.
      expect((await readdir(join(folder, "new"))).sort()).toEqual([
        "responses.db",
        "responses.db-shm",
        "responses.db-wal",
      ])
      using other = new ResponseStore(path)
      expect(other.get("a", "me")).toEqual(a)
    }
    expect(await readdir(join(folder, "new"))).toEqual(["responses.db"])
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    using again = new ResponseStore(path)
    expect(again.get("a", "me")).toEqual(a)
  })

  test("has all stored responses after its process was killed", async () => {
    const path = join(folder, "killed.db")
    const store = join(import.meta.dir, "../../../../src/server/apis/responses/store.ts")
    const { response, input } = made("a")
    const script = `
      const { ResponseStore } = await import(${JSON.stringify(store)})
      const store = new ResponseStore(${JSON.stringify(path)})
      const [response, input] = ${JSON.stringify([response, input])}
      for (let i = 0; i < 50; i++) store.put({ response: { ...response, id: "r" + i }, input }, "me")
      process.kill(process.pid, "SIGKILL")`
    const child = Bun.spawn([process.execPath, "-e", script], { stderr: "inherit" })
    await child.exited
    expect(child.signalCode).toBe("SIGKILL")
    using again = new ResponseStore(path)
    expect(again.count).toBe(50)
    expect(again.get("r49", "me")).toEqual({ response: { ...response, id: "r49" }, input })
    expect(again.item("msg_a", "me")).toEqual(input[0])
  })

  test("erases the text of deleted responses", async () => {
    const path = join(folder, "secret.db")
    {
      using store = new ResponseStore(path)
      store.put(made("a", { text: "a very secret text" }), "me")
    }
    expect(await Bun.file(path).text()).toContain("a very secret text")
    {
      using store = new ResponseStore(path)
      store.delete("a", "me")
    }
    expect(await Bun.file(path).text()).not.toContain("a very secret text")
  })

  test("does not open a file of another kind", async () => {
    const text = join(folder, "notes.txt")
    await writeFile(text, "not a database, but longer than the hundred bytes that a database's head has ".repeat(4))
    const foreign = join(folder, "foreign.db")
    const database = new Database(foreign, { create: true })
    database.run("CREATE TABLE notes (text TEXT)")
    database.close()
    const later = join(folder, "later.db")
    new ResponseStore(later).close()
    const changed = new Database(later)
    changed.run("PRAGMA user_version = 99")
    changed.close()
    for (const [path, reason] of [
      [text, "not a database"],
      [foreign, "another program's"],
      [later, "another version"],
      [join(text, "responses.db"), "notes.txt"],
    ] as const) {
      const open = () => new ResponseStore(path)
      expect(open).toThrow(ResponseStoreError)
      expect(open).toThrow(reason)
      expect(open).toThrow("--responses-db")
    }
    expect(await Bun.file(text).text()).toStartWith("not a database")
    expect(new Database(foreign).query("SELECT name FROM sqlite_schema").all()).toEqual([{ name: "notes" }])
  })
})

test("a closed store reports that it is closed, and can be closed twice", () => {
  const store = new ResponseStore()
  store.close()
  store.close()
  expect(() => store.get("a", "me")).toThrow()
})
