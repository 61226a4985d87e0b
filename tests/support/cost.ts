/** Measures of cost that do not depend on a machine's speed or load: relative processor time, and bytes read. */

import { readFileSync } from "node:fs"

/** An array of four million zeros. */
const JSON_8_MIB = `[${"0,".repeat(2 ** 22)}0]`

let unit: number | undefined

/**
 * The processor time of some work, relative to the time this process needs to parse 8 MiB of JSON (measured at the first call).
 * Load on the machine does not change it, and a slower machine slows work and unit alike.
 */
export async function costOf(work: () => unknown): Promise<number> {
  unit ??= await measureUnit()
  return (await processorTime(work)) / unit
}

/** The median of three. */
async function measureUnit(): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < 3; i++) times.push(await processorTime(() => JSON.parse(JSON_8_MIB)))
  return times.sort((a, b) => a - b)[1] as number
}

/** Bytes that this process has read from files and sockets so far, and the number of read calls. */
export function readSoFar(): { bytes: number; calls: number } {
  const text = readFileSync("/proc/self/io", "utf8")
  const field = (name: string) => Number(new RegExp(`^${name}: (\\d+)$`, "m").exec(text)?.[1])
  return { bytes: field("rchar"), calls: field("syscr") }
}

/** Microseconds of processor time that this process uses for the work. */
async function processorTime(work: () => unknown): Promise<number> {
  const start = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(start)
  return user + system
}
