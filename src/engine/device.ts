/** Chooses the device that a model runs on. */

import { NativeError } from "../native/errors.ts"
import { type Backend, libraryPath, loadNative, type NativeLibrary } from "../native/library.ts"

/** The requested device cannot be used; there is no silent fallback. The message says why and what to do. */
export class DeviceError extends Error {
  override readonly name = "DeviceError"

  /** @param absent The machine has no such device, as opposed to one that does not work. */
  constructor(
    message: string,
    readonly absent = false,
  ) {
    super(message)
  }
}

export const BACKENDS: readonly Backend[] = ["amd", "nvidia", "cpu"]

export interface DeviceChoice {
  backend: Backend
  /** Index among the backend's devices. */
  index: number
  library: NativeLibrary
  /** Why `auto` chose the CPU, for the user. */
  note?: string
}

const TITLES: Record<Backend, string> = { amd: "AMD GPU", nvidia: "NVIDIA GPU", cpu: "CPU" }

/**
 * Opens the device named `auto`, `cpu`, `amd` or `nvidia`, or one of several (`amd:1`).
 * `auto` takes the first usable GPU whose library is built, otherwise the CPU, with a note.
 * @throws DeviceError when the name is unknown, or the device's library is missing, does not load, or finds no such device.
 */
export function chooseDevice(request: string): DeviceChoice {
  if (request === "auto") return chooseAutomatically()
  const match = /^([a-z]+)(?::(\d{1,3}))?$/.exec(request)
  const backend = BACKENDS.find((name) => name === match?.[1])
  if (!backend) {
    throw new DeviceError(`"${request}" is not a device; use auto, cpu, amd or nvidia (amd:1 is the second of several)`)
  }
  return open(backend, Number(match?.[2] ?? 0))
}

function open(backend: Backend, index: number): DeviceChoice {
  const missing = missingLibrary(backend)
  if (missing) throw new DeviceError(missing)
  let library: NativeLibrary
  let count = 0
  try {
    library = loadNative(backend)
    count = library.deviceCount()
    // Throws, with the reason, where there is no device or the library has no code for it.
    if (index < Math.max(count, 1)) library.deviceInfo(index)
  } catch (error) {
    if (!(error instanceof NativeError)) throw error
    throw new DeviceError(
      `device ${backend} cannot be used: ${error.message}`,
      error.status === "DEVICE" && count === 0,
    )
  }
  if (index >= count) {
    const has = `${count} ${TITLES[backend]}${count > 1 ? "s" : ""} (${deviceNames(backend, count).join(", ")})`
    throw new DeviceError(`device ${backend}:${index} is not there: this machine has ${has}; try --device auto`)
  }
  return { backend, index, library }
}

/** Names of a backend's devices: `amd` for a single one, `amd:0` and `amd:1` for two. */
export function deviceNames(backend: Backend, count: number): string[] {
  return count === 1 ? [backend] : Array.from({ length: count }, (_, i) => `${backend}:${i}`)
}

function missingLibrary(backend: Backend): string | undefined {
  try {
    libraryPath(backend)
    return undefined
  } catch (error) {
    if (!(error instanceof NativeError)) throw error
    return `device ${backend} cannot be used: ${error.message}`
  }
}

function chooseAutomatically(): DeviceChoice {
  const reasons: string[] = []
  for (const backend of ["amd", "nvidia"] as const) {
    if (missingLibrary(backend)) continue
    try {
      return open(backend, 0)
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error
      if (!error.absent) reasons.push(error.message)
    }
  }
  const why = reasons.length > 0 ? reasons.join("; ") : "no usable GPU was found (`rocmforge devices` shows why)"
  return { ...open("cpu", 0), note: `device auto: ${why}; using the CPU` }
}
