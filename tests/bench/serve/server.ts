/** Runs `rocmforge serve` as a child process, and measures the memory of that process and its descendants. */

import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

const ROOT = join(import.meta.dir, "..", "..", "..")
const START_MS = 120_000

export interface ServerProcess extends AsyncDisposable {
  url: string
  pid: number
}

/** Starts the server on a free port, and returns when its model is loaded. @throws Error with its output when it exits before that */
export async function startServer(model: string, args: readonly string[]): Promise<ServerProcess> {
  const command = [process.execPath, "src/cli.ts", "serve", model, "--port", "0", ...args]
  const child = Bun.spawn(command, { cwd: ROOT, stdin: "ignore", stdout: "pipe", stderr: "pipe" })
  let notes = ""
  const collect = async () => {
    for await (const bytes of child.stderr) notes = (notes + new TextDecoder().decode(bytes)).slice(-10_000)
  }
  const collected = collect()
  const stop = async () => {
    child.kill("SIGTERM")
    const timer = setTimeout(() => child.kill("SIGKILL"), 40_000)
    await child.exited
    clearTimeout(timer)
  }
  try {
    const url = await addressOf(child.stdout)
    if (url === undefined) {
      await Promise.all([child.exited, collected])
      throw new Error(`the server ended before it listened:\n${notes}`)
    }
    await ready(url, () => child.exitCode !== null)
    return { url, pid: child.pid, [Symbol.asyncDispose]: stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function addressOf(stdout: AsyncIterable<Uint8Array>): Promise<string | undefined> {
  let text = ""
  for await (const bytes of stdout) {
    text += new TextDecoder().decode(bytes)
    const found = /listening on (http:\S+?)\/?\s/.exec(text)
    if (found) return found[1]
  }
  return undefined
}

async function ready(url: string, ended: () => boolean): Promise<void> {
  const until = performance.now() + START_MS
  while (performance.now() < until && !ended()) {
    const response = await fetch(`${url}/health`).catch(() => undefined)
    await response?.body?.cancel()
    if (response?.ok) return
    await Bun.sleep(50)
  }
  throw new Error(`the server at ${url} did not get ready`)
}

export interface ResidentMemory {
  /** Resident bytes of a process and its descendants, without mapped files (the weights). */
  anonymous: number
  processes: number
}

/** Ids of a process and all its descendants. Linux only. */
export function residentMemory(pid: number): ResidentMemory {
  const parents = new Map<number, number>()
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue
    const parent = /^PPid:\s+(\d+)/m.exec(statusOf(Number(name)))
    if (parent) parents.set(Number(name), Number(parent[1]))
  }
  const descends = (id: number | undefined): boolean =>
    id !== undefined && (id === pid || (parents.has(id) && descends(parents.get(id))))
  const family = [...parents.keys()].filter(descends)
  const bytes = (id: number) => 1024 * Number(/^RssAnon:\s+(\d+) kB/m.exec(statusOf(id))?.[1] ?? 0)
  return { anonymous: family.reduce((sum, id) => sum + bytes(id), 0), processes: family.length }
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8")
  } catch {
    return "" // the process has exited
  }
}
