/** Requests that Ollama's API refuses, and their errors. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { Ollama } from "ollama"
import { OverloadedError } from "../../src/errors.ts"
import { ollamaOf } from "./support/clients.ts"
import { curl, refusal } from "./support/ollama-requests.ts"
import { type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

const request = { model: "script", messages: [{ role: "user", content: "hi" }] }

describe("errors have Ollama's shape", () => {
  let server: ScriptedServer
  beforeAll(async () => {
    server = await serveScript({ tokens: saying("x") })
  })
  afterAll(() => server[Symbol.asyncDispose]())

  test.each([
    [{ format: "yaml" }, "'format'"],
    [{ format: 3 }, "'format'"],
    [{ think: "much" }, "'think'"],
    [{ keep_alive: "soon" }, "'keep_alive'"],
    [{ keep_alive: 0 }, "'keep_alive': the server always keeps 'script'"],
    [{ top_logprobs: 2 }, "'top_logprobs': needs logprobs"],
    [{ messages: [{ role: "user", content: "x", images: ["aGk="] }] }, "'messages[0].images'"],
    [{ messages: [{ role: "robot", content: "x" }] }, "'messages[0].role'"],
    [{ options: { num_ctx: 2 }, truncate: false }, "'options.num_ctx' holds 2"],
    [{ options: { mirostat: 3 } }, "'options.mirostat'"],
    [{ options: { temperature: "hot" } }, "'options.temperature'"],
  ])("chat with %j", async (fields, words) => {
    const [status, error] = await refusal(server.url, "/api/chat", { ...request, ...fields })
    expect([status, error]).toEqual([400, expect.stringContaining(words)])
  })

  test.each([
    [{ template: "{{ if .System }}{{ .System }}{{ end }}" }, "'template'"],
    [{ images: ["aGk="] }, "'images'"],
    [{ raw: true, system: "x" }, "'system': cannot be combined with raw"],
    [{ suffix: "x", context: [1] }, "'context': cannot be combined with suffix"],
  ])("generate with %j", async (fields, words) => {
    const [status, error] = await refusal(server.url, "/api/generate", { model: "script", prompt: "x", ...fields })
    expect([status, error]).toEqual([400, expect.stringContaining(words)])
  })

  test("unknown models and routes, wrong methods, a full queue, and a missing key", async () => {
    const { url } = server
    expect(await refusal(url, "/api/chat", { ...request, model: "other" })).toEqual([
      404,
      expect.stringContaining("'other' is not served"),
    ])
    expect(await refusal(url, "/api/nothing", {})).toEqual([404, expect.stringContaining("No route POST /api/nothing")])
    await expect(ollamaOf(url).chat({ ...request, model: "other" })).rejects.toMatchObject({ status_code: 404 })
    const wrong = await fetch(`${url}/api/chat`)
    expect([wrong.status, wrong.headers.get("allow"), await wrong.json()]).toEqual([
      405,
      "POST",
      { error: expect.any(String) },
    ])
    await using busy = await serveScript({ tokens: [], refusal: new OverloadedError("too many wait", "queue_full", 3) })
    for (const stream of [true, false]) {
      const response = await curl(`${busy.url}/api/chat`, { ...request, stream })
      expect([response.status, response.headers.get("retry-after")]).toEqual([429, "3"])
    }
    await using locked = await serveScript({ tokens: saying("x") }, { apiKeys: [{ name: "a", key: "secret" }] })
    expect((await refusal(locked.url, "/api/chat", request))[0]).toBe(401)
    const keyed = new Ollama({ host: locked.url, headers: { authorization: "Bearer secret" } })
    expect((await keyed.chat({ ...request })).message.content).toBe("x")
  })

  test("a form body is accepted from curl, and refused from a cross-origin page", async () => {
    const form = { "content-type": "application/x-www-form-urlencoded" }
    expect((await curl(`${server.url}/api/chat`, request, form)).status).toBe(200)
    for (const [name, value] of [
      ["origin", "https://web.example"],
      ["sec-fetch-site", "cross-site"],
    ] as const) {
      const response = await curl(`${server.url}/api/chat`, request, { ...form, [name]: value })
      expect([response.status, (await response.json()).error]).toEqual([415, expect.stringContaining("content-type")])
    }
  })
})
