/**
 * Times the cases of the kernel suite: `bun run tests/bench/kernels.ts [--op MATMUL] [--grep 512] [--min-ms 100] [--compute f16]`,
 * on every available backend; ROCMFORGE_TEST_BACKENDS=nvidia selects one. --compute sets the format that a GPU's matrix units multiply.
 *
 * The rates count the minimum that a step moves or computes (weights, inputs and outputs once). Compare GB/s with the read bandwidth
 * that is printed first. GFLOP/s counts a multiply-add as two operations.
 */

import { readdirSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { loadNative } from "../../src/native/library.ts"
import { backendsPresent, openProgram } from "../support/kernel-harness.ts"
import { packStep } from "../support/kernel-step.ts"
import {
  benchTables,
  type CaseTable,
  collectForBench,
  computes,
  type KernelCase,
  runCase,
} from "../support/kernel-suite.ts"

const { values: options } = parseArgs({
  options: {
    op: { type: "string" },
    grep: { type: "string", default: "" },
    "min-ms": { type: "string", default: "100" },
    compute: { type: "string", default: "f32" },
  },
})

/** Files of the kernel suite that export no table of cases. */
const NO_CASES = new Set(["formats.test.ts", "instruction-sets.test.ts"])

collectForBench()
const folder = join(import.meta.dir, "..", "kernels")
for (const file of readdirSync(folder).sort()) {
  if (file.endsWith(".test.ts") && !NO_CASES.has(file)) await import(join(folder, file))
}

for (const backend of backendsPresent()) {
  const library = loadNative(backend)
  const bandwidth = library.readBandwidth(2, 256 * 2 ** 20)
  const rate = `${(bandwidth / 1e9).toFixed(1)} GB/s`
  console.log(
    `${backend}: ${library.deviceInfo(0).name}, ${backend === "cpu" ? `reads ${rate} with 2 threads` : `copies ${rate}`}`,
  )
  console.log(row("op", "case", "format", "µs", "GB/s", "GFLOP/s"))
  for (const table of benchTables) {
    if (options.op && table.op !== options.op.toUpperCase()) continue
    for (const kernelCase of table.cases) {
      const name = `${table.title}: ${kernelCase.name}`
      if (name.includes(options.grep)) report(backend, table, kernelCase)
    }
  }
}

function report(backend: ReturnType<typeof backendsPresent>[number], table: CaseTable, kernelCase: KernelCase): void {
  const prepared = kernelCase.make()
  if (!prepared.work) return
  const compute = computes(backend, table.op).find((each) => each === options.compute)
  using run = openProgram(backend, prepared.program, compute)
  runCase(run, prepared)
  const step = packStep(prepared.step(run))
  const seconds = bestOf(() => run.replay(step), Number(options["min-ms"]) / 1000)
  const { bytes, flops } = prepared.work
  const rate = (amount: number) => (amount / seconds / 1e9).toFixed(2)
  console.log(
    row(
      table.op,
      kernelCase.shape ?? kernelCase.name,
      kernelCase.format ?? "F32",
      (seconds * 1e6).toFixed(1),
      rate(bytes),
      rate(flops),
    ),
  )
}

/** Duration of the fastest call within a time budget, in seconds. The fastest counts because other load can only slow a call down. */
function bestOf(call: () => void, budget: number): number {
  let best = Number.POSITIVE_INFINITY
  const start = performance.now()
  do {
    const from = performance.now()
    call()
    best = Math.min(best, (performance.now() - from) / 1000)
  } while ((performance.now() - start) / 1000 < budget)
  return best
}

function row(...cells: string[]): string {
  const widths = [16, 44, 8, 10, 9, 9]
  return cells
    .map((cell, i) => (i < 3 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
    .join(" ")
}
