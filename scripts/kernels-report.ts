/**
 * `bun run kernels:report [--check]`: compiles the device code for the four AMD targets (no GPU needed; device code that is up to date is
 * used again), checks every kernel, and writes the table hip/gpu/kernels-report.txt. With --check the table is only compared. The exit
 * code is 1 when a kernel spills, lacks its matrix or dot instructions, or needs more registers or LDS than the table gives.
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { BACKENDS } from "./build/backends.ts"
import { findClang } from "./build/compilers.ts"
import { AMD_ARCHITECTURES } from "./build/gpu.ts"
import { BuildError, compileDevice } from "./build/incremental.ts"
import { findLlvmTools, type KernelFacts, kernelFacts } from "./kernels/facts.ts"
import { checkKernels, compareKernels } from "./kernels/gates.ts"
import { formatTable, parseTable, type Table } from "./kernels/table.ts"

/** Instinct MI210 and MI300, Radeon RX 7900 and RX 9070. */
const GATED = AMD_ARCHITECTURES.slice(0, 4)
const TABLE = "hip/gpu/kernels-report.txt"

async function measure(): Promise<Table> {
  const search = await findClang()
  if ("missing" in search) throw new BuildError(search.missing)
  const tools = await findLlvmTools(search.compiler.command)
  const recipe = await BACKENDS.find((backend) => backend.name === "amd")?.plan("release", GATED)
  if (!recipe || "skipped" in recipe)
    throw new BuildError(recipe?.skipped ?? "the amd backend is missing in scripts/build/backends.ts")
  const [force, werror] = [false, false]
  const code = await compileDevice({ recipe, objectFolder: "build/obj/amd", force, werror, print: console.log })
  const kernels: KernelFacts[] = []
  for (const arch of GATED) {
    const own = code.filter(({ unit }) => unit.arch === arch)
    const facts = (await Promise.all(own.map(({ object }) => kernelFacts(tools, object, arch)))).flat()
    kernels.push(...facts.sort((a, b) => a.kernel.localeCompare(b.kernel, "en")))
  }
  return { compiler: search.compiler.version, kernels }
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { check: { type: "boolean", default: false } } })
  process.chdir(join(import.meta.dir, ".."))
  const table = await measure()
  const problems = checkKernels(table.kernels)
  if (values.check) {
    if (!existsSync(TABLE)) throw new BuildError(`${TABLE} is missing: run \`bun run kernels:report\` and commit it`)
    const committed = parseTable(readFileSync(TABLE, "utf8"))
    if (committed.compiler === table.compiler) problems.push(...compareKernels(table.kernels, committed.kernels))
    else
      console.log(`${TABLE} was made with ${committed.compiler}, not ${table.compiler}, so registers are not compared`)
  } else {
    const text = formatTable(table)
    writeFileSync(TABLE, text)
    console.log(text)
  }
  for (const problem of problems) console.error(`kernels: ${problem}`)
  const per = `${table.kernels.length / GATED.length} kernels for each of ${GATED.join(", ")}`
  console.log(`${per}: ${problems.length === 0 ? "no problems" : `${problems.length} problems`}`)
  return problems.length === 0 ? 0 : 1
}

try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof BuildError)) throw error
  console.error(`kernels: ${error.message}`)
  process.exitCode = 1
}
