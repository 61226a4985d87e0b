/**
 * A program with a supervised engine; its arguments are MODEL and PORT. It prints its engine's process id and the tokens of one request,
 * then serves HTTP until it is killed. One test compiles it into an executable.
 */

import { ENGINE_COMMAND, superviseModel } from "../../../src/engine/process/index.ts"
import { GREEDY } from "../../../src/engine/types.ts"

if (process.argv[2] === ENGINE_COMMAND) await import("../../../src/cli.ts")
else {
  const [path = "", port = "0"] = process.argv.slice(2)
  const { engine } = await superviseModel(path, { device: "cpu", threads: 1 })
  const request = {
    id: "1",
    tokens: Int32Array.from([1, 2, 3]),
    sampling: GREEDY,
    maxTokens: 8,
    stopTokens: new Set<number>(),
  }
  const tokens: number[] = []
  for await (const event of engine.generate(request)) if (event.type === "token") tokens.push(event.token)
  const server = Bun.serve({ port: Number(port), fetch: () => new Response("here") })
  console.log(JSON.stringify({ pid: engine.pid, tokens, port: server.port, compiled: Bun.main.startsWith("/$bunfs/") }))
}
