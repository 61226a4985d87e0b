/**
 * `npm test [-- FILTER… [-t PATTERN] [--jobs N] [--verbose]]`: runs the native build without warnings, lint, types, then every test
 * file. Each file has its own Bun process, so that a file that crashes or hangs is reported and does not hide other files. A FILTER
 * is a part of a test file's path; with a FILTER only tests run. N files run at once, the slowest files of the last run first. The
 * last line is `N passed, N failed, N skipped`; the exit code is 0 only if everything passed.
 */

import { availableParallelism } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { Glob } from "bun"
import { type FileResult, runTestFile } from "./test/run-file.ts"
import { inOrder, readDurations, slowestFirst, writeDurations } from "./test/schedule.ts"

/** Each file's process has several threads, so that more processes would only compete for processors. */
const MOST_JOBS = 4
const DURATIONS = "build/test-durations.json"

const CHECKS = [
  { name: "native build without warnings", command: [process.execPath, "build.ts", "--present", "--werror"] },
  {
    name: "lint and format (biome)",
    command: ["node_modules/.bin/biome", "ci", "--colors=off", "--error-on-warnings", "."],
  },
  { name: "types (tsc)", command: ["node_modules/.bin/tsc", "--noEmit"] },
  { name: "GPU kernels against their table", command: [process.execPath, "scripts/kernels-report.ts", "--check"] },
]

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "test-name-pattern": { type: "string", short: "t" },
    jobs: { type: "string", short: "j", default: String(Math.min(MOST_JOBS, availableParallelism())) },
    verbose: { type: "boolean", default: false },
  },
})
const pattern = values["test-name-pattern"]
const jobs = Number(values.jobs)
if (!Number.isInteger(jobs) || jobs < 1) {
  console.error(`--jobs ${values.jobs}: a whole number from 1 is needed.`)
  process.exit(2)
}

process.chdir(join(import.meta.dir, ".."))
// For the tests that run a package's program.
process.env.PATH = `${process.cwd()}/node_modules/.bin:${process.env.PATH}`

const failedChecks = positionals.length > 0 || pattern !== undefined ? [] : await runChecks()
const results = await runTests()
report(failedChecks, results)

async function runChecks(): Promise<string[]> {
  const failed: string[] = []
  for (const check of CHECKS) {
    const started = performance.now()
    const child = Bun.spawn(check.command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" })
    const output = (await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()])).join("")
    const ok = (await child.exited) === 0
    if (!ok) failed.push(check.name)
    console.log(`${ok ? "ok  " : "FAIL"} ${seconds(performance.now() - started)} ${check.name}`)
    if (!ok) console.log(output)
  }
  return failed
}

async function runTests(): Promise<FileResult[]> {
  const every = [...new Glob("tests/**/*.test.{ts,tsx}").scanSync(".")]
  const chosen = every.filter(
    (file) => positionals.length === 0 || positionals.some((part) => file.includes(trim(part))),
  )
  const durations = readDurations(DURATIONS)
  const files = slowestFirst(chosen, durations)
  const verbose = values.verbose || (files.length === 1 && positionals.length > 0)
  const run = (file: string) => runTestFile({ file, pattern, verbose })
  // With --verbose, the output of files that run at once would mix.
  const results = await inOrder(files, verbose ? 1 : jobs, run, (result, i) => {
    const { file } = result
    const counts = `${result.passed} passed${result.failed > 0 ? `, ${result.failed} failed` : ""}`
    const skipped = result.skipped > 0 ? `, ${result.skipped} skipped` : ""
    const position = `[${i + 1}/${files.length}]`
    console.log(`${result.failed > 0 ? "FAIL" : "ok  "} ${seconds(result.ms)} ${position} ${file}: ${counts}${skipped}`)
    if (result.problem) console.log(`     ${result.problem}`)
    if (result.failed > 0 && !verbose) console.log(result.output.replace(/^\(pass\) .*\n/gm, ""))
  })
  if (pattern === undefined)
    writeDurations(DURATIONS, {
      ...durations,
      ...Object.fromEntries(results.map(({ file, ms }) => [file, Math.round(ms)])),
    })
  return results
}

function report(failedChecks: string[], results: FileResult[]): void {
  const sum = (key: "passed" | "failed" | "skipped") => results.reduce((total, result) => total + result[key], 0)
  const [passed, skipped] = [sum("passed"), sum("skipped")]
  let failed = sum("failed") + failedChecks.length

  console.log("")
  for (const result of results.filter((each) => each.failed > 0)) console.log(`failed: ${result.file}`)
  for (const result of results.filter((each) => each.skipped > 0))
    console.log(`skipped ${result.skipped}: ${result.file}`)
  for (const check of failedChecks) console.log(`failed check (counts as one failure): ${check}`)
  if (passed + failed === 0) {
    const asked = [...positionals, ...(pattern === undefined ? [] : [`-t ${pattern}`])].join(" ")
    console.log(`no test ran${asked ? `: nothing matches ${asked}` : ""} (counts as one failure)`)
    failed = 1
  }
  if (results.length > 5) {
    const slowest = results.toSorted((a, b) => b.ms - a.ms).slice(0, 5)
    console.log(`slowest files: ${slowest.map((each) => `${each.file} ${seconds(each.ms).trim()}`).join(", ")}`)
  }
  // The kernel tests print the devices on which they ran; without a GPU this is only the CPU.
  for (const line of new Set(results.flatMap((result) => result.output.match(/^kernel suite on .*$/m) ?? [])))
    console.log(line)
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
  process.exitCode = failed > 0 ? 1 : 0
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`.padStart(7)
}

function trim(part: string): string {
  return part.replace(/^\.\//, "")
}
