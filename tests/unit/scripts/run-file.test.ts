import { afterAll, describe, expect, test } from "bun:test"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, relative } from "node:path"
import { interpret, runTestFile } from "../../../scripts/test/run-file.ts"

const root = mkdtempSync(join(tmpdir(), "rocmforge-tests-"))
afterAll(() => rmSync(root, { recursive: true }))

/** Runs a test file with this body, as the runner does. */
function run(name: string, body: string, pattern?: string) {
  const file = join(root, `${name}.test.ts`)
  writeFileSync(file, `import { expect, test } from "bun:test"\n${body}\n`)
  return runTestFile({ file: relative(".", file), pattern, verbose: false })
}

describe("runTestFile", () => {
  test("counts passes, failures and skips", async () => {
    const body = `
      test("a", () => {})
      test("b", () => { expect(1).toBe(2) })
      test.skip("c", () => {})
      test.todo("d")
      console.log(" 99 pass")`
    expect(await run("counts", body)).toMatchObject({ passed: 1, failed: 1, skipped: 2 })
    expect(await run("counts", body, "^a$")).toMatchObject({ passed: 1, failed: 0 })
    expect(await run("counts", body, "nothing")).toMatchObject({ passed: 0, failed: 0, skipped: 0 })
  })

  test("a crash is a failure that names the signal", async () => {
    const result = await run("crash", `test("a", () => {}); test("b", () => { process.kill(process.pid, "SIGSEGV") })`)
    expect(result).toMatchObject({ failed: 1, problem: "crashed with SIGSEGV" })
  })

  test("an early exit is a failure, even with exit code 0", async () => {
    const result = await run("exit", `test("a", () => { process.exit(0) }); test("b", () => {})`)
    expect(result.failed).toBe(1)
    expect(result.problem).toContain("without a summary")
  })

  test("a file without tests and a file that throws outside of its tests are failures", async () => {
    expect(await run("empty", "")).toMatchObject({ passed: 0, failed: 1, problem: "holds no test" })
    expect(await run("throws", `test("a", () => {}); throw new Error("outside")`)).toMatchObject({ failed: 1 })
  })
})

describe("interpret", () => {
  const summary = " 3 pass\n 0 fail\n 4 expect() calls\nRan 3 tests across 1 file. [1.00ms]\n"

  test("a nonzero exit code after a summary without failures is a failure", () => {
    expect(interpret(summary, 0, false)).toEqual({ passed: 3, failed: 0, skipped: 0 })
    expect(interpret(summary, 1, false)).toMatchObject({ passed: 3, failed: 1, problem: "exit code 1" })
  })
})
