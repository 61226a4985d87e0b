/** Runs other programs with a limit of time. */

export interface Executed {
  /** The exit code; `undefined` where the limit passed. */
  readonly code: number | undefined
  readonly stdout: string
  readonly stderr: string
}

interface ExecuteOptions {
  readonly cwd: string
  readonly limitMs: number
  /** Added to this process's variables. */
  readonly env?: Readonly<Record<string, string>>
}

/** Process groups of running programs, by the id of their first process. */
const running = new Set<number>()

/** Kills all running programs. */
export function killAll(): void {
  for (const group of running) process.kill(-group, "SIGKILL")
}

/** Runs a program to its end, or until the limit passes. It reads an empty standard input. */
export async function execute(command: string[], { cwd, limitMs, env }: ExecuteOptions): Promise<Executed> {
  // In a process group of its own, so that its children end with it.
  const child = Bun.spawn(["setsid", ...command], {
    cwd,
    // Some programs take their folder from PWD.
    env: { ...process.env, PWD: cwd, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  })
  running.add(child.pid)
  let late = false
  const timer = setTimeout(() => {
    late = true
    process.kill(-child.pid, "SIGKILL")
  }, limitMs)
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  clearTimeout(timer)
  running.delete(child.pid)
  return { code: late ? undefined : code, stdout, stderr }
}
