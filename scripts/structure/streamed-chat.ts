/** Answers some streamed chats, or none. `chat-path.ts` runs it under `bun test`, because only `bun test` counts lines. */

import { expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"

const { CHAT_PATH_ROOT: root = "", CHAT_PATH_ENGINE: engine, CHAT_PATH_CHATS: chats } = process.env

test("streamed chats", async () => {
  const { writeTinyModel } = await import(join(root, "tests/support/tiny-model.ts"))
  const { loadModel } = await import(join(root, "src/engine/load.ts"))
  const { superviseModel } = await import(join(root, "src/engine/process/index.ts"))
  const { createServer } = await import(join(root, "src/server/app.ts"))
  const folder = await mkdtemp(join(tmpdir(), "rocmforge-streamed-chat-"))
  const path = join(folder, "tiny.gguf")
  await writeTinyModel(path)
  const command = [process.execPath, join(root, "src/cli.ts"), "__engine", "tiny"]
  const model = await (engine === "child" ? superviseModel(path, { command }) : loadModel(path))
  const app = createServer({ models: [model] })
  const server = Bun.serve({ port: 0, fetch: (request, server) => app.handle(request, server) })
  const messages = '[{"role": "user", "content": "Why is the sky blue?"}]'
  const body = `{"model": "${model.name}", "messages": ${messages}, "max_tokens": 8, "ignore_eos": true, "stream": true}`
  for (let i = 0; i < Number(chats); i++) {
    const headers = { "content-type": "application/json" }
    const response = await fetch(new URL("/v1/chat/completions", server.url), { method: "POST", headers, body })
    expect(await response.text()).toEndWith("data: [DONE]\n\n")
  }
  await server.stop(true)
  app.close()
  await model.close()
  await rm(folder, { recursive: true })
})
