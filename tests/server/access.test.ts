import { describe, expect, test } from "bun:test"
import { request as httpRequest } from "node:http"
import { createConnection } from "node:net"
import Anthropic from "@anthropic-ai/sdk"
import { Ollama } from "ollama"
import OpenAI from "openai"
import { parseKeyFile } from "../../src/server/index.ts"
import { saying, serveScript } from "./support/script-model.ts"

const chat = { model: "script", messages: [{ role: "user" as const, content: "hi" }], max_tokens: 2 }
const KEYS = [
  { name: "ada", key: "sk-ada-1" },
  { name: "bob", key: "sk-bob-2" },
]
const locked = () => serveScript({ tokens: saying("hello") }, { apiKeys: KEYS })

/** Sends raw bytes, and returns the whole answer. */
const raw = (url: string, text: string) =>
  new Promise<string>((resolve, reject) => {
    const socket = createConnection(Number(new URL(url).port), "127.0.0.1", () => socket.write(text))
    let answer = ""
    socket.on("data", (data) => {
      answer += data
    })
    socket.on("close", () => resolve(answer))
    socket.on("error", reject)
  })

describe("API keys", () => {
  const bearer = { authorization: "Bearer sk-ada-1" }

  /** Every route: those of the OpenAPI document, the pages, and the files that the pages load. */
  async function everyRoute(url: string): Promise<[method: string, path: string][]> {
    const get = async (path: string) => await (await fetch(url + path, { headers: bearer })).text()
    const { paths } = JSON.parse(await get("/swagger/json")) as { paths: Record<string, object> }
    const api = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method): [string, string] => [method.toUpperCase(), path.replaceAll(/[{}]/g, "")]),
    )
    const html = (await get("/")) + (await get("/swagger"))
    const assets = [...html.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, path = ""]) => path)
    expect(api.length).toBeGreaterThan(12)
    expect(assets).toContain("/swagger/assets/swagger-ui.js")
    const pages = new Set(["/", "/swagger", "/swagger/json", ...assets])
    return [...api, ...[...pages].map((path): [string, string] => ["GET", path])]
  }
  const isOpen = (path: string) => path === "/health" || path === "/ready"

  test("every route except /health and /ready requires a key, and so do unknown routes", async () => {
    await using server = await locked()
    const routes = await everyRoute(server.url)
    const unknown: [string, string][] = [
      ["GET", "/nope"],
      ["HEAD", "/v1/models"],
      ["OPTIONS", "/v1/models"],
      ["PATCH", "/v1/chat/completions"],
    ]
    for (const [method, path] of [...routes, ...unknown]) {
      const response = await fetch(server.url + path, { method })
      expect([method, path, response.status]).toEqual([method, path, isOpen(path) ? 200 : 401])
      if (!isOpen(path)) expect(response.headers.get("www-authenticate")).toStartWith("Bearer")
    }
    expect(server.engine.requests.length).toBe(0)
  })

  test.each<Record<string, string>>([bearer, { "x-api-key": "sk-bob-2" }, { "api-key": "sk-bob-2" }])(
    "every route accepts %j",
    async (headers) => {
      await using server = await locked()
      for (const [method, path] of await everyRoute(server.url)) {
        const response = await fetch(server.url + path, { method, headers })
        // The requests have no body, so a route may refuse them, but not because of the key.
        expect([method, path, response.status === 401]).toEqual([method, path, false])
      }
    },
  )

  test.each([
    ["GET //health HTTP/1.1", "x"],
    ["GET /health/ HTTP/1.1", "x"],
    ["GET /%68ealth HTTP/1.1", "x"],
    ["GET /health/../v1/models HTTP/1.1", "x"],
    ["GET http://x/health/../v1/models HTTP/1.1", "x"],
    ["GET /v1/models?x=http://x/health HTTP/1.1", "x"],
    ["GET /v1/models?x=http://x/health HTTP/1.1", ""],
    ["GET /v1/models?x=http://x/health HTTP/1.1", "x/health"],
    ["GET /v1/models HTTP/1.1", "x/health?"],
    ["GET /v1/models#/health HTTP/1.1", "x"],
    ["GET /health#/../v1/models HTTP/1.1", "x"],
  ])("%s to the host %j is no way around them", async (line, host) => {
    await using server = await locked()
    const answer = await raw(server.url, `${line}\r\nhost: ${host}\r\nconnection: close\r\n\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 40[01] /)
    expect(answer).not.toContain('"object":"list"')
  })

  test.each([
    ["authorization", "Bearer sk-ada-1"],
    ["authorization", "bearer   sk-bob-2"],
    ["x-api-key", "sk-bob-2"],
    ["authorization", `Basic ${btoa("anyone:sk-ada-1")}`],
  ])("%s: %s opens", async (name, value) => {
    await using server = await locked()
    expect((await fetch(`${server.url}/v1/models`, { headers: { [name]: value } })).status).toBe(200)
  })

  test.each([
    ["authorization", "Bearer sk-ada-"],
    ["authorization", "Bearer sk-ada-11"],
    ["authorization", "Bearer"],
    ["authorization", "sk-ada-1"],
    ["authorization", "Basic !!!"],
    ["authorization", `Basic ${btoa("sk-ada-1")}`],
    ["x-api-key", "ada"],
    ["api-key", "ada"],
  ])("%s: %s does not", async (name, value) => {
    await using server = await locked()
    const response = await fetch(`${server.url}/v1/models`, { headers: { [name]: value } })
    expect(response.status).toBe(401)
    const { error } = (await response.json()) as { error: { message: string; code: string; type: string } }
    expect(error).toMatchObject({ type: "invalid_request_error", code: "invalid_api_key" })
    expect(error.message).not.toContain("sk-")
  })

  test("a browser that opens a page is challenged for the key", async () => {
    await using server = await locked()
    const response = await fetch(server.url, { headers: { accept: "text/html,*/*" } })
    expect(response.status).toBe(401)
    expect(response.headers.get("www-authenticate")).toStartWith("Basic ")
  })

  test("the official client receives an answer, or its typed error for a wrong key", async () => {
    await using server = await locked()
    const client = (apiKey: string) => new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 })
    const error = await client("wrong")
      .chat.completions.create(chat)
      .catch((thrown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.AuthenticationError)
    const answer = await client("sk-bob-2").chat.completions.create(chat)
    expect(answer.choices[0]?.message.content).toBe("he")
  })

  test("Anthropic's client (by x-api-key or bearer token) and Ollama's client authenticate", async () => {
    await using server = await locked()
    const ask = (options: ConstructorParameters<typeof Anthropic>[0]) =>
      new Anthropic({ baseURL: server.url, maxRetries: 0, apiKey: null, authToken: null, ...options }).messages.create(
        chat,
      )
    for (const options of [{ apiKey: "sk-ada-1" }, { authToken: "sk-ada-1" }])
      expect((await ask(options)).content).toMatchObject([{ type: "text", text: "he" }])
    const error = await ask({ apiKey: "wrong" }).catch((thrown) => thrown)
    expect(error).toBeInstanceOf(Anthropic.AuthenticationError)
    expect(error.error).toMatchObject({ type: "error", error: { type: "authentication_error" } })

    const ollama = (key: string) => new Ollama({ host: server.url, headers: { authorization: `Bearer ${key}` } })
    expect((await ollama("sk-bob-2").list()).models.map(({ name }) => name)).toHaveLength(1)
    expect(ollama("wrong").list()).rejects.toThrow("API key")
  })

  test("the OpenAPI document describes the security schemes", async () => {
    await using server = await locked()
    const headers = { "x-api-key": "sk-ada-1" }
    const document = await (await fetch(`${server.url}/swagger/json`, { headers })).json()
    expect(document.security).toEqual([{ apiKey: [] }, { xApiKey: [] }])
    expect(document.components.securitySchemes.apiKey).toEqual({ type: "http", scheme: "bearer" })
    expect(document.components.securitySchemes.xApiKey).toEqual({ type: "apiKey", in: "header", name: "x-api-key" })
    expect(document.paths["/health"].get.security).toEqual([])
    expect(document.paths["/health"].get.responses["401"]).toBeUndefined()
    expect(document.paths["/v1/models"].get.security).toBeUndefined()
    expect(document.paths["/v1/models"].get.responses["401"]).toBeDefined()
  })

  test("invalid keys are refused at startup", async () => {
    const serve = (key: string, other = "sk-2") =>
      serveScript(
        { tokens: [1] },
        {
          apiKeys: [
            { name: "a", key },
            { name: "b", key: other },
          ],
        },
      )
    expect(serve("two words")).rejects.toThrow("printable ASCII")
    expect(serve("")).rejects.toThrow("printable ASCII")
    expect(serve("sk-2")).rejects.toThrow("one and the same")
  })

  test("a key file is parsed", () => {
    expect(parseKeyFile("# people\nada: sk-1\r\n\nsk-2\n", "keys.txt")).toEqual([
      { name: "ada", key: "sk-1" },
      { name: "line-4", key: "sk-2" },
    ])
    expect(() => parseKeyFile("# none\n", "keys.txt")).toThrow("keys.txt holds no API key")
    expect(() => parseKeyFile("ada:\n", "keys.txt")).toThrow("NAME:KEY")
  })
})

describe("cross-origin requests", () => {
  const origin = "https://chat.example"
  const preflight = (url: string, from: string) =>
    fetch(`${url}/v1/chat/completions`, {
      method: "OPTIONS",
      headers: {
        origin: from,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, x-stainless-os",
      },
    })

  test("are refused by default", async () => {
    await using server = await serveScript({ tokens: saying("hello") })
    const response = await preflight(server.url, origin)
    expect(response.status).toBe(405)
    expect([...response.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([])
    const get = await fetch(`${server.url}/v1/models`, { headers: { origin } })
    expect(get.headers.get("access-control-allow-origin")).toBeNull()
  })

  test("are allowed from listed origins, with a key", async () => {
    await using server = await serveScript({ tokens: saying("hello") }, { corsOrigins: [`${origin}/`], apiKeys: KEYS })
    const response = await preflight(server.url, origin)
    expect(response.status).toBe(200)
    expect(response.headers.get("access-control-allow-origin")).toBe(origin)
    expect(response.headers.get("access-control-allow-methods")).toBe("GET, POST, DELETE, OPTIONS")
    expect(response.headers.get("access-control-allow-headers")).toBe("authorization, content-type, x-stainless-os")
    expect(response.headers.get("vary")).toContain("Origin")

    const other = await preflight(server.url, "https://evil.example")
    // It may ask; without its name in the answer, its browser sends nothing more.
    expect(other.status).toBe(200)
    expect(other.headers.get("access-control-allow-methods")).toBeNull()
    expect(other.headers.get("access-control-allow-origin")).toBeNull()

    const headers = { origin, "x-api-key": "sk-ada-1" }
    const get = await fetch(`${server.url}/v1/models`, { headers })
    expect(get.headers.get("access-control-allow-origin")).toBe(origin)
    expect(get.headers.get("access-control-expose-headers")).toContain("x-request-id")
    const refused = await fetch(`${server.url}/v1/models`, { headers: { origin } })
    expect(refused.status).toBe(401)
    expect(refused.headers.get("access-control-allow-origin")).toBe(origin)
  })

  test("are allowed from all origins with *", async () => {
    await using server = await serveScript({ tokens: saying("hello") }, { corsOrigins: ["*"] })
    expect((await preflight(server.url, "null")).status).toBe(200)
    const get = await fetch(`${server.url}/health`, { headers: { origin: "https://any.example" } })
    expect(get.headers.get("access-control-allow-origin")).toBe("https://any.example")
  })
})

describe("limits", () => {
  /** A request with Host and exactly these headers. */
  const send = (url: string, headers: Record<string, string>) =>
    new Promise<{ status: number; text: string }>((resolve, reject) => {
      httpRequest(`${url}/v1/models`, { headers }, (response) => {
        let text = ""
        response.on("data", (data) => {
          text += data
        })
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }))
      })
        .on("error", reject)
        .end()
    })
  const headers = (count: number, size = 1) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-field-${i}`, "v".repeat(size)]))

  test("too many headers", async () => {
    await using server = await serveScript({ tokens: [1] })
    expect((await send(server.url, headers(90))).status).toBe(200)
    const { status, text } = await send(server.url, headers(120))
    expect(status).toBe(431)
    expect(JSON.parse(text).error.code).toBe("too_many_headers")
  })

  test("headers that are too large", async () => {
    await using server = await serveScript({ tokens: [1] })
    expect((await send(server.url, headers(1, 64 * 1024))).status).toBe(431)
    expect((await fetch(`${server.url}/health`)).status).toBe(200)
  })
})
