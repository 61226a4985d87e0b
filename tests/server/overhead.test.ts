/**
 * The server's own cost, over an engine that computes nothing, as a multiple of what a server without any API costs on the same machine.
 * Both are processor time. So the machine's speed does not count, and its load counts little; `bun tests/bench/http.ts` measures that.
 */

import { expect, test } from "bun:test"
import { join } from "node:path"
import { load } from "../bench/http/load.ts"
import { measureHttp } from "../bench/http/measure.ts"
import { withTinyModel } from "../support/tiny-model.ts"

/** In bare HTTP exchanges: three to four times the cost that the bench's `FLOORS` allow, with 13 µs for a bare exchange. */
const LIMITS = { chat: 100, stream: 4 }
/** Other programs only ever add to a cost, by caches that they share. So the lowest of some measurements counts. */
const ATTEMPTS = 3
/** Duration of one measurement, in milliseconds. Shorter ones would count mostly the compiler of the hot paths. */
const MS = 1000

/** Processor time of a bare HTTP exchange with a small JSON body, in microseconds. */
async function bareExchangeUs(): Promise<number> {
  let receive: (message: unknown) => void = () => {}
  const next = () =>
    new Promise<unknown>((resolve) => {
      receive = resolve
    })
  const started = next()
  const server = Bun.spawn([process.execPath, join(import.meta.dir, "support", "bare-server.ts")], {
    stdio: ["ignore", "ignore", "inherit"],
    ipc: (message) => receive(message),
  })
  const port = Number(await started)
  const usedMs = async () => {
    const message = next()
    server.send("used")
    return Number(await message)
  }
  const body = JSON.stringify({ model: "none", messages: [{ role: "user", content: "Why is the sky blue?" }] })
  const run = () => load({ port, connections: 64, body, stream: false, ms: MS })
  await run() // compiles the hot paths
  const before = await usedMs()
  const { requests } = await run()
  const used = (await usedMs()) - before
  server.disconnect()
  await server.exited
  return (used * 1000) / requests
}

test.each(["inside", "apart"] as const)("the engine is %s: chat answers and streamed tokens", async (engine) => {
  await using model = await withTinyModel()
  const tokens = { chat: 16, stream: 256 }
  const lowest = { chat: Number.POSITIVE_INFINITY, stream: Number.POSITIVE_INFINITY }
  for (let i = 0; i < ATTEMPTS && (lowest.chat >= LIMITS.chat || lowest.stream >= LIMITS.stream); i++) {
    const bareUs = await bareExchangeUs()
    const { chat, stream } = await measureHttp({ model: model.path, engine, seconds: MS / 1000, tokens, pinned: false })
    lowest.chat = Math.min(lowest.chat, chat.serverUs / bareUs)
    lowest.stream = Math.min(lowest.stream, stream.serverUs / bareUs)
  }
  expect(lowest.chat).toBeLessThan(LIMITS.chat)
  expect(lowest.stream).toBeLessThan(LIMITS.stream)
})
