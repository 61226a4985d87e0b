/** Runs loads or shows against a server, and starts one if no URL is given. */

import type { Target } from "./client.ts"
import { complete } from "./client.ts"
import { type FloodReport, flood } from "./flood.ts"
import { type InterferenceReport, interference } from "./interference.ts"
import { closedLoop, openLoop } from "./load.ts"
import { type LoadReport, summarize } from "./measure.ts"
import { type PrefixReport, prefix } from "./prefix.ts"
import { randomPrompt } from "./random.ts"
import { startServer } from "./server.ts"

export interface RunOptions {
  model: string
  /** URL of a running server. Without it, a server is started with `serveArgs`. */
  url: string | undefined
  serveArgs: readonly string[]
  n_vocab: number
  retries: number
  extra: Readonly<Record<string, unknown>>
  /** Length of every prompt, and of every answer, in tokens. */
  prompt: number
  generate: number
  seed: number
}

export type Load = { kind: "closed"; streams: number } | { kind: "open"; rate: number }
export type LoadResult = Load & LoadReport

export interface LoadRun extends RunOptions {
  loads: readonly Load[]
  /** Number of requests per load. Default: three per stream, 32 for a rate. */
  requests?: number
}

export const SHOWS = ["interference", "prefix", "flood"] as const
export type ShowName = (typeof SHOWS)[number]

export interface ShowRun extends RunOptions {
  rounds: number
  connections: number
  bound: number
  minutes: number
  /** The server's `--chunk-size`. */
  chunk: number
}

export type ShowResult =
  | { show: "interference"; report: InterferenceReport }
  | { show: "prefix"; report: PrefixReport }
  | { show: "flood"; report: FloodReport }

export async function runLoads({ loads, requests, ...options }: LoadRun): Promise<LoadResult[]> {
  return await withServer(options, options.serveArgs, async (target) => {
    const results: LoadResult[] = []
    for (const [i, load] of loads.entries()) {
      const shape = { prompt: options.prompt, generate: options.generate, seed: options.seed + i }
      const records =
        load.kind === "closed"
          ? await closedLoop(target, shape, load.streams, requests ?? 3 * load.streams)
          : await openLoop(target, shape, load.rate, requests ?? 32)
      results.push({ ...load, ...summarize(records) })
    }
    return results
  })
}

export async function runShow(show: ShowName, run: ShowRun): Promise<ShowResult> {
  const { rounds, connections, bound, minutes, chunk, prompt, generate, seed, serveArgs } = run
  if (show === "interference") {
    const args = ["--chunk-size", String(chunk), ...serveArgs]
    const options = { streams: 4, long: 1500, chunk, rounds }
    return { show, report: await withServer(run, args, (target) => interference(target, options, seed)) }
  }
  if (show === "prefix") {
    const options = { prefix: 1000, own: 8, generate: 32, rounds }
    return { show, report: await withServer(run, serveArgs, (target) => prefix(target, options, seed)) }
  }
  const args = ["--max-queue", String(bound), "--ctx-size", "512", ...serveArgs]
  const options = { connections, bound, prompt, generate, minutes }
  return { show, report: await withServer(run, args, (target, pid) => flood(target, options, pid)) }
}

/** Calls `body` with a server that has answered a warm-up request. */
async function withServer<T>(
  options: RunOptions,
  args: readonly string[],
  body: (target: Target, pid: number | undefined) => Promise<T>,
): Promise<T> {
  await using server = options.url === undefined ? await startServer(options.model, args) : undefined
  const url = options.url ?? server?.url ?? ""
  const { n_vocab, extra, retries } = options
  const target = { url, model: await servedModel(url), n_vocab, extra, retries }
  const first = await complete(target, { prompt: randomPrompt(options.prompt, options.seed, n_vocab), max_tokens: 8 })
  if (first.outcome !== "served") throw new Error(`${url} does not serve: ${first.reason ?? first.status}`)
  return await body(target, server?.pid)
}

/** The first model in the server's list. */
async function servedModel(url: string): Promise<string> {
  const response = await fetch(`${url}/v1/models`)
  const body = (await response.json()) as { data?: { id?: string }[] }
  const id = body.data?.[0]?.id
  if (id === undefined) throw new Error(`${url}/v1/models names no model`)
  return id
}
