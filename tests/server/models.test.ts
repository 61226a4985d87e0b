/** A server with several models: loading on demand, the memory budget, keep-alive, /v1/models and /health. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import Anthropic from "@anthropic-ai/sdk"
import OpenAI from "openai"
import { loadModel } from "../../src/engine/load.ts"
import type { ModelBody, ModelList } from "../../src/server/apis/openai/models-schema.ts"
import type { Health } from "../../src/server/apis/service/health-schema.ts"
import { startServer } from "../../src/server/index.ts"
import type { ModelSpec } from "../../src/server/pool/entry.ts"
import { ModelPool, type ModelPoolOptions } from "../../src/server/pool/pool.ts"
import { FakeClock } from "../support/clock.ts"
import { clientOf, type PostOptions, post } from "../support/http.ts"
import { writeTinyModel } from "../support/tiny-model.ts"
import { until } from "../support/until.ts"
import type { Script, ScriptEngine } from "./support/script-engine.ts"
import { saying, scriptEngine, scriptModel } from "./support/script-model.ts"

interface ScriptedModels {
  url: string
  client: OpenAI
  pool: ModelPool
  /** Every opened engine, oldest first. */
  engines: { name: string; engine: ScriptEngine }[]
  [Symbol.asyncDispose]: () => Promise<void>
}

interface ServeModelsOptions extends Omit<Partial<ModelPoolOptions>, "models"> {
  /** Further names, by model. */
  aliases?: Record<string, string[]>
  /** A model's load awaits this promise; a rejection fails the load. */
  gate?: (name: string) => Promise<void>
  /** Requests await this promise after their first event. */
  mayEnd?: Promise<void>
}

/** Serves scripted models that weigh 10 bytes each, by name. */
async function serveModels(
  scripts: Record<string, Script>,
  { gate, mayEnd, aliases = {}, ...options }: ServeModelsOptions = {},
): Promise<ScriptedModels> {
  const engines: ScriptedModels["engines"] = []
  const models = Object.keys(scripts).map(
    (name): ModelSpec => ({
      name,
      path: `${name}.gguf`,
      arch: "script",
      weights: 10,
      cache: 0,
      aliases: aliases[name] ?? [],
    }),
  )
  const pool = new ModelPool({
    models,
    open: async ({ name, weights, cache }) => {
      await gate?.(name)
      const engine = scriptEngine(scripts[name] ?? { tokens: [] })
      if (mayEnd !== undefined) pauseAfterFirst(engine, mayEnd)
      engines.push({ name, engine })
      return { ...scriptModel(engine, name), memory: { weights, cache } }
    },
    ...options,
  })
  const server = await startServer({ models: pool, port: 0 })
  return {
    url: server.url,
    client: clientOf(server.url),
    pool,
    engines,
    [Symbol.asyncDispose]: async () => {
      await server.stop()
      await pool.close()
    },
  }
}

/** Makes an engine's requests wait after their first event. */
function pauseAfterFirst(engine: ScriptEngine, mayEnd: Promise<void>): void {
  const generate = engine.generate.bind(engine)
  engine.generate = async function* (...args) {
    for await (const event of generate(...args)) {
      yield event
      await mayEnd
    }
  }
}

const complete = (url: string, model: string, fields: object = {}, options: PostOptions = {}) =>
  post(`${url}/v1/completions`, { model, prompt: "x", max_tokens: 500, ...fields }, options)
const textOf = async (response: Response) => {
  const body = (await response.json()) as { choices: { text: string }[] }
  return body.choices[0]?.text
}
const modelsOf = async (url: string) => ((await (await fetch(`${url}/v1/models`)).json()) as { data: ModelBody[] }).data
const healthOf = async (url: string) => {
  const response = await fetch(`${url}/health`)
  return { code: response.status, retry: response.headers.get("retry-after"), body: (await response.json()) as Health }
}

