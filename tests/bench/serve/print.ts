/** Formats the result of a run as text. */

import { digits, table } from "../../../src/cli/format.ts"
import type { LoadResult, ShowResult } from "./run.ts"

/** Parses `1,8` to [1, 8]. @throws Error when the text is not a list of numbers */
export function numbers(text: string, option: string): number[] {
  const found = text.split(",").map(Number)
  if (found.some((each) => !Number.isFinite(each) || each < 0))
    throw new Error(`${option}: "${text}" is no list of numbers`)
  return found
}

export function loadText(loads: readonly LoadResult[]): string {
  const head = [
    "load",
    "tok/s",
    "TTFT p50",
    "p95",
    "p99",
    "ITL p50",
    "p95",
    "p99 ms",
    "served",
    "told to retry",
    "lost",
  ]
  const rows = loads.map((load) => {
    const { ttft_ms, itl_ms, served, refused, lost, retries, tokens_per_second } = load
    const name = load.kind === "closed" ? `${load.streams} streams` : `${load.rate} a second`
    const times = [ttft_ms, itl_ms].flatMap(({ p50, p95, p99 }) => [digits(p50), digits(p95), digits(p99)])
    return [name, digits(tokens_per_second), ...times, String(served), String(refused + retries), String(lost)]
  })
  const reasons = [...new Set(loads.flatMap((load) => load.reasons))]
  return [table([head, ...rows]), ...reasons.map((reason) => `lost: ${reason}`)].join("\n")
}

export function showText(result: ShowResult): string {
  const verdict = result.report.passed ? "passed" : "FAILED"
  if (result.show === "interference") {
    const { streams, long, chunk, alone_ms, during_ms, chunk_ms, bound_ms, long_ttft_ms } = result.report
    return [
      `${streams} streams decode, a prompt of ${long} tokens arrives (in chunks of ${chunk})`,
      table([
        ["between tokens, alone", `p50 ${digits(alone_ms.p50)} ms, p99 ${digits(alone_ms.p99)} ms`],
        ["between tokens, during", `p50 ${digits(during_ms.p50)} ms, p99 ${digits(during_ms.p99)} ms`],
        ["one chunk", `${digits(chunk_ms)} ms`],
        ["3 × p50 + one chunk", `${digits(bound_ms)} ms`],
        ["first token of the prompt", `${digits(long_ttft_ms)} ms`],
      ]),
      verdict,
    ].join("\n")
  }
  if (result.show === "prefix") {
    const { rounds, ttft_ms, ratio, cached, equal } = result.report
    return [
      `a prompt of ${result.report.prefix} + ${result.report.own} tokens, ${rounds} rounds`,
      table([
        ["first token, nothing cached", `${digits(ttft_ms.cold)} ms`],
        ["the same again", `${digits(ttft_ms.same)} ms: ${digits(ratio.same)}× sooner, ${cached.same} tokens cached`],
        [
          "another end",
          `${digits(ttft_ms.prefix)} ms: ${digits(ratio.prefix)}× sooner, ${cached.prefix} tokens cached`,
        ],
        ["same answer", `${equal} of ${rounds}`],
      ]),
      verdict,
    ].join("\n")
  }
  const { connections, bound, requests, served, refused, lost, reasons, peak_streams, memory, memory_growth } =
    result.report
  const mb = (bytes: number | undefined) => `${digits((bytes ?? Number.NaN) / 1e6)} MB`
  return [
    `${connections} connections against a bound of ${bound}`,
    table([
      ["requests", String(requests)],
      ["served", `${served} (${peak_streams} at once)`],
      ["told to retry", String(refused)],
      ["lost", [lost, ...reasons].join("; ")],
      ...(memory.length === 0
        ? []
        : [["memory", `${mb(memory[0])} before, ${mb(Math.max(...memory))} at most, ${mb(memory.at(-1))} after`]]),
      ...(memory_growth === undefined ? [] : [["last fifth over second fifth", digits(memory_growth)]]),
    ]),
    verdict,
  ].join("\n")
}
