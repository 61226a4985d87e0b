/**
 * The server under test, as a separate process: `bun server.ts MODEL ENGINE`. ENGINE is `inside`, or `apart` for an engine in a child
 * process, as with `rocmforge serve`; `bun server.ts MODEL child` is that child. Prints its port, and the engine's process id if the
 * engine has a process of its own. Exits when its standard input closes.
 */

import { joinModel, readModel } from "../../../src/engine/load.ts"
import { runEngineProcess } from "../../../src/engine/process/child.ts"
import { superviseModel } from "../../../src/engine/process/index.ts"
import type { LoadedEngine } from "../../../src/engine/types.ts"
import { createLog, startServer } from "../../../src/server/index.ts"
import { NullEngine } from "./null-engine.ts"

/** The text that every answer repeats. */
const TEXT =
  "The sky is blue because the air scatters short waves of light far more than long ones (Rayleigh, 1871). At dusk the light has a longer way, and what is left of it is red.\n"

async function nullEngine(path: string): Promise<LoadedEngine> {
  const { tokenizer, definition } = await readModel(path)
  const engine = new NullEngine(tokenizer.encode(TEXT), definition.config.nVocab)
  return { engine, device: { backend: "none", name: "nothing" }, threads: 1, memory: { weights: 0, cache: 0 } }
}

const [path, place] = process.argv.slice(2) as [string, "inside" | "apart" | "child"]
if (place === "child") runEngineProcess(nullEngine)
else {
  const command = [process.execPath, import.meta.path, path, "child"]
  const model =
    place === "inside"
      ? joinModel(await readModel(path), await nullEngine(path), "null")
      : await superviseModel(path, { name: "null", command })
  const log = createLog({ format: "text", level: "info", write: (line) => process.stderr.write(line) })
  const server = await startServer({ models: [model], port: 0, log })
  console.log(
    JSON.stringify({ port: Number(new URL(server.url).port), engine: "pid" in model.engine ? model.engine.pid : null }),
  )
  for await (const _ of Bun.stdin.stream());
  await server.stop()
  await model.close()
  process.exit(0)
}
