const UNITS = ["B", "kB", "MB", "GB", "TB"]

/** A number of bytes in decimal units with three digits: `98.4 MB`. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${unit === 0 ? Math.round(value) : digits(value)} ${UNITS[unit]}`
}

/** A count with three digits in thousands, millions or billions from 10,000 on: `134 M`, `7.24 B`. */
export function formatCount(count: number): string {
  if (count >= 999.5e6) return `${digits(count / 1e9)} B`
  if (count >= 999.5e3) return `${digits(count / 1e6)} M`
  return count >= 10_000 ? `${digits(count / 1e3)} k` : String(count)
}

/** A number with three significant digits, without an exponent. */
export function digits(value: number): string {
  if (value >= 100) return value.toFixed(0)
  return value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

/** Tokens per second, or `-` when no time was measured. */
export function formatRate(tokens: number, milliseconds: number): string {
  return tokens > 0 && milliseconds > 0 ? `${digits((1000 * tokens) / milliseconds)} tok/s` : "-"
}

/** Rows as lines of text, with every column padded to its widest cell. */
export function table(rows: readonly (readonly string[])[], indent = "  "): string {
  const columns = Math.max(0, ...rows.map((row) => row.length))
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  const line = (row: readonly string[]): string => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ")
  return rows.map((row) => indent + line(row).trimEnd()).join("\n")
}

/** A text in one line that is safe to print on a terminal: control characters become escapes. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (c) => (c === "\n" ? "\\n" : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`))
}

/** A summary of repeated measurements of one quantity. */
export interface Spread {
  median: number
  min: number
  max: number
  runs: number[]
}

export function spread(runs: readonly number[]): Spread {
  return { median: median(runs), min: Math.min(...runs), max: Math.max(...runs), runs: [...runs] }
}

/** The middle value, or the mean of the two middle values of an even number of them. */
function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const high = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2
}
