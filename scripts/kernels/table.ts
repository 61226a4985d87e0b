/** Formats and parses the table of all kernels. */

import type { KernelFacts } from "./facts.ts"

const COLUMNS = ["vgprs", "sgprs", "lds", "scratch", "spills", "waves", "dot", "matrix"] as const
const TITLES = ["VGPR", "SGPR", "LDS", "scratch", "spills", "waves", "dot4", "matrix"]
const WIDTHS = [5, 5, 6, 8, 7, 6, 6, 7]

export interface Table {
  /** The compiler of the code. Tables of different compilers are not compared. */
  compiler: string
  kernels: KernelFacts[]
}

export function formatTable({ compiler, kernels }: Table): string {
  const nameWidth = Math.max(...kernels.map((facts) => facts.kernel.length))
  const cells = (values: readonly (string | number)[]) =>
    values.map((value, i) => String(value).padStart(WIDTHS[i] as number)).join("")
  const lines = [
    "# What the compiler made of every GPU kernel; `bun run kernels:report` writes this file.",
    "# VGPR, SGPR: registers; LDS: bytes a block; scratch: bytes a lane; waves: how many a SIMD holds; dot4, matrix: instructions.",
    `# compiler: ${compiler}`,
  ]
  for (const arch of new Set(kernels.map((facts) => facts.arch))) {
    lines.push("", `${arch.padEnd(nameWidth)}${cells(TITLES)}`)
    for (const facts of kernels.filter((each) => each.arch === arch)) {
      lines.push(`${facts.kernel.padEnd(nameWidth)}${cells(COLUMNS.map((column) => facts[column]))}`)
    }
  }
  return `${lines.join("\n")}\n`
}

/** Parses a table. @throws Error for a line that is not part of one */
export function parseTable(text: string): Table {
  const table: Table = { compiler: /^# compiler: (.+)$/m.exec(text)?.[1] ?? "", kernels: [] }
  let arch = ""
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue
    const [first = "", ...cells] = line.split(/\s+/)
    if (cells[0] === TITLES[0]) {
      arch = first
      continue
    }
    const values = cells.map(Number)
    if (values.length !== COLUMNS.length || values.some(Number.isNaN))
      throw new Error(`not a row of the table: ${line}`)
    const [vgprs = 0, sgprs = 0, lds = 0, scratch = 0, spills = 0, waves = 0, dot = 0, matrix = 0] = values
    table.kernels.push({ arch, kernel: first, vgprs, sgprs, lds, scratch, spills, waves, dot, matrix })
  }
  return table
}
