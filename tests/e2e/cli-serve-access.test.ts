/** Keys, TLS, origins, logs and traces of `rocmforge serve`, from source and from a compiled executable. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test"
import { join } from "node:path"
import { selfSigned } from "../server/support/certificate.ts"
import { post } from "../support/http.ts"
import { writeTinyModel } from "../support/tiny-model.ts"
import { until } from "../support/until.ts"
import { cleanEnvironment, killLeftovers, listening, ROOT, runCli, startCli, temporaryFolder } from "./cli-runner.ts"

const folder = temporaryFolder("access")
const at = (name: string) => join(folder.path, name)
const model = at("tiny.gguf")
const { cert, key } = selfSigned()

beforeAll(async () => {
  await writeTinyModel(model)
  await Bun.write(at("cert.pem"), cert)
  await Bun.write(at("key.pem"), key)
  await Bun.write(at("other-key.pem"), selfSigned().key)
  await Bun.write(at("keys.txt"), "# who may come in\nada: sk-ada\n\nsk-nameless\n")
  await Bun.write(at("empty.txt"), "# nobody\n")
  await Bun.write(at("twice.txt"), "ada: sk-flag\n")
})
afterEach(killLeftovers)
afterAll(folder.remove)

type Child = ReturnType<typeof startCli>

async function served(child: Child) {
  return {
    url: await listening(child),
    /** Stops the server, and returns its standard error. */
    stop: async () => {
      child.kill("SIGTERM")
      const stderr = await new Response(child.stderr).text()
      expect(await child.exited).toBe(0)
      return stderr
    },
  }
}
const serve = (args: string[], env: Record<string, string> = {}) =>
  served(startCli(["serve", model, "--port", "0", ...args], { env }))

const bearer = (key: string) => ({ authorization: `Bearer ${key}` })
const statusFor = async (url: string, headers: Record<string, string> = {}) =>
  (await fetch(`${url}/v1/models`, { headers, tls: { ca: cert } })).status
const complete = (url: string, headers: Record<string, string> = {}, prompt = "whatnobodymayread") =>
  post(
    `${url}/v1/completions`,
    { model: "tiny", prompt, max_tokens: 3, ignore_eos: true },
    { headers, tls: { ca: cert } },
  )

describe("API keys", () => {
  test("are read from flags and a file, and the log names the key of a request", async () => {
    const { url, stop } = await serve(["--api-key", "sk-flag", "--api-key", "sk-two", "--api-key-file", at("keys.txt")])
    for (const key of ["sk-flag", "sk-two", "sk-ada", "sk-nameless"])
      expect(await statusFor(url, bearer(key))).toBe(200)
    expect(await statusFor(url, { "x-api-key": "sk-ada" })).toBe(200)
    expect(await statusFor(url)).toBe(401)
    expect(await statusFor(url, bearer("ada"))).toBe(401)
    expect((await complete(url, bearer("sk-ada"))).status).toBe(200)
    expect((await fetch(`${url}/health`)).ok).toBe(true)
    const stderr = await stop()
    expect(stderr).toMatch(/INFO {2}request method=POST path=\/v1\/completions status=200 .*tokens=3 .*key=ada/)
    expect(stderr).toMatch(/path=\/v1\/models status=200 .*key=key-1/)
    expect(stderr).not.toMatch(/sk-|whatnobodymayread|warning/)
  })

  test("are read from the environment", async () => {
    const { url, stop } = await serve([], { ROCMFORGE_API_KEY: "sk-env", ROCMFORGE_API_KEY_FILE: at("keys.txt") })
    expect(await statusFor(url)).toBe(401)
    expect(await statusFor(url, bearer("sk-env"))).toBe(200)
    expect(await statusFor(url, bearer("sk-ada"))).toBe(200)
    await stop()
  })

  test.each([
    ["0.0.0.0", [], true],
    ["0.0.0.0", ["--api-key-file", at("keys.txt")], false],
    ["localhost", [], false],
    ["127.0.0.2", [], false],
  ])("are missed on %s with %j: %p", async (host, args, missed) => {
    const { stop } = await serve(["--host", host, ...args])
    const stderr = await stop()
    expect(stderr.match(/warning: anyone who can reach/g)?.length ?? 0).toBe(missed ? 1 : 0)
    if (missed) expect(stderr).toContain("--api-key-file")
  })
})

test("--cors-origin allows pages of the listed origins", async () => {
  const { url, stop } = await serve([
    "--cors-origin",
    "https://chat.example",
    "--cors-origin",
    "http://localhost:3000/",
  ])
  const allowed = async (origin: string) =>
    (await fetch(`${url}/v1/models`, { headers: { origin } })).headers.get("access-control-allow-origin")
  for (const origin of ["https://chat.example", "http://localhost:3000"]) expect(await allowed(origin)).toBe(origin)
  expect(await allowed("https://evil.example")).toBeNull()
  await stop()
})

