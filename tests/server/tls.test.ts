import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { createConnection } from "node:net"
import { connect } from "node:tls"
import OpenAI from "openai"
import { checkTls } from "../../src/server/index.ts"
import { until } from "../support/until.ts"
import { selfSigned } from "./support/certificate.ts"
import { type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

const { cert, key, privateKey } = selfSigned()
const chat = { model: "script", messages: [{ role: "user" as const, content: "hi" }], max_tokens: 5 }
const tls = { ca: cert }
const json = (body: unknown): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
})

describe("a server with a certificate", () => {
  let server: ScriptedServer
  beforeAll(async () => {
    // The idle timeout exceeds a test's limit, so that it cannot be what closes a connection.
    server = await serveScript({ tokens: saying("hello") }, { tls: { cert, key }, idleTimeout: 255 })
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const get = (path: string) => fetch(server.url + path, { tls })

  test("serves HTTPS to clients that trust its certificate", async () => {
    expect(server.url).toStartWith("https://127.0.0.1:")
    expect(fetch(`${server.url}/health`)).rejects.toThrow(/self.signed/i)
    expect(await (await get("/health")).json()).toMatchObject({ status: "ok" })
  })

  test("answers the official client, plain and streamed", async () => {
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0, fetchOptions: { tls } })
    const answer = await client.chat.completions.create(chat)
    expect(answer.choices[0]?.message.content).toBe("hello")
    let text = ""
    for await (const chunk of await client.chat.completions.create({ ...chat, stream: true }))
      text += chunk.choices[0]?.delta.content ?? ""
    expect(text).toBe("hello")
    expect((await client.models.list()).data[0]?.id).toBe("script")
    expect((await client.models.retrieve("script")).id).toBe("script")
  })

  test("serves every page and route", async () => {
    for (const path of ["/", "/swagger", "/swagger/json", "/swagger/assets/swagger-ui.js", "/ui/status.js", "/metrics"])
      expect([path, (await get(path)).status]).toEqual([path, 200])
    expect((await get("/v1/nowhere")).status).toBe(404)
    expect((await fetch(`${server.url}/health`, { method: "POST", tls })).status).toBe(405)
    const refused = await fetch(`${server.url}/v1/completions`, { ...json({ model: "script" }), tls })
    expect(((await refused.json()) as { error: { param: string } }).error.param).toBe("prompt")
  })

  /** Sends requests one after the other over one connection; answers arrive in the same order. */
  test.each(["localhost", "x", "ab", "a.very.long.host.example:1234"])(
    "keeps a connection to the host %s",
    async (host) => {
      const socket = connect({
        port: Number(new URL(server.url).port),
        host: "127.0.0.1",
        ca: cert,
        servername: "localhost",
      })
      let text = ""
      socket.on("data", (data) => {
        text += data
      })
      const answers = () => text.match(/HTTP\/1\.1 \d+/g) ?? []
      for (const [i, path] of ["/health", "/v1/models/script?x=https://y/z", "/nowhere"].entries()) {
        socket.write(`GET ${path} HTTP/1.1\r\nhost: ${host}\r\n\r\n`)
        await until(() => answers().length === i + 1)
      }
      expect(answers()).toEqual(["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 404"])
      socket.destroy()
    },
  )

  test("closes connections with plain HTTP or noise", async () => {
    const port = new URL(server.url).port
    for (const bytes of ["GET /health HTTP/1.1\r\nhost: x\r\n\r\n", "\u0016\u0003\u0001noise".repeat(100)]) {
      const answer = await new Promise<string>((resolve) => {
        let text = ""
        const socket = createConnection(Number(port), "127.0.0.1", () => socket.write(bytes))
        socket.on("data", (data) => {
          text += data.toString("latin1")
        })
        socket.on("error", () => {})
        socket.on("close", () => resolve(text))
      })
      expect(answer).not.toContain("HTTP/1.1 200")
    }
    expect(fetch(`http://127.0.0.1:${port}/health`)).rejects.toThrow()
    expect((await get("/health")).status).toBe(200)
  })
})

test("generation stops when a TLS client disconnects", async () => {
  await using server = await serveScript({ tokens: saying("hello"), stepMs: 5 }, { tls: { cert, key } })
  const stop = new AbortController()
  const body = { ...chat, max_tokens: 1000, ignore_eos: true, stream: true }
  const response = await fetch(`${server.url}/v1/chat/completions`, { ...json(body), tls, signal: stop.signal })
  await response.body?.getReader().read()
  expect(server.engine.running).toBe(1)
  stop.abort()
  await until(() => server.engine.running === 0)
  expect(server.engine.cancelled).toBe(1)
})

test("the idle timeout does not end a generation over TLS", async () => {
  // This runs in real time, because Bun itself measures the idle timeout, inexactly and in whole seconds.
  await using server = await serveScript(
    { tokens: saying("h"), stepMs: 2500 },
    { tls: { cert, key }, idleTimeout: 1, apiKeys: [{ name: "ada", key: "sk-1" }] },
  )
  const headers = { "content-type": "application/json", "x-api-key": "sk-1" }
  const response = await fetch(`${server.url}/v1/chat/completions`, { ...json(chat), headers, tls })
  expect(((await response.json()) as OpenAI.ChatCompletion).choices[0]?.message.content).toBe("h")
  expect((await fetch(`${server.url}/v1/models`, { tls })).status).toBe(401)
})

describe("a certificate and a key", () => {
  test("are read, with their expiry time", () => {
    expect(checkTls({ cert, key }).getTime()).toBeGreaterThan(Date.now() + 3000 * 24 * 3600 * 1000)
    expect(checkTls(selfSigned(-1)).getTime()).toBeLessThan(Date.now())
  })

  const encrypted = String(
    privateKey.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "secret" }),
  )
  const broken = cert.replace(/[A-Za-z0-9+/]{20}\n/, "\n")
  test.each([
    ["an encrypted key", { cert, key: encrypted }, "openssl pkey"],
    [
      "an encrypted key of the older form",
      {
        cert,
        key: "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAA==\n-----END RSA PRIVATE KEY-----\n",
      },
      "openssl pkey",
    ],
    ["a key of another certificate", { cert, key: selfSigned().key }, "does not belong to"],
    ["the two swapped", { cert: key, key: cert }, "swapped"],
    ["no certificate", { cert: "hello", key }, "-----BEGIN CERTIFICATE-----"],
    ["no key", { cert, key: "hello" }, "-----BEGIN PRIVATE KEY-----"],
    ["a broken certificate", { cert: broken, key }, "not a valid certificate"],
    ["a broken key", { cert, key: key.replace(/[A-Za-z0-9+/]{20}\n/, "\n") }, "not a valid private key"],
  ])("that cannot work are refused: %s", async (_, pair, message) => {
    const error = await serveScript({ tokens: [1] }, { tls: pair }).catch((thrown) => thrown)
    expect(error.name).toBe("TlsError")
    expect(error.message).toContain(message)
    expect(error.message).not.toContain("AA==")
  })
})
