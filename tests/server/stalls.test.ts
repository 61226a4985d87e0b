/** Large requests hold up no others: meanwhile, the server answers within a fraction of what they take. */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { writeTinyModel } from "../support/tiny-model.ts"

setDefaultTimeout(60_000)

/** Far above what an idle machine needs, far below what these requests take as one piece. */
const LONGEST_MS = 400

const million = 2 ** 20
const noise = (length: number) =>
  Array.from({ length }, (_, i) => String.fromCharCode(97 + ((i * i * 7919) % 25))).join("")
const words = (length: number) => "a quick fox, Straße 東京 12345; ".repeat(length / 25).slice(0, length)

let folder: string
let server: Bun.Subprocess<"pipe", "pipe", "ignore">
let url: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-stalls-"))
  const model = join(folder, "tiny.gguf")
  await writeTinyModel(model)
  // In a process of its own: what is made here takes time, too.
  const program = join(import.meta.dir, "..", "bench", "http", "server.ts")
  server = Bun.spawn([process.execPath, program, model, "inside"], { stdin: "pipe", stdout: "pipe", stderr: "ignore" })
  const { value } = await server.stdout.getReader().read()
  url = `http://127.0.0.1:${JSON.parse(new TextDecoder().decode(value)).port}`
})
afterAll(async () => {
  server.stdin.end()
  await server.exited
  await rm(folder, { recursive: true })
})

const post = (path: string, body: string) =>
  fetch(url + path, { method: "POST", headers: { "content-type": "application/json" }, body })

/** How long the slowest of other requests took while `work` ran. */
async function slowestBeside(work: () => Promise<unknown>): Promise<number> {
  let slowest = 0
  let over = false
  const watch = async () => {
    while (!over) {
      const start = performance.now()
      await (await fetch(`${url}/health`)).text()
      slowest = Math.max(slowest, performance.now() - start)
    }
  }
  const watching = watch()
  await work().finally(() => {
    over = true
  })
  await watching
  return slowest
}

const completion = (prompt: unknown) => ({ prompt, max_tokens: 1 })
const chat = (fields: object) => ({ messages: [{ role: "user", content: "hi" }], max_tokens: 1, ...fields })

const cases: [what: string, path: string, body: object, status: number][] = [
  ["a prompt that is one long word", "/v1/completions", completion(noise(million)), 200],
  ["a prompt of spaces", "/v1/completions", completion(" ".repeat(million / 2)), 200],
  ["many prompts", "/v1/completions", completion(Array.from({ length: 64 }, () => words(60_000))), 200],
  [
    "a long conversation",
    "/v1/chat/completions",
    chat({
      messages: Array.from({ length: 4000 }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: words(200) })),
    }),
    200,
  ],
  ["a field of 25 MB", "/v1/chat/completions", chat({ user: "x".repeat(25 * million) }), 200],
  ["a million token ids", "/v1/completions", completion(Array.from({ length: million - 8 }, (_, i) => i % 256)), 200],
  [
    "a quarter of them to decode",
    "/detokenize",
    { tokens: Array.from({ length: million / 4 }, (_, i) => i % 256) },
    200,
  ],
  ["a text of a million characters to encode", "/tokenize", { content: words(million) }, 200],
  [
    "a bias for every token",
    "/v1/chat/completions",
    chat({ logit_bias: Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [i, 1])) }),
    400,
  ],
]

test.each(cases)("%s", async (_, path, body, status) => {
  const json = JSON.stringify({ model: "null", ...body })
  let answer: Response | undefined
  const slowest = await slowestBeside(async () => {
    answer = await post(path, json)
    await answer.arrayBuffer()
  })
  expect(answer?.status).toBe(status)
  expect(slowest).toBeLessThan(LONGEST_MS)
})
