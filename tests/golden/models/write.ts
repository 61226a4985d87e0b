/** Writes the tiny models and their digests to a folder for `generate.py`: `bun tests/golden/models/write.ts FOLDER`. */

import { join } from "node:path"
import { writeTinyModel } from "../../support/tiny-model.ts"
import { CASES, GOLDEN_POSITIONS } from "./cases.ts"

const folder = process.argv[2]
if (folder === undefined) throw new Error("usage: bun tests/golden/models/write.ts FOLDER")
const cases: Record<string, unknown> = {}
for (const [name, options] of Object.entries(CASES)) {
  cases[name] = { options, sha256: await writeTinyModel(join(folder, `${name}.gguf`), options) }
}
await Bun.write(join(folder, "cases.json"), JSON.stringify({ positions: GOLDEN_POSITIONS, cases }))
