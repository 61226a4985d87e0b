/** Exports that no other file imports. */

import { readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { Glob } from "bun"

const DECLARED =
  /^export (?:declare )?(?:async )?(?:abstract )?(?:const|let|function\*?|class|interface|type|enum) ([\w$]+)/gm
const LISTED = /^export (?:type )?\{([^}]*)\}(?! from)/gm
const TAKEN = /(?:import|export)\s+(?:type\s+)?([\w$]+\s*,\s*)?\{([^}]*)\}\s+from\s+"(\.[^"]+)"/g
const WHOLE = /(?:import|export)\s+(?:type\s+)?\*(?:\s+as\s+[\w$]+)?\s+from\s+"(\.[^"]+)"/g
/** A file that imports another at run time may use any of its exports. */
const DYNAMIC = /\bimport\("(\.[^"]+)"\)/g

/** `type a as b` → `a`. */
const nameIn = (specifier: string): string =>
  specifier
    .trim()
    .replace(/^type\s+/, "")
    .split(/\s+as\s+|:/)[0]
    ?.trim() ?? ""

/**
 * `FILE NAME` for each name that a file of `src` exports and no file of the checkout imports. Exports of the package's entries are
 * its API and count as used.
 * @param entries The entry files of the package.
 */
export function unusedExports(root: string, entries: readonly string[]): string[] {
  const files = [...new Glob("{src,tests,scripts}/**/*.{ts,tsx}").scanSync(root), "build.ts"]
  const used = new Set<string>()
  const whole = new Set<string>()
  const exported: [file: string, name: string][] = []
  for (const file of files) {
    const text = readFileSync(join(root, file), "utf8")
    const target = (from: string) => normalize(join(dirname(file), from))
    for (const [, , names = "", from = ""] of text.matchAll(TAKEN))
      for (const name of names.split(",")) used.add(`${target(from)} ${nameIn(name)}`)
    for (const [, from = ""] of text.matchAll(DYNAMIC)) whole.add(target(from))
    for (const [, from = ""] of text.matchAll(WHOLE)) whole.add(target(from))
    if (!file.startsWith("src/")) continue
    for (const [, name = ""] of text.matchAll(DECLARED)) exported.push([file, name])
    for (const [, names = ""] of text.matchAll(LISTED))
      for (const name of names.split(","))
        if (name.trim() !== "")
          exported.push([
            file,
            name
              .trim()
              .split(/\s+as\s+/)
              .at(-1) ?? "",
          ])
  }
  return exported
    .filter(([file, name]) => !entries.includes(file) && !whole.has(file) && !used.has(`${file} ${name}`))
    .map(([file, name]) => `${file} ${name}`)
}
