import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { ENGINE_COMMAND, type SuperviseOptions, superviseModel } from "../../../src/engine/process/index.ts"
import { SupervisedEngine, type SupervisedEngineOptions } from "../../../src/engine/process/supervised-engine.ts"
import { type Engine, type EngineEvent, type GenerateRequest, GREEDY } from "../../../src/engine/types.ts"

/** Restarts without a wait. */
export const AT_ONCE = { firstMs: 1, maxMs: 1, healthyMs: 0 }

let ids = 0

export const request = (tokens: number[], changes: Partial<GenerateRequest> = {}): GenerateRequest => ({
  id: `r${ids++}`,
  tokens: Int32Array.from(tokens),
  sampling: GREEDY,
  maxTokens: 8,
  stopTokens: new Set(),
  ...changes,
})

export interface Outcome {
  events: EngineEvent[]
  tokens: number[]
  ends: Extract<EngineEvent, { type: "end" }>[]
  error: unknown
}

/** Reads a request to its end, which is events or an error, never both and never neither. */
export async function outcome(
  engine: Engine,
  wanted: GenerateRequest,
  { signal, onToken }: { signal?: AbortSignal; onToken?: () => void } = {},
): Promise<Outcome> {
  const result: Outcome = { events: [], tokens: [], ends: [], error: undefined }
  try {
    for await (const event of engine.generate(wanted, signal)) {
      result.events.push(event)
      if (event.type === "end") result.ends.push(event)
      else {
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

/** A supervised engine without a model, whose steps misbehave when a prompt says so; see `faulty-engine.ts`. */
export function superviseFaulty(options: Partial<SupervisedEngineOptions> = {}, ...script: string[]) {
  const reports: string[] = []
  const engine = new SupervisedEngine({
    path: "none",
    name: "faulty",
    load: {},
    command: [process.execPath, join(import.meta.dir, "faulty-engine.ts"), ENGINE_COMMAND, ...script],
    onReport: (line) => reports.push(line),
    backOff: AT_ONCE,
    ...options,
  })
  return { engine, reports }
}

export const openFiles = (): number => readdirSync("/proc/self/fd").length

/** Processes whose parent this one is. */
export const children = (): number[] =>
  readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").split(" ").filter(Boolean).map(Number)

/** A process that has ended is not alive, even if nobody has asked for its exit code. */
export function isAlive(pid: number): boolean {
  try {
    // The state follows the command's name, which stands in parentheses.
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))
  } catch {
    return false
  }
}

export async function until(what: string, condition: () => boolean, limitMs = 10_000): Promise<void> {
  const end = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`)
    await Bun.sleep(2)
  }
}
