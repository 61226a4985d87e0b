/**
 * Load test of a real HTTP server:
 *
 *     bun tests/bench/serve.ts [--streams 1,8] [--rate 2] [--show interference|prefix|flood] [--json] [-- SERVE-OPTION…]
 *
 * Starts `rocmforge serve` with the options after `--`; --url selects a running server with OpenAI's API instead. Prompts are random
 * tokens, answers have full length (`ignore_eos`). --streams: number of clients, each sending its next request when the previous one is
 * answered (closed loop). --rate: requests per second, sent at random times whether or not others are answered (open loop, Poisson).
 * Times are measured by the client. --show runs a check of the serving engine's guarantees, and exits with 1 when it fails. Client and
 * server share this machine's processors.
 */

import { parseArgs } from "node:util"
import { loadText, numbers, showText } from "./serve/print.ts"
import { runLoads, runShow, SHOWS } from "./serve/run.ts"

/** Bun sends at most 256 requests at once unless this variable is set before it starts. */
const CONNECTIONS = "BUN_CONFIG_MAX_HTTP_REQUESTS"
if (process.env[CONNECTIONS] === undefined) {
  const command = [process.execPath, import.meta.path, ...process.argv.slice(2)]
  const env = { ...process.env, [CONNECTIONS]: "10000" }
  const child = Bun.spawn(command, { env, stdin: "inherit", stdout: "inherit", stderr: "inherit" })
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal))
  process.exit(await child.exited)
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string", default: "smollm2-135m" },
    url: { type: "string" },
    streams: { type: "string", default: "1,8" },
    rate: { type: "string" },
    requests: { type: "string" },
    prompt: { type: "string", default: "64" },
    generate: { type: "string", default: "128" },
    retries: { type: "string", default: "0" },
    vocab: { type: "string", default: "32000" },
    extra: { type: "string", default: "{}" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    show: { type: "string" },
    rounds: { type: "string", default: "5" },
    connections: { type: "string", default: "1000" },
    bound: { type: "string", default: "64" },
    minutes: { type: "string", default: "0" },
    chunk: { type: "string", default: "16" },
    json: { type: "boolean", default: false },
  },
})
const number = (
  name: "prompt" | "generate" | "retries" | "vocab" | "seed" | "rounds" | "connections" | "bound" | "minutes" | "chunk",
) => numbers(values[name], `--${name}`)[0] as number
const common = {
  model: values.model,
  url: values.url?.replace(/\/$/, ""),
  serveArgs: positionals,
  n_vocab: number("vocab"),
  retries: number("retries"),
  extra: JSON.parse(values.extra) as Record<string, unknown>,
  prompt: number("prompt"),
  generate: number("generate"),
  seed: number("seed"),
}

if (values.show === undefined) {
  const rates = values.rate === undefined ? undefined : numbers(values.rate, "--rate")
  const loads = await runLoads({
    ...common,
    loads:
      rates?.map((rate) => ({ kind: "open" as const, rate })) ??
      numbers(values.streams, "--streams").map((streams) => ({ kind: "closed" as const, streams })),
    ...(values.requests !== undefined && { requests: numbers(values.requests, "--requests")[0] }),
  })
  console.log(values.json ? JSON.stringify(loads) : loadText(loads))
  process.exit(loads.some(({ lost }) => lost > 0) ? 1 : 0)
}
const show = SHOWS.find((name) => name === values.show)
if (!show) throw new Error(`no show ${values.show}; known are ${SHOWS.join(", ")}`)
const result = await runShow(show, {
  ...common,
  rounds: number("rounds"),
  connections: number("connections"),
  bound: number("bound"),
  minutes: number("minutes"),
  chunk: number("chunk"),
})
console.log(values.json ? JSON.stringify(result) : showText(result))
process.exit(result.report.passed ? 0 : 1)
