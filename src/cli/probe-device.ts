import { BACKENDS, chooseDevice } from "../engine/device.ts"
import { fromWire, toWire, type WireError } from "../engine/process/wire-error.ts"
import { libraryPath } from "../native/library.ts"
import { programCommand } from "../program.ts"
import type { CommandSpec } from "./command.ts"
import { CommandError, EXIT } from "./exit.ts"
import { printLine } from "./output.ts"

/** A device that was found, by a name that `chooseDevice` takes. */
interface ProbedDevice {
  device: string
  /** Why `auto` did not take a GPU. */
  note?: string
  /** Bytes. */
  memory_free: number
}

/** The hidden command that looks for a device on behalf of another process, and prints what it found, or the error. */
const PROBE_COMMAND = "__device"

/**
 * Finds a device without opening a GPU in this process, which would hold memory there, and could go down with it.
 * @throws DeviceError as `chooseDevice` does.
 */
export async function probeDevice(request: string): Promise<ProbedDevice> {
  if (request === "cpu" || BACKENDS.every((backend) => backend === "cpu" || !isBuilt(backend))) return choose(request)
  const child = Bun.spawn([...programCommand(), PROBE_COMMAND, request], { stdin: "ignore", stderr: "inherit" })
  const [text, code] = await Promise.all([new Response(child.stdout).text(), child.exited])
  if (code !== 0) throw new CommandError(`looking for the device ${request} ended with code ${code}`)
  const answer = JSON.parse(text) as { found: ProbedDevice } | { error: WireError }
  if ("error" in answer) throw fromWire(answer.error)
  return answer.found
}

export const probe: CommandSpec = {
  name: PROBE_COMMAND,
  usage: "DEVICE",
  summary: "Look for a device on behalf of the server",
  hidden: true,
  examples: [],
  options: [],
  run: async (_command, [request = "auto"]) => {
    await printLine(JSON.stringify(attempt(request)))
    return EXIT.ok
  },
}

function attempt(request: string): { found: ProbedDevice } | { error: WireError } {
  try {
    return { found: choose(request) }
  } catch (error) {
    return { error: toWire(error) }
  }
}

function choose(request: string): ProbedDevice {
  const { backend, index, library, note } = chooseDevice(request)
  const device = backend === "cpu" ? "cpu" : `${backend}:${index}`
  return { device, memory_free: library.deviceInfo(index).memoryFree, ...(note !== undefined && { note }) }
}

function isBuilt(backend: (typeof BACKENDS)[number]): boolean {
  try {
    libraryPath(backend)
    return true
  } catch {
    return false // chooseDevice says why, where it matters
  }
}
