import { BACKENDS, deviceNames } from "../engine/device.ts"
import { NativeError } from "../native/errors.ts"
import { loadNative } from "../native/library.ts"
import type { CommandSpec } from "./command.ts"
import { EXIT } from "./exit.ts"
import { formatBytes } from "./format.ts"
import { refuseRest } from "./model-argument.ts"
import { readOptions } from "./options/commander.ts"
import { printLine } from "./output.ts"

type Listed =
  | {
      device: string
      usable: true
      name: string
      arch: string
      driver: string
      memory_total: number
      memory_free: number
      compute_units: number
      lanes: number
    }
  | { device: string; usable: false; reason: string }

export const devices: CommandSpec = {
  name: "devices",
  usage: "",
  summary: "List the devices that models can run on",
  examples: ["rocmforge devices", "rocmforge devices --json"],
  options: ["json"],
  run: async (command, positional) => {
    refuseRest(positional)
    const found = BACKENDS.flatMap(listBackend)
    if (readOptions(command, ["json"]).json) await printLine(JSON.stringify(found, null, 2))
    else await printLine(describe(found))
    return found.some((device) => device.usable) ? EXIT.ok : EXIT.device
  },
}

function listBackend(backend: (typeof BACKENDS)[number]): Listed[] {
  return attempt(backend, () => {
    const library = loadNative(backend)
    // Of a backend without devices, asking for the first gives the reason.
    const names = deviceNames(backend, Math.max(library.deviceCount(), 1))
    return names.flatMap((device, i) =>
      attempt(device, () => {
        const info = library.deviceInfo(i)
        return [
          {
            device,
            usable: true,
            name: info.name,
            arch: info.arch,
            driver: info.driver,
            memory_total: info.memoryTotal,
            memory_free: info.memoryFree,
            compute_units: info.computeUnits,
            lanes: info.lanes,
          },
        ]
      }),
    )
  })
}

function attempt(device: string, list: () => Listed[]): Listed[] {
  try {
    return list()
  } catch (error) {
    if (!(error instanceof NativeError)) throw error
    return [{ device, usable: false, reason: error.message }]
  }
}

function describe(devices: readonly Listed[]): string {
  const width = Math.max(...devices.map(({ device }) => device.length))
  const lines = devices.map((device) => {
    const head = device.device.padEnd(width)
    if (!device.usable) return `${head}  not usable: ${device.reason}`
    const memory = `${formatBytes(device.memory_free)} of ${formatBytes(device.memory_total)} free`
    const units = `${device.compute_units} compute units of ${device.lanes} lanes`
    const driver = device.driver ? `, ${device.driver}` : ""
    return `${head}  ${device.name} (${device.arch}), ${units}, ${memory}${driver}`
  })
  return lines.join("\n")
}