test("a model is found by its plain and by its percent-encoded name", async () => {
  const names = ["owner/name:tag", "a b/c%d"]
  await using server = await serveModels(Object.fromEntries(names.map((name) => [name, { tokens: saying("hello") }])))
  const idOf = async (path: string) => ((await (await fetch(`${server.url}/v1/models/${path}`)).json()) as ModelBody).id
  expect(await idOf("owner/name:tag")).toBe("owner/name:tag")
  for (const name of names) {
    expect(await idOf(encodeURIComponent(name))).toBe(name)
    expect(await idOf(encodeURIComponent(name).replace("%2F", "/"))).toBe(name)
    expect((await server.client.models.retrieve(name)).id).toBe(name)
  }
  for (const unknown of ["owner/other", "owner/name:tag/more", "%ff/x"]) {
    const response = await fetch(`${server.url}/v1/models/${unknown}`)
    expect([response.status, (await response.json()).error.code]).toEqual([404, "model_not_found"])
  }
  const deleted = await fetch(`${server.url}/v1/models/owner/name:tag`, { method: "DELETE" })
  expect([deleted.status, deleted.headers.get("allow")]).toEqual([405, "GET"])
})

describe("on demand", () => {
  test("the first request loads a model, once for all concurrent requests", async () => {
    const doors = new Map([["b", Promise.withResolvers<void>()]])
    await using server = await serveModels(
      { a: { tokens: saying("I am a") }, b: { tokens: saying("I am b") } },
      { gate: async (name) => doors.get(name)?.promise },
    )
    const answers = Array.from({ length: 5 }, () => complete(server.url, "b"))
    await until(() => server.pool.requests === 5)
    expect((await modelsOf(server.url)).map(({ id, state }) => [id, state])).toEqual([
      ["a", "unloaded"],
      ["b", "loading"],
    ])
    doors.get("b")?.resolve()
    for (const answer of await Promise.all(answers)) expect(await textOf(answer)).toBe("I am b")
    expect(server.engines.map(({ name }) => name)).toEqual(["b"])
    expect(await textOf(await complete(server.url, "a"))).toBe("I am a")
    expect((await modelsOf(server.url)).map(({ state }) => state)).toEqual(["ready", "ready"])
  })

  test("/v1/models lists the models in OpenAI's format, with their load state", async () => {
    await using server = await serveModels({ a: { tokens: saying("a") }, b: { tokens: saying("b") } })
    const before = Math.floor(Date.now() / 1000)
    await complete(server.url, "b")
    const [a, b] = await modelsOf(server.url)
    const common = { object: "model", owned_by: "rocmforge", arch: "script", reason: null }
    const absent = { device: null, context_length: null, memory: null, loaded: null, last_used: null }
    expect(a).toMatchObject({ ...common, ...absent, id: "a", state: "unloaded" })
    expect(b).toMatchObject({
      ...common,
      id: "b",
      state: "ready",
      device: { backend: "cpu", name: "script" },
      context_length: 1024,
      memory: { weights: 10, cache: 0 },
    })
    for (const time of [b?.loaded, b?.last_used]) {
      expect(time).toBeGreaterThanOrEqual(before)
      expect(time).toBeLessThanOrEqual(Math.floor(Date.now() / 1000))
    }
    expect(await server.client.models.retrieve("b")).toEqual(b as never)
    expect((await server.client.models.list()).data.map(({ id }) => id)).toEqual(["a", "b"])
    expect(await server.client.models.retrieve("c").catch((thrown) => thrown)).toBeInstanceOf(OpenAI.NotFoundError)
  })

  test("a model that fails to load gives 503 with the reason, and the other models are still served", async () => {
    await using server = await serveModels(
      { a: { tokens: saying("a") }, b: { tokens: saying("b") } },
      { gate: async (name) => (name === "b" ? Promise.reject(new Error("b.gguf is cut off")) : undefined) },
    )
    for (const stream of [false, true]) {
      const response = await complete(server.url, "b", { stream })
      expect(response.status).toBe(503)
      expect(Number(response.headers.get("retry-after"))).toBeGreaterThanOrEqual(1)
      const { error } = (await response.json()) as { error: object }
      expect(error).toMatchObject({ type: "server_error", code: "model_load_failed", param: "model" })
      expect(error).toHaveProperty("message", expect.stringContaining("b.gguf is cut off"))
    }
    expect(await textOf(await complete(server.url, "a"))).toBe("a")
    expect((await modelsOf(server.url))[1]).toMatchObject({ state: "failed", reason: "b.gguf is cut off" })
  })
})

