/** Finds and runs other programs for the build. */

import { accessSync, constants, readdirSync, statSync } from "node:fs"
import { delimiter, join } from "node:path"

/** The result of a finished program. `code` is negative if a signal ended it. */
export interface CommandResult {
  code: number
  stdout: string
  stderr: string
}

/** Runs `argv` to its end and captures its output. A program that cannot be started has exit code 127. */
export async function runCommand(argv: readonly string[], cwd?: string): Promise<CommandResult> {
  try {
    const child = Bun.spawn([...argv], { cwd, stdin: "ignore", stdout: "pipe", stderr: "pipe" })
    const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()])
    const code = await child.exited
    return { code: child.signalCode === null ? code : -1, stdout, stderr }
  } catch (error) {
    return { code: 127, stdout: "", stderr: error instanceof Error ? error.message : String(error) }
  }
}

/** Paths of the executables in PATH whose file names match, in the order of PATH and each name once. */
export function executablesOnPath(name: RegExp): string[] {
  const found = new Map<string, string>()
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    for (const file of listFolder(folder)) {
      const path = join(folder, file)
      if (name.test(file) && !found.has(file) && isExecutable(path)) found.set(file, path)
    }
  }
  return [...found.values()]
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return [] // PATH may contain folders that do not exist or are not readable
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}
