import { describe, expect, test } from "bun:test"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inOrder, readDurations, slowestFirst, writeDurations } from "../../../scripts/test/schedule.ts"

describe("slowestFirst", () => {
  test("new files, then by magnitude, then by path", () => {
    const durations = { a: 300, b: 70_000, c: 5000, d: 900, e: 127_000, f: 4100 }
    expect(slowestFirst(["f", "new", "e", "d", "c", "b", "another", "a"], durations)).toEqual([
      ...["another", "new"],
      ...["b", "e"],
      ...["c", "f"],
      ...["a", "d"],
    ])
  })
})

describe("durations", () => {
  test("are read as they were written; a missing or malformed file gives none", () => {
    const folder = mkdtempSync(join(tmpdir(), "rocmforge-durations-"))
    try {
      const path = join(folder, "build", "durations.json")
      expect(readDurations(path)).toEqual({})
      writeDurations(path, { "tests/a.test.ts": 12.5 })
      expect(readDurations(path)).toEqual({ "tests/a.test.ts": 12.5 })
      for (const text of ["", "[1]", '{"tests/a.test.ts":"long"}']) {
        writeFileSync(path, text)
        expect(readDurations(path)).toEqual({})
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe("inOrder", () => {
  /** Work that the test ends, in any order. */
  function gates(count: number) {
    const gates = Array.from({ length: count }, () => Promise.withResolvers<void>())
    const begun: number[] = []
    const work = async (item: number) => {
      begun.push(item)
      await gates[item]?.promise
      return item * 10
    }
    const end = async (item: number) => {
      gates[item]?.resolve()
      await Bun.sleep(0)
    }
    return { begun, work, end }
  }

  test("runs the given number at once, and reports in the order of the items", async () => {
    const { begun, work, end } = gates(4)
    const reported: [number, number][] = []
    const results = inOrder([0, 1, 2, 3], 2, work, (result, index) => reported.push([result, index]))
    expect(begun).toEqual([0, 1])
    await end(1)
    expect([begun, reported]).toEqual([[0, 1, 2], []])
    await end(0)
    expect(begun).toEqual([0, 1, 2, 3])
    expect(reported).toEqual([
      [0, 0],
      [10, 1],
    ])
    await end(3)
    expect(reported).toHaveLength(2)
    await end(2)
    expect(await results).toEqual([0, 10, 20, 30])
    expect(reported.map(([, index]) => index)).toEqual([0, 1, 2, 3])
  })

  test("has nothing to do without items", async () => {
    expect(await inOrder<number, number>([], 3, Promise.resolve, () => expect.unreachable())).toEqual([])
  })
})
