/** The examples of the API reference work unchanged: as requests, and in a browser without internet access. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import type { Browser, Page } from "playwright-core"
import { createLog } from "../../src/server/index.ts"
import { post as postTo, serveTiny, type TestServer } from "../support/http.ts"
import { type Operation, operationsOf } from "./support/api-document.ts"
import { launchBrowser, visit } from "./support/browser.ts"
import { selfSigned } from "./support/certificate.ts"
import { saying, serveScript } from "./support/script-model.ts"

let server: TestServer
let browser: Browser
/** The operations with an example body. */
let examples: Operation[]

beforeAll(async () => {
  server = await serveTiny({ model: { context_length: 2048 } })
  browser = await launchBrowser()
  examples = (await operationsOf(server.url)).filter(({ body }) => body?.example !== undefined)
})
afterAll(async () => {
  await browser.close()
  await server[Symbol.asyncDispose]()
})

const post = (path: string, body: object) => postTo(server.url + path, body)

/** Routes that need an ability that this model, or this server, does not have. */
const ABILITIES: ReadonlySet<string> = new Set(["/infill", "/rerank", "/reranking", "/v1/rerank", "/v1/reranking"])

describe("the examples", () => {
  test("exist for every body", async () => {
    const bodies = (await operationsOf(server.url)).filter(({ body }) => body !== undefined)
    expect(bodies.length).toBeGreaterThan(7)
    expect(bodies.filter(({ body }) => body?.example === undefined).map(({ path }) => path)).toEqual([])
  })

  test("work unchanged, and name the served model", async () => {
    // A slot is named by its path, whose example is not filled in here.
    for (const { path, body } of examples.filter(({ path }) => path !== "/slots/{id}")) {
      expect(body?.example).toMatchObject({ model: server.model.name })
      const response = await post(path, body?.example ?? {})
      const answer = await response.text()
      // The tiny model cannot rank or fill gaps.
      if (ABILITIES.has(path)) expect([path, response.status]).toEqual([path, 501])
      else expect([path, response.status, response.ok || answer]).toEqual([path, 200, true])
    }
  })

  test("work streamed, if the operation supports it", async () => {
    const streams = examples.filter(
      ({ body, path, responses }) =>
        body?.properties?.stream !== undefined &&
        !ABILITIES.has(path) &&
        Object.keys(responses[200]?.content ?? {}).length > 1,
    )
    expect(streams.length).toBeGreaterThan(2)
    for (const { path, body, responses } of streams) {
      const response = await post(path, { ...body?.example, stream: true })
      expect([path, response.status]).toEqual([path, 200])
      const type = response.headers.get("content-type")?.split(";")[0] ?? ""
      expect(Object.keys(responses[200]?.content ?? {})).toContain(type)
      expect(type).not.toBe("application/json")
      expect((await response.text()).split("\n").length).toBeGreaterThan(3)
    }
  })
})

const block = (page: Page, { tag, operationId }: Pick<Operation, "tag" | "operationId">) =>
  page.locator(`[id="operations-${tag}-${operationId}"]`)

/** Opens an operation, sends its example (or `body`), and returns the status and the body that the page shows. */
async function tryOut(page: Page, operation: Pick<Operation, "tag" | "operationId">, body?: object) {
  const own = block(page, operation)
  await own.locator(".opblock-summary-control").click()
  await own.locator(".try-out__btn").click()
  if (body !== undefined) await own.locator("textarea.body-param__text").fill(JSON.stringify(body))
  await own.locator(".execute").click()
  const answer = own.locator(".live-responses-table .response")
  await answer.waitFor()
  return {
    status: (await answer.locator(".response-col_status").textContent())?.trim().slice(0, 3),
    text: (await answer.locator(".highlight-code").first().textContent()) ?? "",
  }
}

describe("in a browser", () => {
  const TRIED = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages", "/tokenize"]

  test("examples can be tried out without internet access", async () => {
    await using visited = await visit(browser, `${server.url}/swagger`)
    const { page, complaints } = visited
    await page.locator(".opblock").first().waitFor()
    const tried = examples.filter(({ path }) => TRIED.includes(path))
    expect(tried).toHaveLength(TRIED.length)
    for (const operation of tried) {
      const { status, text } = await tryOut(page, operation)
      expect([operation.path, status, text.length > 2]).toEqual([operation.path, "200", true])
    }
    expect(complaints).toEqual([])
  })

  test("a stream can be tried out", async () => {
    await using visited = await visit(browser, `${server.url}/swagger`)
    const chat = examples.find(({ path }) => path === "/v1/chat/completions")
    if (chat === undefined) throw new Error("the description has no chat")
    await visited.page.locator(".opblock").first().waitFor()
    const { status, text } = await tryOut(visited.page, chat, { ...chat.body?.example, stream: true })
    expect(status).toBe("200")
    expect(text).toContain("data: [DONE]")
  })

  test("the Authorize button makes requests send the entered key", async () => {
    const lines: string[] = []
    const log = createLog({ format: "json", level: "info", write: (line) => lines.push(line) })
    const apiKeys = [
      { name: "page", key: "sk-page" },
      { name: "button", key: "sk-button" },
    ]
    await using locked = await serveScript({ tokens: saying("hello") }, { apiKeys, log })
    await using visited = await visit(browser, `${locked.url}/swagger`, {
      httpCredentials: { username: "anyone", password: "sk-page" },
    })
    const { page } = visited
    await page.locator(".auth-wrapper .authorize").click()
    const bearer = page.locator(".auth-container", { hasText: "(http, Bearer)" })
    await bearer.locator("input").fill("sk-button")
    await bearer.locator(".authorize").click()
    await bearer.locator(".btn-done").click()
    const [models] = (await operationsOf(locked.url, { "x-api-key": "sk-page" })).filter(
      ({ method, path }) => method === "GET" && path === "/v1/models",
    )
    if (models === undefined) throw new Error("the description has no models")
    const { status, text } = await tryOut(page, models)
    expect(status).toBe("200")
    expect(text).toContain('"script"')
    const logged = lines.map((line) => JSON.parse(line) as { path: string; key?: string })
    expect(logged.filter(({ path }) => path === "/v1/models")).toMatchObject([{ key: "button" }])
    expect(logged.find(({ path }) => path === "/swagger/json")?.key).toBe("page")
  })

  test("it works over HTTPS", async () => {
    const { cert, key } = selfSigned()
    await using secure = await serveScript({ tokens: saying("hello") }, { tls: { cert, key } })
    await using visited = await visit(browser, `${secure.url}/swagger`, { ignoreHTTPSErrors: true })
    const chat = examples.find(({ path }) => path === "/v1/chat/completions")
    if (chat === undefined) throw new Error("the description has no chat")
    await visited.page.locator(".opblock").first().waitFor()
    expect((await tryOut(visited.page, chat)).text).toContain("hello")
    expect(visited.complaints).toEqual([])
  })
})
