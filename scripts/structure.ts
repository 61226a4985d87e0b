/**
 * `bun scripts/structure.ts [FOLDER]`: prints measurements of a checkout's structure as a table: rooms and edges of the server, import
 * cycles, small files, index literals in native code, unused exports, and the files that a streamed chat passes through.
 */

import { readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { Glob } from "bun"
import { chatPath } from "./structure/chat-path.ts"
import { unusedExports } from "./structure/exports.ts"
import { circles, importGraph, roomEdges, roomOf } from "./structure/imports.ts"

/** Up to this many lines, a file with one user should be a function in that user's file. */
const SMALL_LINES = 30

export interface Structure {
  serverRooms: string[]
  serverEdges: (readonly [from: string, to: string])[]
  /** Files that import each other in a cycle; imports of types count. */
  circles: string[][]
  smallFiles: string[]
  /** Uses of a slot of an op record by its number. */
  indexLiterals: string[]
  unusedExports: string[]
}

export function measure(root: string): Structure {
  const graph = importGraph(root, "src")
  const rooms = [...graph.keys()].map((file) => roomOf(file, "src/server"))
  return {
    serverRooms: [...new Set(rooms.filter((room) => room !== undefined))],
    serverEdges: roomEdges(graph, "src/server"),
    circles: circles(graph),
    smallFiles: [...graph.keys()].filter((file) => lineCount(join(root, file)) <= SMALL_LINES),
    indexLiterals: indexLiterals(root),
    unusedExports: unusedExports(root, ["src/index.ts", "src/server/index.ts"]),
  }
}

/** Finds uses of a slot of an op record by its number: `dim[3]`, `f[0]`, `buf[1]`, and accessors such as `at(op, 1)`. */
function indexLiterals(root: string): string[] {
  const files = [...new Glob("hip/**/*.{h,cpp}").scanSync(root)].filter((file) => file !== "hip/abi.h") // declares the record
  return files.flatMap((file) => {
    const text = readFileSync(join(root, file), "utf8")
    const literals = /\b(?:dim|f|buf|tensor)\[\d+\]|\b(?:buffer|at|tensor|vector)\((?:op, )?\d\)/g
    return [...text.matchAll(literals)].map(([match]) => `${file} ${match}`)
  })
}

const lineCount = (path: string): number => readFileSync(path, "utf8").split("\n").length - 1

if (import.meta.main) {
  const root = resolve(process.argv[2] ?? ".")
  const found = measure(root)
  const path = await chatPath(root)
  const rows: [string, readonly unknown[]][] = [
    ["rooms of src/server", found.serverRooms],
    ["import edges between them", found.serverEdges],
    ["circles of imports", found.circles],
    [`files of at most ${SMALL_LINES} lines in src`, found.smallFiles],
    ["index literals in hip", found.indexLiterals],
    ["exports that nothing uses", found.unusedExports],
    ["files of src that a streamed chat passes through", path],
  ]
  for (const [name, all] of rows) console.log(`${String(all.length).padStart(5)}  ${name}`)
}
