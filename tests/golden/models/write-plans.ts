/** Writes the printed plan of every tiny model to `plans.txt` beside this file: `bun tests/golden/models/write-plans.ts`. */

import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openGguf } from "../../../src/gguf/reader.ts"
import { buildModel } from "../../../src/models/registry.ts"
import { printPlan } from "../../../src/plan/print.ts"
import { writeTinyModel } from "../../support/tiny-model.ts"
import { CASES } from "./cases.ts"

const folder = await mkdtemp(join(tmpdir(), "rocmforge-plans-"))
try {
  const sections: string[] = []
  for (const [name, options] of Object.entries(CASES)) {
    const path = join(folder, `${name}.gguf`)
    await writeTinyModel(path, options)
    const { plan } = buildModel(await openGguf(path))
    sections.push([`== ${name}`, ...printPlan(plan), ""].join("\n"))
  }
  await Bun.write(join(import.meta.dir, "plans.txt"), sections.join("\n"))
} finally {
  await rm(folder, { recursive: true, force: true })
}
