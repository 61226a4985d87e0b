/** Damaged input under AddressSanitizer: every file gives a typed error or a clean load, without an out-of-bounds access. */

import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { runCommand } from "../../scripts/build/command.ts"
import { findCompiler } from "../../scripts/build/compilers.ts"
import { type AsanRun, buildWithAsan, runWithAsan } from "./support/asan.ts"

const FILES = 300
const WEIGHT_FILES = 60
const ABI_CASES = 1000
const SUPPORT = join(import.meta.dir, "support")
const folder = mkdtempSync(join(tmpdir(), "rocmforge-fuzz-"))
/** Longer than the default: the sanitizer slows each case down several times, and the library is compiled for it first. */
const SANITIZED_MS = 300_000
let environment: Record<string, string>

beforeAll(async () => {
  environment = await buildWithAsan()
}, SANITIZED_MS)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** @throws Error for a child that did not end cleanly; the last line that it printed names the failed case */
function expectClean(run: AsanRun): void {
  const where = run.stdout.trim().split("\n").at(-1)
  if (run.reports.length > 0) throw new Error(`${where}\n${run.reports.join("\n\n").slice(0, 8000)}`)
  if (run.code !== 0) throw new Error(`ended with ${run.signal ?? run.code} at: ${where}\n${run.stderr.slice(-4000)}`)
}

/** Counts of each outcome, and the number of cases. */
function outcomes(run: AsanRun): Map<string, number> {
  const counts = new Map<string, number>()
  for (const line of run.stdout.split("\n").filter((each) => each.startsWith('{"seed"'))) {
    const { outcome } = JSON.parse(line) as { outcome: string }
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
  }
  console.log(
    [...counts]
      .sort((a, b) => b[1] - a[1])
      .map(([name, n]) => `${n} ${name}`)
      .join(", "),
  )
  return counts
}

const total = (counts: Map<string, number>) => [...counts.values()].reduce((sum, n) => sum + n, 0)

test("the sanitizer reports planted faults (control for the tests below)", async () => {
  const search = await findCompiler()
  if ("missing" in search) throw new Error(search.missing)
  const library = join(folder, "planted-fault.so")
  const shared = search.compiler.family === "clang" ? ["-shared-libsan"] : []
  const source = join(SUPPORT, "planted-fault.cpp")
  const flags = ["-shared", "-fPIC", "-O1", "-g", "-fsanitize=address", ...shared]
  const built = await runCommand([...search.compiler.command, ...flags, "-o", library, source])
  expect(built.stderr).toBe("")

  const plant = (fault: string) => runWithAsan(environment, join(SUPPORT, "planted-fault.ts"), [library, fault])
  const overflow = await plant("read_past_end")
  expect(overflow.code).not.toBe(0)
  expect(overflow.reports.join("\n")).toContain("heap-buffer-overflow")
  expect(overflow.reports.join("\n")).toContain("read_past_end")
  const leak = await plant("leak")
  expect(leak.reports.join("\n")).toContain("12345 byte(s)")
  const none = await plant("none")
  expectClean(none)
  expect(none.stdout).toContain("leaks: 0")
})

test(
  `${FILES} damaged files through the whole load path`,
  async () => {
    const run = await runWithAsan(environment, join(SUPPORT, "fuzz-files.ts"), [folder, "header", String(FILES)])
    expectClean(run)
    const counts = outcomes(run)
    expect(total(counts)).toBe(FILES)
    expect(run.stdout).toContain('{"leaks":0}')
    // Some files must load: if all failed at the first byte, the native side would not be tested.
    expect(counts.get("loaded") ?? 0).toBeGreaterThanOrEqual(10)
    expect(counts.size).toBeGreaterThanOrEqual(12)
  },
  SANITIZED_MS,
)

// This machine's best instruction set, and the baseline.
for (const isa of ["", "portable"]) {
  test(
    `${WEIGHT_FILES} files with damaged weights load and run on ${isa || "the best"} kernels`,
    async () => {
      const args = [folder, "weights", String(WEIGHT_FILES)]
      const run = await runWithAsan({ ...environment, ROCMFORGE_CPU_ISA: isa }, join(SUPPORT, "fuzz-files.ts"), args)
      expectClean(run)
      expect(outcomes(run)).toEqual(new Map([["loaded", WEIGHT_FILES]]))
      expect(run.stdout).toContain('{"leaks":0}')
    },
    SANITIZED_MS,
  )
}

test(
  `${ABI_CASES} tensor tables, plans and steps with corrupted words`,
  async () => {
    const run = await runWithAsan(environment, join(SUPPORT, "fuzz-abi.ts"), [folder, String(ABI_CASES)])
    expectClean(run)
    const counts = outcomes(run)
    expect(total(counts)).toBe(ABI_CASES)
    expect(run.stdout).toContain('{"leaks":0}')
    for (const status of ["INVALID_MODEL", "INVALID_PLAN", "INVALID_STEP"]) {
      expect(counts.get(`NativeError ${status}`) ?? 0).toBeGreaterThanOrEqual(10)
    }
  },
  SANITIZED_MS,
)
