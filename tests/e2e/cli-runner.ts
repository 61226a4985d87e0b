import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

export const ROOT = join(import.meta.dir, "../..")
const CLI = join(ROOT, "src/cli.ts")

export interface CliOptions {
  stdin?: string | Uint8Array
  env?: Record<string, string>
  cwd?: string
}

export interface CliResult {
  code: number
  stdout: string
  stderr: string
}

/** The environment of a CLI under test: the current one without the variables of ROCmForge and the hub. */
export function cleanEnvironment(extra: Record<string, string> = {}): Record<string, string | undefined> {
  const own = Object.entries(process.env).filter(([name]) => !/^(ROCMFORGE_(?!LIBRARY_PATH)|HF_)/.test(name))
  return { ...Object.fromEntries(own), ...extra }
}

const running = new Set<{ kill: (signal: "SIGKILL") => void }>()

/** Kills the processes left by a failed test. Call it in `afterEach`. */
export function killLeftovers(): void {
  for (const child of running) child.kill("SIGKILL")
}

/** Starts the real CLI. Standard input is empty by default. */
export function startCli(args: readonly string[], { stdin = "", env, cwd = ROOT }: CliOptions = {}) {
  const child = Bun.spawn([process.execPath, CLI, ...args], {
    cwd,
    env: cleanEnvironment(env),
    stdin: typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin,
    stdout: "pipe",
    stderr: "pipe",
  })
  running.add(child)
  void child.exited.then(() => running.delete(child))
  return child
}

export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const child = startCli(args, options)
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  return { code, stdout, stderr }
}

/** The URL that `serve` prints when it listens. */
export async function listening(child: {
  stdout: ReadableStream<Uint8Array>
  stderr: ReadableStream
}): Promise<string> {
  const line = new TextDecoder().decode((await child.stdout.getReader().read()).value)
  const url = /^listening on (https?:\/\/\S+)\n$/.exec(line)?.[1]
  if (!url) throw new Error(`serve printed ${JSON.stringify(line)}; ${await new Response(child.stderr).text()}`)
  return url
}

/** Runs the CLI and parses its standard output as JSON; a failure shows the output. */
export async function cliJson<T>(args: readonly string[], options: CliOptions = {}): Promise<T> {
  const { code, stdout, stderr } = await runCli([...args, "--json"], options)
  if (code !== 0) throw new Error(`rocmforge ${args.join(" ")} exited with ${code}: ${stderr}`)
  return JSON.parse(stdout) as T
}

/** A folder that is deleted after the test file. */
export function temporaryFolder(name: string): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), `rocmforge-${name}-`))
  mkdirSync(path, { recursive: true })
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}
