/**
 * The server under test: `bun tests/bench/clients/server.ts MODEL [PORT]` serves a model file under the name `real`, and beside it the
 * scripted model of script.ts as `scripted`. All of the server is the real one; the scripted model differs in its engine and template.
 */

import { joinModel, loadModel, readModel } from "../../../src/engine/load.ts"
import { createLog, ModelPool, startServer } from "../../../src/server/index.ts"
import { ChatTemplate } from "../../../src/text/chat-template.ts"
import { ALIASES } from "./clients.ts"
import { ScriptedEngine } from "./engine.ts"
import { SCRIPT_TEMPLATE } from "./script.ts"

/** As large as the clients assume that their own models are. */
const SCRIPTED_CONTEXT = 400_000

const [path = "", port = "0"] = process.argv.slice(2)
const file = await readModel(path)
const { config } = file.definition
const engine = new ScriptedEngine({
  tokenizer: file.tokenizer,
  path,
  nVocab: config.nVocab,
  width: config.hiddenSize,
  contextLength: SCRIPTED_CONTEXT,
})
const scripted = joinModel(
  { ...file, chatTemplate: new ChatTemplate(SCRIPT_TEMPLATE) },
  { engine, device: { backend: "none", name: "script" }, threads: 1, memory: { weights: 0, cache: 0 } },
  "scripted",
)
const real = await loadModel(path, { device: "cpu", name: "real", maxSeqs: 4 })
const log = createLog({
  format: "text",
  level: process.env.LOG_LEVEL === "debug" ? "debug" : "info",
  write: (line) => void process.stderr.write(line),
})
const pool = ModelPool.of([real, scripted])
for (const name of ALIASES) pool.alias(name, "scripted")
const server = await startServer({ models: pool, port: Number(port), log })
console.log(server.url)
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, async () => {
    await server.stop()
    await Promise.all([real.close(), scripted.close()])
    process.exit(0)
  })
