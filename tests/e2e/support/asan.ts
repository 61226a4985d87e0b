/** Runs Bun with the AddressSanitizer build of the native library, and reads the sanitizers' reports. */

import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { runCommand } from "../../../scripts/build/command.ts"

const ROOT = join(import.meta.dir, "../../..")
const FOLDER = join(ROOT, "build/asan")

export interface AsanRun {
  code: number
  /** The signal that ended the process. */
  signal: string | undefined
  stdout: string
  stderr: string
  /** The sanitizers' reports, first line to summary; empty when there is no fault. */
  reports: string[]
}

/**
 * Brings build/asan up to date.
 * @returns the environment variables for a process that opens it: the runtime to preload, and the symbolizer
 * @throws Error that names the package to install, when the sanitizer is missing
 */
export async function buildWithAsan(): Promise<Record<string, string>> {
  const { code, stdout, stderr } = await runCommand([process.execPath, "build.ts", "--asan", "--backend", "cpu"], ROOT)
  const environment = join(FOLDER, "environment.json")
  if (code !== 0 || !existsSync(environment)) {
    throw new Error(
      `the native library cannot be built with AddressSanitizer; install what it needs with ` +
        `\`apt-get install libclang-rt-19-dev llvm-19\` (scripts/setup.sh --dev does)\n${stdout}${stderr}`,
    )
  }
  return JSON.parse(readFileSync(environment, "utf8"))
}

/** Runs a script under the sanitizer, with its own arguments. */
export async function runWithAsan(
  environment: Readonly<Record<string, string>>,
  script: string,
  args: readonly string[] = [],
): Promise<AsanRun> {
  const child = Bun.spawn([process.execPath, script, ...args], {
    cwd: ROOT,
    env: {
      ...process.env,
      ...environment,
      ROCMFORGE_LIBRARY_PATH: FOLDER,
      ROCMFORGE_ASAN_RUNTIME: environment.LD_PRELOAD,
      // malloc returns NULL for a size that is too large, as it does without the sanitizer.
      ASAN_OPTIONS: "detect_leaks=1:allocator_may_return_null=1:max_allocation_size_mb=4096:strict_string_checks=1",
      UBSAN_OPTIONS: "print_stacktrace=1",
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  })
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()])
  const code = await child.exited
  return {
    code,
    signal: child.signalCode === null ? undefined : String(child.signalCode),
    stdout,
    stderr,
    reports: findReports(stderr),
  }
}

/** `==PID==ERROR: AddressSanitizer: …` up to its SUMMARY, and UBSan's `file:line: runtime error: …`. */
function findReports(text: string): string[] {
  const memory = text.match(/==\d+==ERROR: (?:Address|Leak)Sanitizer[\s\S]*?(?:SUMMARY: .*|$(?![\s\S]))/g) ?? []
  const undefinedBehaviour = text.match(/^.*: runtime error: .*$/gm) ?? []
  return [...memory, ...undefinedBehaviour]
}
