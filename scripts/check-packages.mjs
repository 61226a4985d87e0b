// Exits with 0 when node_modules holds what package-lock.json asks for. Runs under Node: Bun is one of those packages.
import { existsSync, readFileSync } from "node:fs"

const readJson = (path) => JSON.parse(readFileSync(path, "utf8"))

const upToDate = Object.entries(readJson("package-lock.json").packages).every(([path, wanted]) => {
  if (path === "") return true
  const manifest = `${path}/package.json`
  // Optional packages are those of other platforms; whether Bun's own is there shows when Bun starts.
  return existsSync(manifest) ? readJson(manifest).version === wanted.version : wanted.optional === true
})
process.exitCode = upToDate ? 0 : 1
