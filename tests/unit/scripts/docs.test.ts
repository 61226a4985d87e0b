import { expect, test } from "bun:test"
import { existsSync, readFileSync } from "node:fs"
import { Glob } from "bun"
import packageJson from "../../../package.json" with { type: "json" }
import { OPTIONS, VARIABLES } from "../../../src/cli/options/options.ts"
import { FORMATS } from "../../../src/gguf/formats.ts"
import { ARCHITECTURES } from "../../../src/models/registry.ts"

const FILES = [
  "README.md",
  "ARCHITECTURE.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  ...new Glob("docs/*.md").scanSync("."),
]
const read = (file: string): string => readFileSync(file, "utf8")
const documents = FILES.map(read).join("\n")

/** Every `word` between backticks. */
const quoted = (text: string): string[] =>
  [...text.matchAll(/`([^`\n]+)`/g)].flatMap((match) => (match[1] ?? "").split(" "))

test("every path in the documents exists", () => {
  const paths = quoted(documents).filter((word) => /^(src|tests|hip|scripts|docs|deploy)\//.test(word))
  expect(paths.length).toBeGreaterThan(100)
  const exists = (path: string) => {
    if (path.includes("*")) return [...new Glob(path).scanSync(".")].length > 0
    return existsSync(path) || [...new Glob(`${path}*.test.ts`).scanSync(".")].length > 0 // a prefix, as a filter of npm test
  }
  expect(paths.filter((path) => !exists(path))).toEqual([])
})

test("every link between the documents points to a file", () => {
  const links = FILES.flatMap((file) =>
    [...read(file).matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, target = ""]) => new URL(target, `file:///${file}`)),
  )
  expect(links.length).toBeGreaterThan(8)
  expect(links.map(({ pathname }) => pathname.slice(1)).filter((path) => !existsSync(path))).toEqual([])
})

test("every script in the documents exists", () => {
  const named = (pattern: RegExp) => [...documents.matchAll(pattern)].map(([, name = ""]) => name)
  const scripts = named(/(?:npm|bun) run ([a-z][\w:-]*)/g)
  expect(scripts).toContain("demo")
  expect(scripts.filter((name) => !(name in packageJson.scripts))).toEqual([])
  const files = named(/\bbun ((?:scripts|tests)\/[\w./-]+)/g)
  expect(files).toContain("scripts/structure.ts")
  expect(files.filter((file) => !existsSync(file))).toEqual([])
})

test("every command in the documents exists", () => {
  const commands = [...documents.matchAll(/\brocmforge ([a-z]+)\b(?= [a-zA-Z-])/g)].map(([, name = ""]) => name)
  expect(commands.length).toBeGreaterThan(5)
  const known = new Set([...new Glob("*.ts").scanSync("src/cli")].map((file) => file.replace(".ts", "")))
  expect(commands.filter((name) => !known.has(name))).toEqual([])
})

test("the documents list every format, architecture and variable", () => {
  const words = new Set(documents.split(/[^\w-]+/))
  const variables = [
    ...VARIABLES.map(({ env }) => env),
    ...Object.values(OPTIONS).map((option) => "env" in option && option.env),
  ]
  const names = [...FORMATS.map(({ name }) => name), ...ARCHITECTURES, ...variables.filter((name) => name !== false)]
  expect(names.filter((name) => !words.has(name))).toEqual([])
})

test("the README fits on two screens", () => {
  expect(read("README.md").split("\n").length).toBeLessThanOrEqual(120)
})
