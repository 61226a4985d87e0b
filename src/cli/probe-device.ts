import { BACKENDS, chooseDevice } from "../engine/device.ts"
import { fromWire, toWire, type WireError } from "../engine/process/wire-error.ts"
import { libraryPath } from "../native/library.ts"
import { programCommand } from "../program.ts"
import type { CommandSpec } from "./command.ts"
import { CommandError, EXIT } from "./exit.ts"
import { printLine } from "./output.ts"

/** A device that was found. `device` is a name that `chooseDevice` accepts. */
interface ProbedDevice {
  device: string
  /** Why `auto` did not choose a GPU. */
  note?: string
  /** Bytes. */
  memory_free: number
}

/** The hidden command that finds a device for another process and prints the device or the error as JSON. */
const PROBE_COMMAND = "__device"

/**
 * Finds a device without opening a GPU in this process: an open GPU holds memory, and a fault in its driver would end the server.
 * @throws DeviceError as `chooseDevice` does.
 */
export async function probeDevice(request: string): Promise<ProbedDevice> {
  if (request === "cpu" || BACKENDS.every((backend) => backend === "cpu" || !isBuilt(backend))) return choose(request)
  const child = Bun.spawn([...programCommand(), PROBE_COMMAND, request], { stdin: "ignore", stderr: "inherit" })
  const [text, code] = await Promise.all([new Response(child.stdout).text(), child.exited])
  if (code !== 0) throw new CommandError(`the search for device ${request} failed with exit code ${code}`)
  const answer = JSON.parse(text) as { found: ProbedDevice } | { error: WireError }
  if ("error" in answer) throw fromWire(answer.error)
  return answer.found
}

export const probe: CommandSpec = {
  name: PROBE_COMMAND,
  usage: "DEVICE",
  summary: "Find a device for the server",
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
    return false // chooseDevice reports the reason when the backend is requested
  }
}
