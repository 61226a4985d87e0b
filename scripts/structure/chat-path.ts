/** Finds the files of `src` that a streamed chat passes through: files with a line that runs more often with chats than without. */

import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"

/** The number of times that each line of each file ran. */
type Coverage = ReadonlyMap<string, ReadonlyMap<number, number>>

/**
 * Answers chats with the engine in the server's process and in a child process, so that the parent's side of the process boundary
 * counts as well. Lines that run only in the child do not count.
 * @param folderOfCheckout A built checkout. @returns paths relative to it, sorted.
 */
export async function chatPath(folderOfCheckout: string): Promise<string[]> {
  const root = resolve(folderOfCheckout)
  const folder = await mkdtemp(join(tmpdir(), "rocmforge-chat-path-"))
  try {
    const found = new Set<string>()
    for (const engine of ["local", "child"]) {
      const idle = await coverage(root, join(folder, `${engine}-idle`), engine, 0)
      const busy = await coverage(root, join(folder, `${engine}-busy`), engine, 3)
      for (const [file, lines] of busy) {
        const ran = [...lines].some(([line, count]) => count !== (idle.get(file)?.get(line) ?? 0))
        if (ran && file.startsWith("src/")) found.add(file)
      }
    }
    return [...found].sort()
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function coverage(root: string, folder: string, engine: string, chats: number): Promise<Coverage> {
  const report = ["--coverage", "--coverage-reporter=lcov", `--coverage-dir=${folder}`]
  const child = Bun.spawn(
    [process.execPath, "test", join(import.meta.dir, "streamed-chat.ts"), "--timeout", "120000", ...report],
    {
      cwd: root,
      env: { ...process.env, CHAT_PATH_ROOT: root, CHAT_PATH_ENGINE: engine, CHAT_PATH_CHATS: String(chats) },
      stdout: "ignore",
      stderr: "pipe",
    },
  )
  const errors = await new Response(child.stderr).text()
  if ((await child.exited) !== 0) throw new Error(`the streamed chat failed:\n${errors}`)
  return parse(await Bun.file(join(folder, "lcov.info")).text())
}

function parse(lcov: string): Coverage {
  const files = new Map<string, Map<number, number>>()
  let lines = new Map<number, number>()
  for (const row of lcov.split("\n")) {
    if (row.startsWith("SF:")) {
      lines = new Map()
      files.set(row.slice(3), lines)
    } else if (row.startsWith("DA:")) {
      const [line, count] = row.slice(3).split(",").map(Number)
      lines.set(line as number, count as number)
    }
  }
  return files
}