test("--log-format json makes every line of standard error one JSON object, --log-level filters them", async () => {
  const { url, stop } = await serve(["--log-format", "json", "--log-level", "debug", "--host", "0.0.0.0"])
  const local = url.replace("0.0.0.0", "127.0.0.1")
  await (await complete(local)).text()
  await fetch(`${local}/health`)
  const lines = (await stop()).trimEnd().split("\n")
  const said = lines.map((line) => JSON.parse(line) as { level: string; time: string; msg: string; path?: string })
  for (const { level, time } of said) expect([level, time]).toEqual([expect.any(String), expect.stringMatching(/Z$/)])
  expect(said).toContainEqual(
    expect.objectContaining({ level: "info", msg: "request", path: "/v1/completions", status: 200, tokens: 3 }),
  )
  expect(said).toContainEqual(expect.objectContaining({ level: "debug", msg: "request", path: "/health" }))
  expect(said.some(({ msg }) => msg.startsWith("warning: anyone who can reach 0.0.0.0"))).toBe(true)

  const quiet = await serve([], { ROCMFORGE_LOG_LEVEL: "error" })
  await (await complete(quiet.url)).text()
  expect(await quiet.stop()).not.toContain("request")
})

/** A receiver of traces over OTLP/HTTP. */
function traceReceiver() {
  const names: string[] = []
  const server = Bun.serve({
    port: 0,
    fetch: async (request) => {
      const body = (await request.json()) as { resourceSpans: { scopeSpans: { spans: { name: string }[] }[] }[] }
      for (const { scopeSpans } of body.resourceSpans)
        for (const { spans } of scopeSpans) for (const { name } of spans) names.push(name)
      return Response.json({})
    },
  })
  return { names, url: server.url.origin, [Symbol.dispose]: () => void server.stop(true) }
}

