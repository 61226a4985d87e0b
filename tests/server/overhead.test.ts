/**
 * The server's own cost, over an engine that computes nothing, held to a third of what `bun tests/bench/http.ts` holds an idle machine to.
 * What is counted is the server's processor time, so that others on the machine disturb it little.
 */

import { expect, setDefaultTimeout, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { FLOORS, measureHttp } from "../bench/http/measure.ts"
import { writeTinyModel } from "../support/tiny-model.ts"

setDefaultTimeout(60_000)

test.each(["inside", "apart"] as const)(
  "the engine is %s: chat answers and streamed tokens in a second of processor time",
  async (engine) => {
    const folder = await mkdtemp(join(tmpdir(), "rocmforge-overhead-"))
    try {
      const model = join(folder, "tiny.gguf")
      await writeTinyModel(model)
      const tokens = { chat: 16, stream: 256 }
      const { chat, stream } = await measureHttp({ model, engine, seconds: 0.5, tokens, pinned: false })
      expect(1e6 / chat.serverUs).toBeGreaterThan(FLOORS.chat / 3)
      expect(1e6 / stream.serverUs).toBeGreaterThan(FLOORS.stream / 3)
    } finally {
      await rm(folder, { recursive: true })
    }
  },
)
