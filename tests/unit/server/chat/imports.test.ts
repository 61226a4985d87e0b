/** The core does not import any API or HTTP, and its files have no import cycle, types included. */

import { expect, test } from "bun:test"
import { dirname, join } from "node:path"
import { Glob } from "bun"

const SERVER = join(import.meta.dir, "../../../../src/server")

/** Each file of the core, and the files of the server that it imports. */
const imports = new Map<string, string[]>()
for (const file of [...new Glob("chat/*.ts").scanSync(SERVER)].sort()) {
  const source = await Bun.file(join(SERVER, file)).text()
  const paths = [...source.matchAll(/ from "(\..+?)"/g)].map(([, path = ""]) => join(dirname(file), path))
  const own = paths.filter((path) => !path.startsWith(".."))
  imports.set(file, own)
}

test("the core imports only itself and the observers of generations and requests from the server", () => {
  expect(imports.size).toBeGreaterThan(5)
  const others = [...imports.values()].flat().filter((path) => !path.startsWith("chat/"))
  expect([...new Set(others)].toSorted()).toEqual(["observe/generation-watch.ts", "observe/record.ts"])
})

test("no file of the core imports itself through others", () => {
  const reaches = (from: string, seen = new Set<string>()): Set<string> => {
    for (const next of imports.get(from) ?? []) {
      if (seen.has(next)) continue
      seen.add(next)
      reaches(next, seen)
    }
    return seen
  }
  expect([...imports.keys()].filter((file) => reaches(file).has(file))).toEqual([])
})