describe("a request's hold on its model", () => {
  test("lasts until its stream has ended", async () => {
    const clock = new FakeClock()
    const door = Promise.withResolvers<void>()
    await using server = await serveModels(
      { a: { tokens: saying("hello") } },
      { keepAliveMs: 0, clock, mayEnd: door.promise },
    )
    const response = await complete(server.url, "a", { stream: true })
    await clock.advance(60_000)
    expect((await modelsOf(server.url))[0]?.state).toBe("ready")
    door.resolve()
    expect(await response.text()).toContain("[DONE]")
    await until(() => server.pool.requests === 0)
    await clock.advance(0)
    expect(server.pool.models[0]?.state).toBe("unloaded")
    expect(server.engines[0]?.engine.closed).toBe(1)
  })

  test("ends when the client disconnects, and when the request is refused", async () => {
    await using server = await serveModels({ a: { tokens: saying("on and on "), stepMs: 20 } }, { keepAliveMs: 0 })
    const stream = await server.client.completions.create({
      model: "a",
      prompt: "x",
      max_tokens: 900,
      stream: true,
      ignore_eos: true,
    } as OpenAI.CompletionCreateParamsStreaming)
    for await (const _ of stream) break
    await until(() => server.pool.requests === 0)
    expect(server.engines[0]?.engine.cancelled).toBe(1)
    for (const fields of [{ prompt: "" }, { prompt: "x".repeat(2000) }, { logit_bias: { 9999: 1 } }])
      for (const stream of [false, true])
        expect((await complete(server.url, "a", { ...fields, stream })).status).toBe(400)
    expect(server.pool.requests).toBe(0)
  })

  test("makes requests for other models fail with 503 and Retry-After until it ends", async () => {
    await using server = await serveModels(
      { a: { tokens: saying("a"), hang: true }, b: { tokens: saying("b") } },
      { budget: 15 },
    )
    const controller = new AbortController()
    const running = complete(server.url, "a", { stream: true }, { signal: controller.signal })
    await until(() => server.engines[0]?.engine.running === 1)
    const refused = await complete(server.url, "b")
    expect(refused.status).toBe(503)
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThanOrEqual(1)
    expect(await refused.json()).toMatchObject({ error: { type: "service_unavailable", code: "unavailable" } })
    expect(server.pool.models.map(({ state }) => state)).toEqual(["ready", "unloaded"])
    controller.abort()
    await running.then((response) => response.text()).catch(() => "")
    await until(() => server.pool.requests === 0)
    expect(await textOf(await complete(server.url, "b"))).toBe("b")
    expect(server.pool.models.map(({ state }) => state)).toEqual(["unloaded", "ready"])
    expect(server.engines[0]?.engine.closed).toBe(1)
  })
})

