/** llama-server's slots: saving, restoring and erasing what a slot left in the prefix cache; and its switches for several models. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, readdir, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { loadModel } from "../../src/engine/load.ts"
import { ModelPool, startServer } from "../../src/server/index.ts"
import { post, serveTiny, type TestServer } from "../support/http.ts"
import { withTinyModel } from "../support/tiny-model.ts"

const SLOTS = 2
const BLOCK = 16
let folder: string
let server: TestServer

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-slots-"))
  server = await serveTiny({
    model: { context_length: 128 },
    load: { threads: 1, maxSeqs: SLOTS },
    server: { slotFolder: folder },
  })
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

type Body = Record<string, unknown>

async function send(path: string, body: object): Promise<{ status: number; body: Body }> {
  const response = await post(server.url + path, body)
  return { status: response.status, body: (await response.json()) as Body }
}
/** Completes a prompt of 40 tokens in a slot. @returns its tokens that were found in the cache */
async function cached(slot: number, first: number): Promise<number> {
  const prompt = Array.from({ length: 40 }, (_, i) => first + (i % 5))
  const { body } = await send("/completion", { prompt, id_slot: slot, n_predict: 4, temperature: 0, ignore_eos: true })
  expect(body).toMatchObject({ id_slot: slot, tokens_predicted: 4 })
  return (body.timings as { cache_n: number }).cache_n
}

describe("slots with a folder for their files", () => {
  test("a saved slot is computed again into another slot, and found by its requests", async () => {
    expect(await cached(0, 10)).toBe(0)
    // The prompt, and the answer but for its last token.
    const saved = await send("/slots/0?action=save", { filename: "one.bin" })
    expect(saved).toMatchObject({ status: 200, body: { id_slot: 0, filename: "one.bin", n_saved: 43 } })
    expect(await readdir(folder)).toEqual(["one.bin"])
    expect(saved.body.n_written).toBe(Bun.file(join(folder, "one.bin")).size)
    // The other slot does not see this one's cache before it is restored there.
    const restored = await send("/slots/1?action=restore", { filename: "one.bin" })
    expect(restored.body).toMatchObject({ id_slot: 1, n_restored: 43, n_read: saved.body.n_written })
    expect(await cached(1, 10)).toBe(2 * BLOCK)
  })

  test("slots have caches apart, and an erased one has nothing", async () => {
    await cached(0, 30)
    expect(await cached(0, 30)).toBe(2 * BLOCK)
    expect(await cached(1, 30)).toBe(0)
    const erased = await fetch(`${server.url}/slots/0?action=erase`, { method: "POST" })
    expect(await erased.json()).toEqual({ id_slot: 0, n_erased: 43 })
    expect(await cached(0, 30)).toBe(0)
    expect(await cached(1, 30)).toBe(2 * BLOCK)
  })

  test("a list of tokens in the same container is read, and more words after it are not", async () => {
    const tokens = Array.from({ length: 20 }, (_, i) => 50 + i)
    const path = join(folder, "list.bin")
    await Bun.write(path, Int32Array.of(0x67677371, 3, tokens.length, ...tokens, 1, 2, 3))
    const { body } = await send("/slots/0?action=restore", { filename: "list.bin" })
    expect(body).toMatchObject({ n_restored: 20, n_read: 4 * 23 })
  })

  test("names outside of the folder, files that are none of a slot, and unknown slots are refused", async () => {
    for (const filename of ["../one.bin", "/etc/passwd", "a/b", "..", ".hidden", "", "a\u0000b"])
      expect((await send("/slots/0?action=save", { filename })).status).toBe(400)
    const bad: Record<string, Int32Array> = {
      "magic.bin": Int32Array.of(1, 3, 1, 5),
      "short.bin": Int32Array.of(0x67677371, 3, 9, 5),
      "long.bin": Int32Array.of(0x67677371, 3, 128, ...new Array<number>(128).fill(5)),
      "token.bin": Int32Array.of(0x67677371, 3, 2, 5, 2 ** 30),
      "count.bin": Int32Array.of(0x67677371, 3, 4, -1, 1, 5, 5),
    }
    for (const [filename, words] of Object.entries(bad)) {
      await Bun.write(join(folder, filename), words)
      expect((await send("/slots/0?action=restore", { filename })).status).toBe(400)
    }
    for (const path of ["/slots/2?action=erase", "/slots/x?action=erase", "/slots/0?action=copy", "/slots/0"])
      expect((await send(path, {})).status).toBe(400)
    expect(await send("/slots/0?action=restore", { filename: "none.bin" })).toMatchObject({
      status: 400,
      body: { error: { code: 400, type: "invalid_request_error" } },
    })
    await fetch(`${server.url}/slots/0?action=erase`, { method: "POST" })
    expect((await send("/slots/0?action=save", { filename: "empty.bin" })).status).toBe(400)
    expect((await send("/slots/0?action=save", {})).status).toBe(400)
  })
})

test("several models: /props, tags, and requests that load nothing", async () => {
  await using file = await withTinyModel()
  const spec = { path: file.path, arch: "llama", weights: 1, cache: 1 }
  await using pool = new ModelPool({
    models: [
      { ...spec, name: "a", tags: ["chat"] },
      { ...spec, name: "b" },
    ],
    open: ({ name, path }) => loadModel(path, { device: "cpu", threads: 1, name }),
    maxModels: 1,
    autoload: false,
  })
  const running = await startServer({ models: pool, port: 0 })
  try {
    const get = async (path: string) => (await (await fetch(running.url + path)).json()) as Body
    expect(await get("/props")).toMatchObject({ role: "router", max_instances: 1, models_autoload: false })
    expect(await get("/models")).toMatchObject({ data: [{ id: "a", tags: ["chat"] }, { tags: [] }] })
    const complete = () => post(`${running.url}/completion`, { model: "b", prompt: "hello", n_predict: 1 })
    const refused = await complete()
    expect([refused.status, pool.get("b").state]).toEqual([400, "unloaded"])
    await pool.load("b")
    expect((await complete()).status).toBe(200)
  } finally {
    await running.stop()
  }
})
