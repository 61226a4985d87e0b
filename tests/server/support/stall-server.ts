/**
 * The server of stalls.test.ts, a child process over an engine that computes nothing: `bun stall-server.ts MODEL`. It sends its URL to
 * the parent process, and then answers each message with the longest turn of its event loop since the previous message.
 */

import { joinModel, readModel } from "../../../src/engine/load.ts"
import { startServer } from "../../../src/server/index.ts"
import { NullEngine } from "../../bench/http/null-engine.ts"

/** Processor times of the server's main thread, in milliseconds. */
export interface TurnTimes {
  /** The longest turn of the event loop. No other request is served during a turn. */
  readonly longest: number
  /** Duration of {@link referenceWork}, measured at the same time. */
  readonly reference: number
}

const numbers = JSON.stringify(Array.from({ length: 2 ** 20 }, (_, i) => i))

/** A fixed amount of typical server work, to measure the machine's speed: parses and serializes a million numbers as JSON. */
const referenceWork = () => JSON.stringify(JSON.parse(numbers))

const path = process.argv[2] ?? ""
const { tokenizer, definition } = await readModel(path)
const engine = new NullEngine(tokenizer.encode("hello"), definition.config.nVocab)
const device = { backend: "none", name: "nothing" }
const loaded = { engine, device, threads: 1, memory: { weights: 0, cache: 0 } }
const server = await startServer({ models: [joinModel(await readModel(path), loaded, "null")], port: 0 })

const cpuMs = () => {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}
let last = cpuMs()
let longest = 0
const endTurn = () => {
  const now = cpuMs()
  longest = Math.max(longest, now - last)
  last = now
}
setInterval(endTurn, 1)

process.on("message", () => {
  endTurn()
  referenceWork()
  const times: TurnTimes = { longest, reference: cpuMs() - last }
  process.send?.(times)
  longest = 0
  last = cpuMs()
})
process.on("disconnect", () => process.exit(0))
process.send?.(server.url)
