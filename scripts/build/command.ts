/** Runs other programs for the build, and looks for them. */

import { accessSync, constants, readdirSync, statSync } from "node:fs"
import { delimiter, join } from "node:path"

/** What a finished program left behind. `code` is negative when a signal ended it. */
export interface CommandResult {
  code: number
  stdout: string
  stderr: string
}

/** Runs `argv` to its end and captures its output; a program that cannot be started counts as exit code 127. */
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

/** Full paths of the executables on PATH whose file name matches, first folder first, without repeats of a name. */
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
    return [] // PATH may name folders that do not exist or may not be read
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
