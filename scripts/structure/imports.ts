/** The import graph of a source tree, read from its text: Biome keeps imports in one form, so a pattern finds them all. */

import { existsSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { Glob } from "bun"

export interface Import {
  /** Path of the imported file, relative to the tree's root. */
  to: string
  typeOnly: boolean
}

/** Imports within the tree by file. Paths are relative to the root. */
export type ImportGraph = ReadonlyMap<string, readonly Import[]>

const IMPORT = /(?:import|export)\s+(type\s)?[^"';]*?\sfrom\s+"(\.[^"]+)"|import\s*\(?\s*"(\.[^"]+)"/g

/** @param root Folder of a checkout. @param folders The folders in it to read, such as `src`. */
export function importGraph(root: string, ...folders: string[]): ImportGraph {
  const graph = new Map<string, Import[]>()
  for (const folder of folders) {
    for (const file of new Glob(`${folder}/**/*.{ts,tsx}`).scanSync(root)) {
      graph.set(file, importsOf(readFileSync(join(root, file), "utf8"), file, root))
    }
  }
  return graph
}

function importsOf(text: string, file: string, root: string): Import[] {
  const found = new Map<string, boolean>()
  for (const [, type, from, bare] of text.matchAll(IMPORT)) {
    const to = normalize(join(dirname(file), from ?? bare ?? ""))
    if (existsSync(join(root, to))) found.set(to, (found.get(to) ?? true) && type !== undefined)
  }
  return [...found].map(([to, typeOnly]) => ({ to, typeOnly }))
}

/** The part of a path that names a room of `folder`: a folder or a file directly inside it. */
export const roomOf = (path: string, folder: string): string | undefined =>
  path.startsWith(`${folder}/`) ? path.slice(folder.length + 1).split("/")[0] : undefined

/** Pairs of rooms of `folder`: the first imports from the second. */
export function roomEdges(graph: ImportGraph, folder: string): (readonly [from: string, to: string])[] {
  const edges = new Map<string, readonly [string, string]>()
  for (const [file, imports] of graph) {
    const from = roomOf(file, folder)
    for (const { to } of from === undefined ? [] : imports) {
      const target = /\.tsx?$/.test(to) ? roomOf(to, folder) : undefined
      if (target !== undefined && target !== from) edges.set(`${from} ${target}`, [from as string, target])
    }
  }
  return [...edges.values()]
}

/**
 * Groups of files that import each other in a cycle: the strongly connected components with more than one file (Tarjan 1972).
 * @param follow Selects the imports that count.
 */
export function circles(graph: ImportGraph, follow: (from: string, edge: Import) => boolean = () => true): string[][] {
  const index = new Map<string, number>()
  const low = new Map<string, number>()
  const stack: string[] = []
  const found: string[][] = []
  const visit = (file: string): number => {
    const own = index.size
    index.set(file, own)
    stack.push(file)
    let lowest = own
    for (const edge of graph.get(file) ?? []) {
      if (!graph.has(edge.to) || !follow(file, edge)) continue
      if (!index.has(edge.to)) lowest = Math.min(lowest, visit(edge.to))
      else if (stack.includes(edge.to)) lowest = Math.min(lowest, index.get(edge.to) as number)
    }
    low.set(file, lowest)
    if (lowest === own) {
      const group = stack.splice(stack.indexOf(file))
      if (group.length > 1) found.push(group.sort())
    }
    return lowest
  }
  for (const file of graph.keys()) if (!index.has(file)) visit(file)
  return found
}
