/** Models with Ollama's client: the list, loaded models and their expiry, and embeddings. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { rm } from "node:fs/promises"
import { join } from "node:path"
import type { Ollama } from "ollama"
import { loadModel } from "../../src/engine/load.ts"
import { ModelPool, startServer } from "../../src/server/index.ts"
import { resolveModel } from "../../src/store/resolve.ts"
import { post } from "../support/http.ts"
import { type TinyModelFile, withTinyModel, writeTinyModel } from "../support/tiny-model.ts"
import { until } from "../support/until.ts"
import { ollamaOf } from "./support/clients.ts"
import { curl, refusal } from "./support/ollama-requests.ts"
import { saying, serveScript } from "./support/script-model.ts"

const NAMES = ["smol", "owner/tiny:q8", "embedder"]
let tiny: TinyModelFile
let manager: ModelPool
let server: Awaited<ReturnType<typeof startServer>>
let client: Ollama

/** The real model, a quantized model, and an embedding model. None is in memory before its first request. */
beforeAll(async () => {
  tiny = await withTinyModel({ format: "Q8_0", arch: "qwen2" })
  const embedder = join(tiny.folder, "embedder.gguf")
  await writeTinyModel(embedder, { pooling_type: 3 })
  const paths = [await resolveModel("smollm2-135m"), tiny.path, embedder]
  manager = new ModelPool({
    models: NAMES.map((name, i) => ({
      name,
      path: paths[i] as string,
      arch: i === 1 ? "qwen2" : "llama",
      weights: 1,
      cache: 1,
    })),
    open: ({ name, path }) => loadModel(path, { device: "cpu", threads: 2, ctxSize: 64, name }),
  })
  server = await startServer({ models: manager, port: 0 })
  client = ollamaOf(server.url)
})
afterAll(async () => {
  await server.stop()
  await manager.close()
  await tiny[Symbol.asyncDispose]()
})

const stateOf = (name: string) => manager.get(name).state

test("the list has every model with its tag, loaded or not", async () => {
  const { models } = await client.list()
  expect(models.map(({ name }) => name)).toEqual(["smol:latest", "owner/tiny:q8", "embedder:latest"])
  expect(models[0]).toMatchObject({
    model: "smol:latest",
    size: 98_362_432,
    details: {
      format: "gguf",
      family: "llama",
      families: ["llama"],
      parameter_size: "134.52M",
      quantization_level: "Q4_1",
    },
  })
  expect(models[1]?.details).toMatchObject({ family: "qwen2", quantization_level: "Q8_0" })
  expect(Date.parse(String(models[0]?.modified_at))).toBeGreaterThan(0)
  expect(new Set(models.map(({ digest }) => digest)).size).toBe(3)
  for (const { digest } of models) expect(digest).toMatch(/^[0-9a-f]{64}$/)
  expect(NAMES.map(stateOf)).toEqual(["unloaded", "unloaded", "unloaded"])
  expect(await client.ps()).toEqual({ models: [] })
})

test("show returns a model's template, metadata and capabilities", async () => {
  const shown = await client.show({ model: "smol" })
  expect(shown).toMatchObject({
    license: "apache-2.0",
    details: { parameter_size: "134.52M", quantization_level: "Q4_1" },
    capabilities: ["completion", "tools"],
  })
  expect(shown.template).toContain("<|im_start|>")
  expect(shown.model_info as object).toMatchObject({
    "general.architecture": "llama",
    "general.parameter_count": 134_515_008,
    "llama.context_length": 8192,
    "llama.embedding_length": 576,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": null,
  })
  const verbose = await (await curl(`${server.url}/api/show`, { name: "smol:latest", verbose: true })).json()
  expect(verbose.model_info["tokenizer.ggml.tokens"]).toHaveLength(49152)
  expect(verbose.tensors).toContainEqual({ name: "output_norm.weight", type: "F32", shape: [576] })
  expect((await client.show({ model: "embedder:latest" })).capabilities).toEqual(["embedding"])
  expect((await client.show({ model: "owner/tiny:q8" })).details.family).toBe("qwen2")
  expect(await refusal(server.url, "/api/show", { model: "owner/tiny" })).toEqual([404, expect.any(String)])
  expect((await client.show({ model: "" })).details).toEqual(shown.details)
  // The request of Ollama's CLI.
  const asked = { model: "smol", name: "", system: "", template: "", verbose: false, options: null }
  expect((await curl(`${server.url}/api/show`, asked)).status).toBe(200)
})

test("clients accept the version, and HEAD / is answered", async () => {
  const { version } = await client.version()
  expect(Bun.semver.satisfies(version, ">=0.6.4")).toBe(true)
  const head = await fetch(server.url, { method: "HEAD" })
  expect([head.status, await head.text()]).toEqual([200, ""])
  expect(await (await fetch(server.url)).text()).toContain("<title>")
})

