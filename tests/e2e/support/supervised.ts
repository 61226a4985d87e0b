/** Requests to engines in child processes, and observation of those processes. */

import { afterAll } from "bun:test"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { ENGINE_COMMAND, type SuperviseOptions, superviseModel } from "../../../src/engine/process/index.ts"
import { SupervisedEngine, type SupervisedEngineOptions } from "../../../src/engine/process/supervised-engine.ts"
import { type Engine, type EngineEvent, type GenerateRequest, GREEDY } from "../../../src/engine/types.ts"
import type { FakeClock } from "../../support/clock.ts"
import { FAULTS, FaultFiles } from "./faults.ts"

/** Back-off options for restarts without a delay. */
const AT_ONCE = { firstMs: 0, maxMs: 0, healthyMs: 0 }

let ids = 0

export const request = (tokens: number[], changes: Partial<GenerateRequest> = {}): GenerateRequest => ({
  id: `r${ids++}`,
  tokens: Int32Array.from(tokens),
  sampling: GREEDY,
  maxTokens: 8,
  stopTokens: new Set(),
  ...changes,
})

/** A request that waits at the gate of `faulty-engine.ts` after its third token. */
export const gated = (changes: Partial<GenerateRequest> = {}): GenerateRequest =>
  request([FAULTS.gate - 3], { maxTokens: 60, ...changes })

export interface Outcome {
  events: EngineEvent[]
  tokens: number[]
  ends: Extract<EngineEvent, { type: "end" }>[]
  error: unknown
}

/** Reads a request up to its last `end`, or its error. */
export async function outcome(
  engine: Engine,
  asked: GenerateRequest,
  { signal, onToken }: { signal?: AbortSignal; onToken?: () => void } = {},
): Promise<Outcome> {
  const result: Outcome = { events: [], tokens: [], ends: [], error: undefined }
  try {
    for await (const event of engine.generate(asked, signal)) {
      result.events.push(event)
      if (event.type === "end") result.ends.push(event)
      else if (event.type === "token") {
        result.tokens.push(event.token)
        onToken?.()
      }
    }
  } catch (error) {
    result.error = error
  }
  return result
}

/** A supervised tiny model on the CPU, and the lines that its supervisor reported. */
export async function supervise(path: string, options: SuperviseOptions = {}) {
  const reports: string[] = []
  const onReport = (line: string) => reports.push(line)
  const model = await superviseModel(path, { device: "cpu", threads: 1, backOff: AT_ONCE, onReport, ...options })
  return { model, engine: model.engine, reports }
}

/** Starts a {@link gated} request, and waits until the engine process is at the gate. @returns the promise of its outcome */
export async function atGate(engine: Engine, asked = gated()): Promise<{ outcome: Promise<Outcome> }> {
  const three = Promise.withResolvers<void>()
  let n = 0
  const found = outcome(engine, asked, {
    onToken: () => {
      if (++n === 3) three.resolve()
    },
  })
  await Promise.race([three.promise, found])
  return { outcome: found }
}

const folders: FaultFiles[] = []
afterAll(() => {
  for (const files of folders) files.remove()
})

/** A supervised engine without a model. Tokens of a prompt and `files` make it misbehave; see `faults.ts`. */
export function superviseFaulty(options: Partial<SupervisedEngineOptions> = {}) {
  const reports: string[] = []
  const files = new FaultFiles()
  folders.push(files)
  const engine = new SupervisedEngine({
    path: "none",
    name: "faulty",
    load: {},
    command: [process.execPath, join(import.meta.dir, "faulty-engine.ts"), ENGINE_COMMAND, files.folder],
    onReport: (line) => reports.push(line),
    backOff: AT_ONCE,
    ...options,
  })
  return { engine, reports, files }
}

export const openFiles = (): number => readdirSync("/proc/self/fd").length

/** Process ids of this process's children. */
export const children = (): number[] =>
  readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").split(" ").filter(Boolean).map(Number)

/** Whether a process runs. A zombie does not. */
export function isAlive(pid: number): boolean {
  try {
    // The state follows the command's name, which is in parentheses.
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))
  } catch {
    return false
  }
}

/** Waits for another process. The limit is below that of a test (120 s), so that the error names the condition. */
export async function until(what: string, condition: () => boolean, limitMs = 110_000): Promise<void> {
  const end = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`)
    await Bun.sleep(2)
  }
}

/** Advances the clock by `ms` repeatedly until the condition holds. */
export async function turnUntil(clock: FakeClock, ms: number, condition: () => boolean): Promise<void> {
  while (!condition()) {
    await clock.advance(ms)
    await Bun.sleep(1)
  }
}

/** Awaits a promise that other processes settle, while the clock stands still. Timers of 0 ms fire. */
export async function settled<T>(clock: FakeClock, promise: Promise<T>): Promise<T> {
  let over = false
  const mark = () => {
    over = true
  }
  promise.then(mark, mark)
  await turnUntil(clock, 0, () => over)
  return promise
}
