/** Ollama's routes that change which models are served, with Ollama's client. */

import { describe, expect, test } from "bun:test"
import type { ModelFinder } from "../../src/server/http/context.ts"
import { startServer } from "../../src/server/index.ts"
import type { ModelSpec } from "../../src/server/pool/entry.ts"
import { ModelPool } from "../../src/server/pool/pool.ts"
import { ModelNotFoundError } from "../../src/store/errors.ts"
import { withTinyModel } from "../support/tiny-model.ts"
import { until } from "../support/until.ts"
import { ollamaOf } from "./support/clients.ts"
import { refusal } from "./support/ollama-requests.ts"
import { saying, scriptEngine, scriptModel } from "./support/script-model.ts"

/** Serves the scripted model `first`; `findModel` finds every name that begins with `new`, and downloads 10 bytes of it. */
async function serve(
  options: { allow?: boolean; budget?: number; onFind?: (signal: AbortSignal) => Promise<void> } = {},
) {
  const tiny = await withTinyModel()
  const spec = (name: string): ModelSpec => ({ name, path: tiny.path, arch: "llama", weights: 10, cache: 0 })
  const opened: string[] = []
  const pool = new ModelPool({
    models: [spec("first")],
    budget: options.budget ?? 100,
    open: async ({ name }) => {
      opened.push(name)
      return {
        ...scriptModel(scriptEngine({ tokens: saying(`I am ${name}`) }), name),
        memory: { weights: 10, cache: 0 },
      }
    },
  })
  const asked: string[] = []
  const findModel: ModelFinder = async (name, { onProgress, signal }) => {
    asked.push(name)
    if (!/^(hf:org\/)?new/.test(name)) throw new ModelNotFoundError(`"${name}" is not a known name`)
    onProgress({ type: "note", message: "another source" })
    await Bun.sleep(1)
    onProgress({ type: "start", label: "new.gguf", total: 10, done: 0 })
    await Bun.sleep(1)
    onProgress({ type: "progress", done: 10 })
    await options.onFind?.(signal)
    onProgress({ type: "end", ok: true })
    return spec(name.replace("hf:org/", ""))
  }
  const server = await startServer({ models: pool, port: 0, ...(options.allow !== false && { findModel }) })
  const close = async () => {
    await server.stop()
    await pool.close()
    await tiny[Symbol.asyncDispose]()
  }
  return { url: server.url, pool, asked, opened, client: ollamaOf(server.url), [Symbol.asyncDispose]: close }
}

const request = (model: string) => ({ model, messages: [{ role: "user", content: "hi" }] })

describe("pull", () => {
  test("reports progress, and the model is served from then on", async () => {
    await using server = await serve()
    const lines = []
    for await (const line of await server.client.pull({ model: "newer:latest", stream: true })) lines.push(line)
    expect(lines[0]).toEqual({ status: "pulling manifest" } as never)
    expect(lines).toContainEqual({ status: "pulling new.gguf", digest: "new.gguf", total: 10, completed: 10 })
    expect(lines.at(-1)).toEqual({ status: "success" } as never)
    expect(server.asked).toEqual(["newer"])
    expect((await server.client.chat(request("newer"))).message.content).toBe("I am newer")
    expect((await server.client.list()).models.map(({ name }) => name)).toEqual(["first:latest", "newer:latest"])
    await server.client.pull({ model: "newer" })
    expect(server.asked).toEqual(["newer"])
  })

  test("finds models of the hub, under both names", async () => {
    await using server = await serve()
    expect(await server.client.pull({ model: "hf.co/org/new-one" })).toEqual({ status: "success" } as never)
    expect(server.asked).toEqual(["hf:org/new-one"])
    for (const name of ["new-one", "hf.co/org/new-one"])
      expect((await server.client.chat(request(name))).message.content).toBe("I am new-one")
  })

  test("of a served model succeeds on every server; of others only where it is allowed", async () => {
    await using fixed = await serve({ allow: false })
    expect(await fixed.client.pull({ model: "first:latest" })).toEqual({ status: "success" } as never)
    expect(await refusal(fixed.url, "/api/pull", { model: "new" })).toEqual([
      403,
      expect.stringContaining("--allow-pull"),
    ])
    expect(await refusal(fixed.url, "/api/copy", { source: "first", destination: "x" })).toEqual([
      403,
      expect.stringContaining("--allow-pull"),
    ])
  })

  test("of an unknown name, a path, or a model that is too large fails by name", async () => {
    await using server = await serve()
    expect(await refusal(server.url, "/api/pull", { model: "old", stream: false })).toEqual([
      404,
      '"old" is not a known name',
    ])
    for (const model of ["/etc/passwd", "../x", "a/b", "C:\\x.gguf", "./new", "new.gguf"])
      expect(await refusal(server.url, "/api/pull", { model })).toEqual([
        400,
        expect.stringContaining("hf.co/owner/repo"),
      ])
    expect(server.asked).toEqual(["old"])
    expect(await refusal(server.url, "/api/pull", {})).toEqual([400, "'model' is required."])
  })

  test("ends when the client disconnects", async () => {
    let aborted = false
    const onFind = (signal: AbortSignal) =>
      new Promise<void>((_, reject) => {
        const stop = () => {
          aborted = true
          reject(signal.reason)
        }
        if (signal.aborted) stop()
        else signal.addEventListener("abort", stop)
      })
    await using server = await serve({ onFind })
    const stream = await server.client.pull({ model: "new", stream: true })
    await stream[Symbol.asyncIterator]().next()
    stream.abort()
    await until(() => aborted)
    expect(server.pool.models.map(({ name }) => name)).toEqual(["first"])
  })
})

describe("names", () => {
  test("are copied, created from a model, and deleted", async () => {
    await using server = await serve()
    await server.client.copy({ source: "first", destination: "second" })
    await server.client.create({ model: "third", from: "second" })
    expect((await server.client.list()).models.map(({ name }) => name)).toEqual([
      "first:latest",
      "second:latest",
      "third:latest",
    ])
    expect((await server.client.chat(request("third"))).message.content).toBe("I am first")
    expect(await refusal(server.url, "/api/copy", { source: "first", destination: "third" })).toEqual([
      409,
      expect.stringContaining("'third'"),
    ])
    expect(await refusal(server.url, "/api/create", { model: "x", from: "nobody" })).toEqual([404, expect.any(String)])
    expect(await refusal(server.url, "/api/create", { model: "x", from: "first", system: "Be brief." })).toEqual([
      400,
      expect.stringContaining("'system'"),
    ])
    await server.client.delete({ model: "third:latest" })
    await expect(server.client.chat(request("third"))).rejects.toMatchObject({ status_code: 404 })
    await expect(server.client.delete({ model: "first" })).rejects.toThrow("only model")
  })

  test("of a model go with it, and its memory is freed", async () => {
    await using server = await serve()
    await server.client.pull({ model: "new" })
    await server.client.chat(request("new"))
    expect(server.pool.get("new").state).toBe("ready")
    const entry = server.pool.get("new")
    await server.client.delete({ model: "new" })
    expect(entry.state).toBe("unloaded")
    expect(server.pool.models.map(({ name }) => name)).toEqual(["first"])
  })
})
