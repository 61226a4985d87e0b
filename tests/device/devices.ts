/** `devices.ts BACKEND`: prints the backend's devices, one per line; fails when there is none. */

import { loadNative } from "../../src/native/library.ts"
import { backendArgument, report } from "./support.ts"

const backend = backendArgument()
const library = loadNative(backend)
const count = library.deviceCount()
if (count === 0) report(false, `${backend}: no device`)
for (let i = 0; i < count; i++) {
  const { name, arch, driver, memoryTotal, memoryFree, computeUnits, lanes } = library.deviceInfo(i)
  const memory = `${(memoryFree / 2 ** 30).toFixed(1)} of ${(memoryTotal / 2 ** 30).toFixed(1)} GiB free`
  report(
    true,
    `${backend}:${i} ${name}, ${arch}, ${computeUnits} compute units of ${lanes} lanes, ${memory}, ${driver}`,
  )
}
