/**
 * The CPU library selects the best instruction set of the processor at its first use. Every other instruction set in the library
 * therefore gets a process of its own (ROCMFORGE_CPU_ISA), which runs the tests of all ops that have kernels per instruction set.
 */

import { expect, test } from "bun:test"
import { join } from "node:path"
import { loadNative } from "../../src/native/library.ts"

const ROOT = join(import.meta.dir, "..", "..")
const FILES = [
  "add",
  "attention",
  "attention-dense",
  "matmul",
  "matmul-swiglu",
  "rms-norm",
  "rope-store",
  "sample-results",
  "scale",
  "softmax",
  "swiglu",
].map((op) => `tests/kernels/${op}.test.ts`)

/** Best first, in the order in which hip/cpu/context.cpp tries them. */
const SETS = process.arch === "x64" ? ["avx512-vnni", "avx2", "portable"] : ["portable"]

function runUnder(set: string) {
  const child = Bun.spawnSync([process.execPath, "test", "--timeout", "60000", ...FILES], {
    cwd: ROOT,
    env: { ...process.env, ROCMFORGE_CPU_ISA: set },
  })
  const summary = child.stderr.toString()
  const count = (what: string) => Number(new RegExp(`^ (\\d+) ${what}$`, "m").exec(summary)?.[1] ?? Number.NaN)
  const failures = summary.split("\n").filter((line) => line.startsWith("(fail)"))
  return { exitCode: child.exitCode, passed: count("pass"), failed: count("fail"), failures: failures.slice(0, 10) }
}

const best = loadNative("cpu").deviceInfo(0).arch

test("the library names the instruction set in use", () => {
  expect(SETS).toContain(best)
  const wanted = process.env.ROCMFORGE_CPU_ISA
  if (wanted) expect(best).toBe(wanted)
})

for (const set of SETS.slice(SETS.indexOf(best) + 1)) {
  test(`every kernel agrees with its reference under ${set}`, () => {
    const { passed, ...rest } = runUnder(set)
    expect(rest).toEqual({ exitCode: 0, failed: 0, failures: [] })
    expect(passed).toBeGreaterThan(1500)
  }, 300_000)
}
