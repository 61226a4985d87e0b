/**
 * The server's own cost per request, over an engine that computes nothing, as a multiple of the cost of a bare HTTP server on the same
 * machine. Both are processor times, so the ratio hardly depends on the machine's speed and load. `bun tests/bench/http.ts` measures
 * absolute rates.
 */

import { expect, test } from "bun:test"
import { join } from "node:path"
import { load } from "../bench/http/load.ts"
import { measureHttp } from "../bench/http/measure.ts"
import { withTinyModel } from "../support/tiny-model.ts"

/** Highest cost in bare HTTP exchanges: three to four times the cost at the bench's `FLOORS`, if a bare exchange takes 13 µs. */
const LIMITS = { chat: 100, stream: 4 }
/** Number of measurements. The lowest counts, since other programs can only add to a cost (through shared caches). */
const ATTEMPTS = 3
/** Duration of one measurement, in milliseconds. A shorter one would mostly measure JIT compilation. */
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
