/** The order of test files, and how many of them run at once. */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import { z } from "zod"

/** Milliseconds that each test file took in its last run, by path. */
export type Durations = Record<string, number>

/** Reads the durations that `writeDurations` wrote; none if the file is missing or malformed. */
export function readDurations(path: string): Durations {
  try {
    return z.record(z.string(), z.number()).parse(JSON.parse(readFileSync(path, "utf8")))
  } catch {
    return {}
  }
}

export function writeDurations(path: string, durations: Durations): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `${JSON.stringify(durations, null, 2)}\n`)
}

/**
 * Sorts the slowest files first, so that no slow file runs alone at the end. A file without a duration may be slow and comes before
 * all others. Files with durations of the same magnitude (a power of two of seconds) are sorted by path, so that the order does not
 * change from run to run.
 */
export function slowestFirst(files: readonly string[], durations: Durations): string[] {
  const magnitude = (file: string) => {
    const ms = durations[file]
    return ms === undefined ? Number.POSITIVE_INFINITY : Math.max(0, Math.floor(Math.log2(ms / 1000)))
  }
  const byPath = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)
  return files.toSorted((a, b) => (magnitude(a) === magnitude(b) ? byPath(a, b) : magnitude(b) - magnitude(a)))
}

/** Works on at most `jobs` items at a time. Reports results in the order of the items, each as soon as all earlier results are known. */
export async function inOrder<T, R>(
  items: readonly T[],
  jobs: number,
  work: (item: T) => Promise<R>,
  report: (result: R, index: number) => void,
): Promise<R[]> {
  const results: R[] = []
  let [begun, reported] = [0, 0]
  const run = async () => {
    for (let index = begun++; index < items.length; index = begun++) {
      results[index] = await work(items[index] as T)
      for (; reported in results; reported++) report(results[reported] as R, reported)
    }
  }
  await Promise.all(Array.from({ length: Math.min(jobs, items.length) }, run))
  return results
}
