/** Enforces the layout that ARCHITECTURE.md describes. */

import { expect, test } from "bun:test"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Glob } from "bun"
import { chatPath } from "../../../scripts/structure/chat-path.ts"
import { unusedExports } from "../../../scripts/structure/exports.ts"
import { circles, importGraph } from "../../../scripts/structure/imports.ts"
import { measure } from "../../../scripts/structure.ts"

/** Folders of `src`, lowest layer first; a folder imports only from those before it. Files directly in `src` are listed by name. */
const ORDER = [
  ["errors.ts", "async.ts", "json.ts"],
  ["program.ts"],
  ["gguf"],
  ["native", "text", "store"],
  ["plan", "grammar"],
  ["models"],
  ["engine"],
  ["server", "library.ts"],
  ["index.ts"],
  ["cli"],
  ["cli.ts"],
]

const graph = importGraph(".", "src")
const found = measure(".")

test("imports point in one direction", () => {
  const rank = (path: string) => ORDER.findIndex((rooms) => rooms.includes(path.split("/")[1] ?? ""))
  const room = (path: string) => path.split("/")[1]
  const wrong = [...graph].flatMap(([from, imports]) =>
    imports
      .filter(({ to }) => to.startsWith("src/") && room(from) !== room(to) && !(rank(to) < rank(from)))
      .map(({ to }) => `${from} → ${to}`),
  )
  expect([...graph.keys()].filter((file) => rank(file) < 0)).toEqual([])
  expect(wrong).toEqual([])
})

test("no files import each other in a circle, not even types", () => {
  expect(circles(graph)).toEqual([])
})

test("the server has few rooms and few imports between them", () => {
  expect(found.serverRooms.length).toBeLessThanOrEqual(14)
  expect(found.serverEdges.length).toBeLessThanOrEqual(45)
})

test("no two rooms of the server import from each other", () => {
  const edges = new Set(found.serverEdges.map((edge) => edge.join(" → ")))
  const both = found.serverEdges.filter(([from, to]) => edges.has(`${to} → ${from}`))
  expect(both).toEqual([])
})

test("small files with one user are part of that user's file", () => {
  expect(found.smallFiles.length).toBeLessThanOrEqual(20)
})

test("native code refers to the slots of an op by name", () => {
  expect(found.indexLiterals).toEqual([])
})

test("every export has a user", () => {
  expect(found.unusedExports).toEqual([])
})

test("files stay under 450 lines", () => {
  const files = [...new Glob("{src,hip,tests,scripts}/**/*.{ts,tsx,h,cpp,hip,inc,py,sh}").scanSync("."), "build.ts"]
  expect(files.length).toBeGreaterThan(500)
  expect(files.filter((file) => readFileSync(file, "utf8").split("\n").length > 450)).toEqual([])
})

test("ARCHITECTURE.md lists every file that a streamed chat passes through", async () => {
  const text = readFileSync("ARCHITECTURE.md", "utf8")
  const life = text.slice(text.indexOf("## The life of a request"), text.indexOf("## Recipes"))
  const named = [...life.matchAll(/`(?:\.\.\/)?([\w./-]+\.ts)`/g)].map(([, name = ""]) => name)
  const isNamed = (file: string) => named.some((name) => file.endsWith(`/${name.replace(/^src\//, "")}`))
  const path = await chatPath(".")
  expect(path.length).toBeGreaterThan(30)
  expect(path.filter((file) => !isNamed(file))).toEqual([])
  expect(named.filter((name) => ![...graph.keys()].some((file) => `/${file}`.endsWith(`/${name}`)))).toEqual([])
})

test("the measurements find known violations", () => {
  const folder = mkdtempSync(join(tmpdir(), "rocmforge-structure-"))
  mkdirSync(join(folder, "src"))
  writeFileSync(join(folder, "build.ts"), 'import { taken, type Shape as Form } from "./src/a.ts"\n')
  writeFileSync(
    join(folder, "src/a.ts"),
    "export const taken = 1\nexport interface Shape {}\nexport function left() {}\n",
  )
  expect(unusedExports(folder, [])).toEqual(["src/a.ts left"])
  expect(unusedExports(folder, ["src/a.ts"])).toEqual([])
  rmSync(folder, { recursive: true })
  const circular = new Map([
    ["src/a.ts", [{ to: "src/b.ts", typeOnly: false }]],
    ["src/b.ts", [{ to: "src/c.ts", typeOnly: true }]],
    ["src/c.ts", [{ to: "src/a.ts", typeOnly: false }]],
    ["src/d.ts", [{ to: "src/a.ts", typeOnly: false }]],
  ])
  expect(circles(circular)).toEqual([["src/a.ts", "src/b.ts", "src/c.ts"]])
})
