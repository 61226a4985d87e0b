import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import type { Browser, Page } from "playwright-core"
import { launchBrowser, visit } from "./support/browser.ts"
import { type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

let browser: Browser
let server: ScriptedServer

beforeAll(async () => {
  server = await serveScript({ tokens: saying("hello") })
  browser = await launchBrowser()
})
afterAll(async () => {
  await browser.close()
  await server[Symbol.asyncDispose]()
})

/** The element of a field on a model card. */
const field = (page: Page, name: string) => page.locator(`#models article [data-field="${name}"]`)

describe("the status page", () => {
  test.each(["light", "dark"] as const)("shows the model and refreshes, in %s", async (scheme) => {
    await using visited = await visit(browser, server.url, { colorScheme: scheme })
    const { page, complaints } = visited
    await field(page, "id").waitFor()
    expect(await field(page, "id").textContent()).toBe("script")
    expect(await field(page, "device").textContent()).toBe("script · cpu: script")
    expect(await field(page, "state").textContent()).toBe("ready")
    expect(await field(page, "blocks").textContent()).toBe("64 of 64 KV blocks free")
    expect(await page.locator("#example").textContent()).toContain(`curl -N ${server.url}/v1/chat/completions`)
    expect(await page.locator("#origins").textContent()).toContain("none. Start it with --cors-origin")

    server.engine.running = 2
    await page.waitForFunction(() => document.querySelector('[data-field="running"]')?.textContent === "2 of 4")
    server.engine.running = 0
    expect(complaints).toEqual([])
  })

  test("reports that the server is gone", async () => {
    const own = await serveScript({ tokens: saying("hello") })
    const page = await browser.newPage()
    await page.goto(own.url)
    await page.locator("#state.ok").waitFor()
    await own[Symbol.asyncDispose]()
    await page.locator("#state.down").waitFor()
    await page.close()
  })
})

test("the API reference lists every endpoint and describes the request", async () => {
  await using visited = await visit(browser, `${server.url}/swagger`)
  const { page, complaints } = visited
  await page.locator(".opblock").first().waitFor()
  expect(
    (await page.locator(".opblock-summary-path").allTextContents()).map((path) => path.replaceAll("\u200b", "")),
  ).toEqual([
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/responses/input_tokens",
    "/v1/responses/{id}",
    "/v1/responses/{id}",
    "/v1/responses/{id}/cancel",
    "/v1/responses/{id}/input_items",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/api/chat",
    "/api/generate",
    "/api/version",
    "/api/tags",
    "/api/ps",
    "/api/show",
    "/api/embed",
    "/api/embeddings",
    "/api/pull",
    "/chat/completions",
    "/chat/completions/input_tokens",
    "/v1/chat/completions/input_tokens",
    "/completion",
    "/completions",
    "/infill",
    "/embedding",
    "/embeddings",
    "/rerank",
    "/reranking",
    "/v1/rerank",
    "/v1/reranking",
    "/props",
    "/slots",
    "/lora-adapters",
    "/models",
    "/models/load",
    "/models/unload",
    "/slots/{id}",
    "/score",
    "/v1/score",
    "/pooling",
    "/version",
    "/load",
    "/v1/models",
    "/v1/models/{model}",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/health",
    "/ready",
    "/metrics",
  ])
  await page.locator(".opblock-summary-control").first().click()
  // The form is filled in after it opens.
  await page.locator(".opblock-body", { hasText: "max_completion_tokens" }).waitFor()
  expect(complaints).toEqual([])
})
