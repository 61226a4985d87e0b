// Exits with 0 when node_modules matches package-lock.json. Runs under Node, because Bun is one of the packages.
import { existsSync, readFileSync } from "node:fs"

const readJson = (path) => JSON.parse(readFileSync(path, "utf8"))

const upToDate = Object.entries(readJson("package-lock.json").packages).every(([path, wanted]) => {
  if (path === "") return true
  const manifest = `${path}/package.json`
  // Optional packages belong to other platforms. Whether Bun's own package is installed shows when Bun starts.
  return existsSync(manifest) ? readJson(manifest).version === wanted.version : wanted.optional === true
})
process.exitCode = upToDate ? 0 : 1