describe("traces", () => {
  test.each(["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])(
    "are sent to the endpoint in %s, the last ones at shutdown",
    async (variable) => {
      using receiver = traceReceiver()
      const endpoint = variable.includes("TRACES") ? `${receiver.url}/v1/traces` : receiver.url
      const { url, stop } = await serve([], { [variable]: endpoint })
      await (await complete(url)).text()
      await stop()
      expect(receiver.names).toEqual(["POST /v1/completions"])
    },
  )

  test("refused by the receiver are logged once; an unreachable receiver does not delay shutdown", async () => {
    let refusals = 0
    const refuse = () => {
      refusals++
      return new Response("no", { status: 404 })
    }
    using refusing = Bun.serve({ port: 0, fetch: refuse })
    const refused = await serve([], { OTEL_EXPORTER_OTLP_ENDPOINT: refusing.url.origin })
    for (let i = 0; i < 3; i++) {
      expect((await complete(refused.url)).status).toBe(200)
      await until(() => refusals > i) // the spans are sent before the next request
    }
    expect((await refused.stop()).match(/WARN {2}traces could not be sent/g)).toHaveLength(1)

    // With the exporter's own settings, shutdown would wait for an hour.
    using silent = Bun.listen({ port: 0, hostname: "127.0.0.1", socket: { data() {} } })
    const lost = await serve([], {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${silent.port}`,
      OTEL_EXPORTER_OTLP_TIMEOUT: "3600000",
      OTEL_BSP_EXPORT_TIMEOUT: "3600000",
    })
    expect((await complete(lost.url)).status).toBe(200)
    await lost.stop()
  })
})

test("--tls-cert and --tls-key serve HTTPS", async () => {
  const { url, stop } = await serve(["--tls-cert", at("cert.pem")], { ROCMFORGE_TLS_KEY: at("key.pem") })
  expect(url).toStartWith("https://127.0.0.1:")
  const response = await complete(url)
  expect(response.status).toBe(200)
  expect(((await response.json()) as { usage: { completion_tokens: number } }).usage.completion_tokens).toBe(3)
  expect(fetch(`${url.replace("https", "http")}/health`)).rejects.toThrow()
  await stop()
})

test("--max-body limits the size of a request body", async () => {
  const { url, stop } = await serve(["--max-body", "1K"])
  expect((await complete(url)).status).toBe(200)
  const response = await complete(url, {}, "x".repeat(1024))
  expect(response.status).toBe(413)
  expect(await response.text()).toContain("limit of 1024 bytes")
  await stop()
})

test("an expired certificate is served with a warning", async () => {
  const expired = selfSigned(-1)
  await Bun.write(at("expired.pem"), expired.cert)
  await Bun.write(at("expired-key.pem"), expired.key)
  const { stop } = await serve(["--tls-cert", at("expired.pem"), "--tls-key", at("expired-key.pem")])
  expect(await stop()).toContain("expired.pem expired on ")
})

test("invalid access settings are refused before a model is loaded", async () => {
  const tls = (cert: string, key: string) => ["--tls-cert", at(cert), "--tls-key", at(key)]
  const cases: [args: string[], message: string][] = [
    [["--api-key", "two words"], "printable ASCII"],
    [["--api-key", ""], "printable ASCII"],
    [["--api-key", "sk-1", "--api-key", "sk-1"], "one and the same"],
    [["--api-key", "sk-flag", "--api-key-file", at("twice.txt")], "one and the same"],
    [["--api-key-file", at("nowhere.txt")], "nowhere.txt cannot be read"],
    [["--api-key-file", at("empty.txt")], "holds no API key"],
    [["--cors-origin", "chat.example"], "https://chat.example"],
    [["--cors-origin", "https://chat.example/app"], "without a path"],
    [["--tls-cert", at("cert.pem")], "needs --tls-key"],
    [["--tls-key", at("key.pem")], "needs --tls-cert"],
    [tls("nowhere.pem", "key.pem"), "nowhere.pem cannot be read"],
    [tls("cert.pem", "other-key.pem"), "does not belong to"],
    [tls("key.pem", "cert.pem"), "swapped"],
    [["--max-body", "100"], "at least 1K"],
    [["--log-format", "xml"], "text or json"],
    [["--log-level", "loud"], "trace, debug, info"],
  ]
  for (const [args, message] of cases) {
    const { code, stderr } = await runCli(["serve", model, "--port", "0", ...args])
    expect(stderr).toContain(message)
    expect(stderr).not.toMatch(/ {4}at |two words|"sk-/)
    expect([args, code]).toEqual([args, 2])
  }
})

test("a compiled executable supports keys, HTTPS, JSON logs, traces, worker threads and the pages' files", async () => {
  const executable = at("rocmforge")
  const build = Bun.spawn([process.execPath, "build", "--compile", "src/cli.ts", "--outfile", executable], {
    cwd: ROOT,
    stdout: "ignore",
    stderr: "pipe",
  })
  const log = await new Response(build.stderr).text()
  expect({ code: await build.exited, log }).toMatchObject({ code: 0 })
  using receiver = traceReceiver()
  const env = cleanEnvironment({
    ROCMFORGE_API_KEY: "sk-env",
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    ROCMFORGE_LIBRARY_PATH: process.env.ROCMFORGE_LIBRARY_PATH ?? join(ROOT, "build"),
  })
  const tls = ["--tls-cert", at("cert.pem"), "--tls-key", at("key.pem")]
  const child = Bun.spawn([executable, "serve", model, "--port", "0", "--log-format", "json", ...tls], {
    cwd: folder.path,
    env,
    stdin: new Uint8Array(),
    stdout: "pipe",
    stderr: "pipe",
  })
  const { url, stop } = await served(child)
  expect(await statusFor(url)).toBe(401)
  expect((await complete(url, bearer("sk-env"))).status).toBe(200)
  const answerTo = async (path: string, body: object) => {
    const response = await post(url + path, body, { headers: bearer("sk-env"), tls: { ca: cert } })
    expect([path, response.status]).toEqual([path, 200])
    return await response.json()
  }
  // Both requests use worker threads, which the executable must be able to start.
  expect(await answerTo("/tokenize", { content: "x".repeat(100_000) })).toMatchObject({ count: expect.any(Number) })
  const form = { type: "json_schema", json_schema: { name: "form", schema: { enum: ["yes", "no"] } } }
  const asked = { model: "tiny", messages: [{ role: "user", content: "well?" }], response_format: form }
  const answer = (await answerTo("/v1/chat/completions", asked)) as { choices: { message: { content: string } }[] }
  expect(["yes", "no"]).toContain(JSON.parse(answer.choices[0]?.message.content ?? ""))
  for (const path of ["/", "/swagger", "/swagger/json", "/swagger/assets/swagger-ui.js", "/metrics"]) {
    const response = await fetch(url + path, { headers: bearer("sk-env"), tls: { ca: cert } })
    expect([path, response.status]).toEqual([path, 200])
    expect((await response.text()).length).toBeGreaterThan(500)
  }
  const lines = (await stop())
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { path?: string; key?: string })
  expect(lines).toContainEqual(expect.objectContaining({ path: "/v1/completions", key: "key-1" }))
  expect(receiver.names).toContain("POST /v1/completions")
})
