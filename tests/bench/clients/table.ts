/** The table of what each client could do. */

import { FEATURES, type Feature } from "./clients.ts"

export interface Outcome {
  readonly ok: boolean
  /** Why it failed. */
  readonly reason?: string
}

export interface Row {
  readonly name: string
  /** Empty where the client was not installed. */
  readonly version: string
  /** Without the features that the client does not have. */
  readonly outcomes: ReadonlyMap<Feature, Outcome>
}

/** Characters of a reason that are shown. */
const LONGEST_REASON = 400

/** A Markdown table with a row for each client, and the reasons of failures below it. */
export function tableOf(rows: readonly Row[]): string {
  const cells = rows.map(({ name, version, outcomes }) => [
    name,
    version,
    ...FEATURES.map((feature) => {
      const outcome = outcomes.get(feature)
      return outcome === undefined ? "–" : outcome.ok ? "pass" : "FAIL"
    }),
  ])
  const lines = [["client", "version", ...FEATURES], cells[0]?.map(() => "---") ?? [], ...cells]
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? []
  const table = lines.map((line) => `| ${line.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`)
  const reasons = rows.flatMap(({ name, outcomes }) =>
    [...outcomes].flatMap(([feature, { ok, reason = "" }]) =>
      ok ? [] : `${name}, ${feature}: ${reason.replaceAll(/\s+/g, " ").slice(0, LONGEST_REASON)}`,
    ),
  )
  const all = rows.flatMap(({ outcomes }) => [...outcomes.values()])
  const total = `${all.filter(({ ok }) => ok).length} of ${all.length} pass`
  return [...table, "", total, ...reasons].join("\n")
}
