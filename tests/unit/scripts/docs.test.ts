import { expect, test } from "bun:test"
import { existsSync, readFileSync } from "node:fs"
import { Glob } from "bun"
import packageJson from "../../../package.json" with { type: "json" }
import { OPTIONS, VARIABLES } from "../../../src/cli/options/options.ts"
import { FORMATS } from "../../../src/gguf/formats.ts"
import { ARCHITECTURES } from "../../../src/models/registry.ts"

const readme = readFileSync("README.md", "utf8")
const contributing = readFileSync("CONTRIBUTING.md", "utf8")

/** Every `word` between backticks. */
const quoted = (text: string): string[] =>
  [...text.matchAll(/`([^`\n]+)`/g)].flatMap((match) => (match[1] ?? "").split(" "))

test("every path that the documents name exists", () => {
  const paths = quoted(readme + contributing).filter((word) => /^(src|tests|hip|scripts)\//.test(word))
  expect(paths.length).toBeGreaterThan(30)
  const exists = (path: string) => {
    if (path.includes("*")) return [...new Glob(path).scanSync(".")].length > 0
    return existsSync(path) || [...new Glob(`${path}*.test.ts`).scanSync(".")].length > 0 // a prefix, as npm test takes it
  }
  expect(paths.filter((path) => !exists(path))).toEqual([])
})

test("every npm script that the documents name exists", () => {
  const scripts = [...(readme + contributing).matchAll(/(?:npm|bun) run ([a-z][\w:-]*)/g)].map(
    (match) => match[1] ?? "",
  )
  expect(scripts).toContain("demo")
  expect(scripts.filter((name) => !(name in packageJson.scripts))).toEqual([])
})

test("the README lists every format, architecture and variable", () => {
  const words = new Set(readme.split(/[^\w-]+/))
  const variables = [
    ...VARIABLES.map(({ env }) => env),
    ...Object.values(OPTIONS).map((option) => "env" in option && option.env),
  ]
  const names = [...FORMATS.map(({ name }) => name), ...ARCHITECTURES, ...variables.filter((name) => name !== false)]
  expect(names.filter((name) => !words.has(name))).toEqual([])
})