describe("/health", () => {
  test("is 503 until the first model is loaded, and stays ok when that model is unloaded as idle", async () => {
    const clock = new FakeClock()
    const door = Promise.withResolvers<void>()
    await using server = await serveModels(
      { a: { tokens: saying("a") }, b: { tokens: saying("b") } },
      { gate: () => door.promise, keepAliveMs: 20, clock },
    )
    const loaded = server.pool.load("a")
    const starting = await healthOf(server.url)
    expect(starting).toMatchObject({ code: 503, retry: "1", body: { status: "starting" } })
    expect(starting.body.reason).toContain("'a'")
    expect(starting.body.models.map(({ state }) => state)).toEqual(["loading", "unloaded"])
    door.resolve()
    await loaded
    expect(await healthOf(server.url)).toMatchObject({ code: 200, retry: null, body: { status: "ok", reason: null } })
    await clock.advance(20)
    expect(server.pool.models[0]?.state).toBe("unloaded")
    const idle = await healthOf(server.url)
    expect(idle).toMatchObject({ code: 200, body: { status: "ok" } })
    expect(idle.body.models[0]).toMatchObject({ state: "unloaded", device: null, kv_blocks: { total: 0, free: 0 } })
  })

  test("reports that the first model could not be loaded", async () => {
    await using server = await serveModels(
      { a: { tokens: [] } },
      { gate: () => Promise.reject(new Error("no memory")) },
    )
    await server.pool.load("a").catch(() => {})
    const { code, body } = await healthOf(server.url)
    expect([code, body.status]).toEqual([503, "failed"])
    expect(body.reason).toContain("no memory")
  })

  test("reports the engine's own health", async () => {
    await using server = await serveModels({ a: { tokens: saying("a") }, b: { tokens: saying("b") } })
    await complete(server.url, "a")
    await complete(server.url, "b")
    const [a, b] = server.engines.map(({ engine }) => engine)
    if (a === undefined || b === undefined) throw new Error("both were loaded")
    a.state = { state: "restarting", reason: "the engine process was killed" }
    expect(await healthOf(server.url)).toMatchObject({
      code: 503,
      body: { status: "restarting", models: [{ state: "restarting", reason: "the engine process was killed" }, {}] },
    })
    a.state = { state: "failed", reason: "it is gone for good" }
    expect(await healthOf(server.url)).toMatchObject({ code: 503, body: { status: "failed" } })
    a.state = { state: "ready" }
    // This is not the first model, so the server is healthy.
    b.state = { state: "failed", reason: "it is gone for good" }
    const partly = await healthOf(server.url)
    expect(partly).toMatchObject({ code: 200, body: { status: "ok" } })
    expect(partly.body.models[1]).toMatchObject({ state: "failed", reason: "it is gone for good" })
    expect((await modelsOf(server.url))[1]).toMatchObject({ state: "failed" })
  })
})

describe("real models", () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rocmforge-models-"))
    for (const seed of [1, 2]) await writeTinyModel(join(folder, `m${seed}.gguf`), { seed, context_length: 512 })
  })
  afterAll(() => rm(folder, { recursive: true }))

  const load = (seed: number, memoryLimit?: number) =>
    loadModel(join(folder, `m${seed}.gguf`), { device: "cpu", threads: 1, maxSeqs: 4, memoryLimit })

  test("a memory limit bounds the cache, and a limit too small for the cache is refused", async () => {
    await using free = await load(1)
    const { weights, cache } = free.memory
    expect(cache).toBeGreaterThan(0)
    await using bounded = await load(1, weights + cache / 4)
    expect(bounded.memory).toEqual({ weights, cache: cache / 4 })
    expect(bounded.engine.stats().blocksTotal).toBe(free.engine.stats().blocksTotal / 4)
    await expect(load(1, weights)).rejects.toThrow("--memory-budget")
  })

  test("take turns in a budget for one model, with the same answers as alone", async () => {
    const request = { prompt: "the same prompt", max_tokens: 12, temperature: 0, ignore_eos: true }
    const alone: (string | undefined)[] = []
    let weights = 0
    for (const seed of [1, 2]) {
      const model = await load(seed)
      weights = model.memory.weights
      const server = await startServer({ models: [model], port: 0 })
      alone.push(await textOf(await complete(server.url, `m${seed}`, request)))
      await server.stop()
      await model.close()
    }
    expect(alone[0]).not.toBe(alone[1])

    const budget = weights * 1.5
    const models = [1, 2].map(
      (seed): ModelSpec => ({
        name: `m${seed}`,
        path: join(folder, `m${seed}.gguf`),
        arch: "llama",
        weights,
        cache: 2 ** 30,
      }),
    )
    await using pool = new ModelPool({
      models,
      open: ({ path }, { memoryLimit }) =>
        loadModel(path, { device: "cpu", threads: 1, maxSeqs: 4, ...(memoryLimit && { memoryLimit }) }),
      budget,
    })
    const server = await startServer({ models: pool, port: 0 })
    for (let round = 0; round < 3; round++)
      for (const [i, name] of ["m1", "m2"].entries()) {
        expect(await textOf(await complete(server.url, name, request))).toBe(alone[i])
        const inMemory = (await modelsOf(server.url)).filter(({ state }) => state === "ready")
        expect(inMemory.map(({ id }) => id)).toEqual([name])
        const memory = inMemory[0]?.memory ?? { weights: 0, cache: 0 }
        expect(memory.weights + memory.cache).toBeLessThanOrEqual(budget)
      }
    await server.stop()
  })
})

