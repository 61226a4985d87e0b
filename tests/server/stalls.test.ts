/**
 * Large requests do not delay others: the server processes them in threads, or in many short turns of its event loop. The longest turn
 * is measured in processor time of the server's main thread, which excludes other programs, and compared with a fixed amount of work
 * on the same thread, which cancels the machine's speed.
 */

import { afterAll, beforeAll, expect, test } from "bun:test"
import { join } from "node:path"
import { post } from "../support/http.ts"
import { type TinyModelFile, withTinyModel } from "../support/tiny-model.ts"
import type { TurnTimes } from "./support/stall-server.ts"

const million = 2 ** 20
const noise = (length: number) =>
  Array.from({ length }, (_, i) => String.fromCharCode(97 + ((i * i * 7919) % 25))).join("")
const words = (length: number) => "a quick fox, Straße 東京 12345; ".repeat(length / 25).slice(0, length)

let file: TinyModelFile
let server: Bun.Subprocess
let url: string
/** Resolves with the server's next message. */
let receive: (message: unknown) => void
const nextMessage = () =>
  new Promise<unknown>((resolve) => {
    receive = resolve
  })

beforeAll(async () => {
  file = await withTinyModel()
  const started = nextMessage()
  server = Bun.spawn([process.execPath, join(import.meta.dir, "support", "stall-server.ts"), file.path], {
    stdio: ["ignore", "ignore", "inherit"],
    ipc: (message) => receive(message),
  })
  url = String(await started)
})
afterAll(async () => {
  server.disconnect()
  await server.exited
  await file[Symbol.asyncDispose]()
})

/** Turns of the server's event loop since the previous call. */
async function turns(): Promise<TurnTimes> {
  const message = nextMessage()
  server.send("turns")
  return (await message) as TurnTimes
}

const completion = (prompt: unknown) => ({ prompt, max_tokens: 1 })
const chat = (fields: object) => ({ messages: [{ role: "user", content: "hi" }], max_tokens: 1, ...fields })

/** Other programs, and collections of garbage, only make a turn longer. So the shortest of up to this many requests counts. */
const TRIES = 5

/**
 * `limit`: how long the longest turn may be, in units of the reference work: two times to ten times the measured value, which is mostly
 * the parsing of the body and the writing of the answer. As one piece, the long word takes 3 units and many prompts take 6.
 */
const cases: [what: string, path: string, body: object, status: number, limit: number][] = [
  ["a prompt that is one long word", "/v1/completions", completion(noise(million)), 200, 1.5],
  ["a prompt of spaces", "/v1/completions", completion(" ".repeat(million / 2)), 200, 1],
  ["many prompts", "/v1/completions", completion(Array.from({ length: 64 }, () => words(60_000))), 200, 1.5],
  [
    "a long conversation",
    "/v1/chat/completions",
    chat({
      messages: Array.from({ length: 4000 }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: words(200) })),
    }),
    200,
    4,
  ],
  ["a field of 25 MB", "/v1/chat/completions", chat({ user: "x".repeat(25 * million) }), 200, 2.5],
  [
    "a million token ids",
    "/v1/completions",
    completion(Array.from({ length: million - 8 }, (_, i) => i % 256)),
    200,
    3,
  ],
  [
    "a quarter of them to decode",
    "/detokenize",
    { tokens: Array.from({ length: million / 4 }, (_, i) => i % 256) },
    200,
    1.2,
  ],
  ["a text of a million characters to encode", "/tokenize", { content: words(million) }, 200, 6],
  [
    "a bias for every token",
    "/v1/chat/completions",
    chat({ logit_bias: Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [i, 1])) }),
    400,
    4,
  ],
]

test.each(cases)("%s", async (_, path, body, status, limit) => {
  const json = JSON.stringify({ model: "null", ...body })
  let shortest = Number.POSITIVE_INFINITY
  for (let i = 0; i < TRIES && shortest >= limit; i++) {
    await turns()
    const response = await post(url + path, json)
    await response.arrayBuffer()
    expect(response.status).toBe(status)
    const { longest, reference } = await turns()
    shortest = Math.min(shortest, longest / reference)
  }
  expect(shortest).toBeLessThan(limit)
})