describe("keep_alive", () => {
  /** The time at which a model will be unloaded, in milliseconds since the epoch. */
  const expiry = async (name: string) => {
    const found = (await client.ps()).models.find((model) => model.name === name)
    return found && Date.parse(String(found.expires_at))
  }
  /** Sends a request, and expects the model to expire `seconds` after the request's end. */
  async function staysFor(seconds: number, fields: { keep_alive?: string | number }) {
    const before = Date.now()
    await client.generate({ model, prompt: "x", options: { num_predict: 1 }, ...fields })
    expect(await expiry(model)).toBeWithin(before + 1000 * seconds, Date.now() + 1000 * seconds + 1)
  }
  const model = "owner/tiny:q8"
  const YEAR_9999 = Date.parse("9999-12-31T23:59:59Z")

  test("sets how long an idle model stays loaded", async () => {
    expect(await client.generate({ model, prompt: "" })).toMatchObject({ done_reason: "load" })
    expect(stateOf(model)).toBe("ready")
    expect((await client.ps()).models[0]).toMatchObject({
      name: model,
      size_vram: 0,
      context_length: 64,
      expires_at: "9999-12-31T23:59:59Z",
    } as object)
    for (const [keep_alive, seconds] of [
      ["1h30m", 5400],
      [120, 120],
      ["300000ms", 300],
    ] as const)
      await staysFor(seconds, { keep_alive })
    await client.embed({ model, input: "x", keep_alive: -1 })
    expect(await expiry(model)).toBe(YEAR_9999)
    // A request without the field keeps the current value.
    await staysFor(600, { keep_alive: "10m" })
    await staysFor(600, {})

    await client.generate({ model, prompt: "x", keep_alive: 0, options: { num_predict: 8 } })
    await until(() => stateOf(model) === "unloaded")
    expect(await expiry(model)).toBeUndefined()
    await client.generate({ model, prompt: "" })
    expect(await expiry(model)).toBe(YEAR_9999)
    expect(await client.generate({ model, prompt: "", keep_alive: "0s" })).toMatchObject({ done_reason: "unload" })
    await until(() => stateOf(model) === "unloaded")
    expect(await client.chat({ model, messages: [], keep_alive: 0 })).toMatchObject({ done_reason: "unload" })
    expect(stateOf(model)).toBe("unloaded")
  })
})

describe("embeddings", () => {
  test("of one or several texts equal those of /v1/embeddings", async () => {
    const model = "embedder"
    const v1 = async (input: string[], dimensions?: number) => {
      const { data } = await (await post(`${server.url}/v1/embeddings`, { model, input, dimensions })).json()
      return data.map(({ embedding }: { embedding: number[] }) => embedding)
    }
    const two = await client.embed({ model: "embedder:latest", input: ["one", "two"] })
    expect(two).toMatchObject({ model: "embedder:latest", prompt_eval_count: expect.any(Number) })
    expect(two.embeddings).toEqual(await v1(["one", "two"]))
    expect(two.total_duration).toBeGreaterThan(two.load_duration)
    expect((await client.embed({ model, input: "two" })).embeddings).toEqual([two.embeddings[1] as number[]])
    expect((await client.embeddings({ model, prompt: "two" })).embedding).toEqual(two.embeddings[1] as number[])
    expect((await client.embed({ model, input: "two", dimensions: 8 })).embeddings).toEqual(await v1(["two"], 8))
  })

  test("of texts that are too long are truncated, or refused", async () => {
    const model = "embedder"
    const long = "a".repeat(500)
    const cut = await client.embed({ model, input: long })
    expect(cut.prompt_eval_count).toBe(64)
    expect((await client.embed({ model, input: long, options: { num_ctx: 16 } })).prompt_eval_count).toBe(16)
    expect(await refusal(server.url, "/api/embed", { model, input: long, truncate: false })).toEqual([
      400,
      expect.stringContaining("maximum context length is 64 tokens"),
    ])
    const options = { temperature: null, mirostat: null, num_ctx: null, top_k: 4 }
    expect((await curl(`${server.url}/api/embed`, { model, input: "x", options })).status).toBe(200)
    expect(await refusal(server.url, "/api/embed", { model, input: [""] })).toEqual([400, expect.any(String)])
  })
})

test("show fails for a model whose file was deleted", async () => {
  const path = join(tiny.folder, "gone.gguf")
  const spec = { name: "gone", path, arch: "llama", weights: 1, cache: 1 }
  const models = new ModelPool({ models: [spec], open: () => Promise.reject(new Error("not reached")) })
  const other = await startServer({ models, port: 0 })
  try {
    await writeTinyModel(path)
    expect((await curl(`${other.url}/api/show`, { model: "gone" })).status).toBe(200)
    await rm(path)
    expect(await refusal(other.url, "/api/show", { model: "gone" })).toEqual([
      503,
      expect.stringContaining("The model 'gone' could not be loaded"),
    ])
    // The list still has the model.
    expect((await ollamaOf(other.url).list()).models.map(({ name }) => name)).toEqual(["gone:latest"])
  } finally {
    await other.stop()
  }
})

test("a model whose file cannot be read does not hide the others from the lists", async () => {
  const spec = (name: string, path: string) => ({ name, path, arch: "llama", weights: 1, cache: 1 })
  const specs = [spec("gone", join(tiny.folder, "never.gguf")), spec("there", tiny.path)]
  const models = new ModelPool({ models: specs, open: () => Promise.reject(new Error("not reached")) })
  const other = await startServer({ models, port: 0 })
  try {
    for (const path of ["/v1/models", "/models"]) {
      const response = await fetch(other.url + path)
      const { data, models } = (await response.json()) as { data: { id: string }[]; models: { name: string }[] }
      expect([path, response.status, data.map(({ id }) => id)]).toEqual([path, 200, ["gone", "there"]])
      expect(models.map(({ name }) => name)).toEqual(["there:latest"])
    }
  } finally {
    await other.stop()
  }
})

test("models cannot be pushed or uploaded", async () => {
  await using other = await serveScript({ tokens: saying("x") })
  for (const path of ["/api/push", "/api/blobs/sha256:00"])
    expect(await refusal(other.url, path, { model: "x" })).toEqual([501, expect.stringContaining("plain GGUF files")])
})