describe("names of models", () => {
  const scripts = { first: { tokens: saying("one") }, "second:q8": { tokens: saying("two") } }
  const serve = (anyModel: boolean) =>
    serveModels(scripts, { anyModel, aliases: { first: ["gpt-4o", "owner/x"], "second:q8": ["deux"] } })
  const answerOf = async (url: string, model: unknown) => {
    const response = await post(`${url}/v1/completions`, { model, prompt: "x", max_tokens: 1, temperature: 0 })
    const body = (await response.json()) as { model?: string; error?: { code: string; message: string } }
    return body.model ?? body.error
  }

  test("a name, an alias, with or without :latest, and none at all", async () => {
    await using server = await serve(false)
    for (const name of ["first", "first:latest", "gpt-4o", "gpt-4o:latest", "owner/x", undefined, null, ""])
      expect([name, await answerOf(server.url, name)]).toEqual([name, "first"])
    for (const name of ["second:q8", "deux"]) expect(await answerOf(server.url, name)).toBe("second:q8")
    expect(await answerOf(server.url, "second")).toMatchObject({
      code: "model_not_found",
      message: expect.stringContaining("'first', 'gpt-4o', 'owner/x', 'second:q8', 'deux'"),
    })
    expect((await post(`${server.url}/api/generate`, { model: "deux:latest", stream: false })).status).toBe(200)
    const messages = [{ role: "user", content: "x" }]
    expect((await post(`${server.url}/v1/messages/count_tokens`, { model: "nobody", messages })).status).toBe(404)
    expect((await post(`${server.url}/v1/messages/count_tokens`, { messages })).status).toBe(200)
  })

  test("any name where the server says so", async () => {
    await using server = await serve(true)
    expect(await answerOf(server.url, "claude-sonnet-4")).toBe("first")
    expect(await answerOf(server.url, "deux")).toBe("second:q8")
  })

  test("two models cannot share a name", () => {
    const spec = (name: string, ...aliases: string[]): ModelSpec => {
      return { name, path: name, arch: "script", weights: 0, cache: 0, aliases }
    }
    const open = () => Promise.reject(new Error("not opened here"))
    expect(() => new ModelPool({ models: [spec("a"), spec("b", "a")], open })).toThrow("Two models are named 'a'")
  })

  test("/v1/models lists every name, for the clients of every API", async () => {
    await using server = await serve(false)
    const list = (await (await fetch(`${server.url}/v1/models`)).json()) as ModelList
    expect(list.data.map(({ id, root }) => [id, root])).toEqual([
      ["first", "first"],
      ["gpt-4o", "first"],
      ["owner/x", "first"],
      ["second:q8", "second:q8"],
      ["deux", "second:q8"],
    ])
    expect(list).toMatchObject({ object: "list", has_more: false, first_id: "first", last_id: "deux" })
    expect(list.data[0]).toMatchObject({ type: "model", display_name: "first", created_at: expect.any(String) })
    const one = await fetch(`${server.url}/v1/models/owner/x`)
    expect(await one.json()).toMatchObject({ id: "owner/x", root: "first" })
    const page = await new Anthropic({ baseURL: server.url, apiKey: "none" }).models.list()
    expect(page.data.map(({ id }) => id)).toContain("gpt-4o")
    expect(page.hasNextPage()).toBe(false)
  })
})
