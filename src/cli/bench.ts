import { chooseDevice } from "../engine/device.ts"
import type { LoadedModel } from "../engine/load.ts"
import { EngineError, GREEDY, type Usage } from "../engine/types.ts"
import { buildModel } from "../models/registry.ts"
import { type DecodeTraffic, decodeTraffic } from "./bench-traffic.ts"
import type { CommandSpec } from "./command.ts"
import { EXIT, UsageError } from "./exit.ts"
import { digits, formatBytes, table } from "./format.ts"
import { refuseRest, takeModel } from "./model-argument.ts"
import { ENGINE_OPTIONS, loadFor } from "./open-model.ts"
import { readOptions } from "./options.ts"
import { printLine } from "./output.ts"
import { type Spread, spread } from "./statistics.ts"

const BENCH_OPTIONS = ["benchPrompt", "benchGenerate", "repetitions", "json"] as const
/** Well past every cache, so that the bandwidth is the memory's. */
const BANDWIDTH_BYTES = { host: 256 * 2 ** 20, device: 2 ** 30 }

export const bench: CommandSpec = {
  name: "bench",
  usage: "MODEL",
  summary: "Measure the speed of prefill and decode, and the share of the memory bandwidth that decode reaches",
  description:
    "Prefill: one prompt of -p random tokens, up to its first token. Decode: -n tokens after a prompt of one. " +
    "Shown are the median and the spread (least to most) of -r measurements after a warm-up. Bytes read in decode are " +
    "the weights that a step multiplies by, and the K/V cache at its mean length.",
  examples: ["rocmforge bench smollm2-135m -p 512 -n 128 -r 5", "rocmforge bench model.gguf --threads 2 --json"],
  options: ["model", "gguf", ...BENCH_OPTIONS, ...ENGINE_OPTIONS],
  run: async (command, positional) => {
    const { model: name, rest } = takeModel(command, positional)
    refuseRest(rest)
    const { benchPrompt, benchGenerate, repetitions, json } = readOptions(command, BENCH_OPTIONS)
    const { kvType } = readOptions(command, ["kvType"])
    await using model = await loadFor(command, name, { max_seqs: 1 })
    const room = model.engine.limits.context_length
    if (benchPrompt + 1 > room || benchGenerate + 2 > room) {
      throw new UsageError(`the context holds ${room} tokens; lower -p or -n, or raise --ctx-size`)
    }
    const prefill = await measure(repetitions, (run) => tokensPerSecond(model, benchPrompt, 0, run))
    const decode = await measure(repetitions, (run) => tokensPerSecond(model, 1, benchGenerate, run))
    const threads = model.threads
    const onCpu = model.device.backend === "cpu"
    const { library, index } = chooseDevice(readOptions(command, ["device"]).device)
    const bandwidth = library.readBandwidth(threads, onCpu ? BANDWIDTH_BYTES.host : BANDWIDTH_BYTES.device, index)
    const traffic = decodeTraffic(buildModel(model.gguf).plan, kvType, benchGenerate)
    const bytesPerSecond = decode.median * (traffic.weights + traffic.kv)
    const result = {
      model: model.name,
      device: model.device,
      threads,
      prefill: { tokens: benchPrompt, tokens_per_second: prefill },
      decode: { tokens: benchGenerate, tokens_per_second: decode },
      decode_bytes_per_token: traffic,
      decode_bytes_per_second: bytesPerSecond,
      read_bandwidth: bandwidth,
      bandwidth_share: bytesPerSecond / bandwidth,
    }
    await printLine(json ? JSON.stringify(result, null, 2) : describe(result))
    return EXIT.ok
  },
}

/** One warm-up, then `repetitions` measurements. */
async function measure(repetitions: number, once: (run: number) => Promise<number>): Promise<Spread> {
  const rates: number[] = []
  for (let run = 0; run <= repetitions; run++) {
    const rate = await once(run)
    if (run > 0) rates.push(rate)
  }
  return spread(rates)
}

/**
 * The rate of one request: of its prompt when `nGenerate` is 0, else of the tokens after the first one, which the prompt's
 * step gave. Every run has other tokens, so no cache of prefixes can answer for the engine.
 */
async function tokensPerSecond(model: LoadedModel, nPrompt: number, nGenerate: number, run: number): Promise<number> {
  const { n_vocab } = model.engine.limits
  const tokens = Int32Array.from({ length: nPrompt }, (_, i) => mix(run * 1_000_003 + i) % n_vocab)
  const usage = await runToEnd(model, tokens, nGenerate + 1)
  if (nGenerate === 0) return (1000 * nPrompt) / usage.prefill_ms
  return (1000 * (usage.completion_tokens - 1)) / usage.decode_ms
}

async function runToEnd(model: LoadedModel, tokens: Int32Array, maxTokens: number): Promise<Usage> {
  const request = { id: "bench", tokens, sampling: GREEDY, max_tokens: maxTokens, stop_tokens: new Set<number>() }
  for await (const event of model.engine.generate(request)) if (event.type === "end") return event.usage
  throw new EngineError("the engine ended the request without saying why")
}

/** A 32-bit integer hash (the finalizer of MurmurHash3), for tokens that are arbitrary but always the same. */
function mix(n: number): number {
  let h = n | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

interface BenchResult {
  model: string
  device: { backend: string; name: string }
  threads: number
  prefill: { tokens: number; tokens_per_second: Spread }
  decode: { tokens: number; tokens_per_second: Spread }
  decode_bytes_per_token: DecodeTraffic
  decode_bytes_per_second: number
  /** Of a GPU: read and written while it copies. */
  read_bandwidth: number
  bandwidth_share: number
}

function describe(result: BenchResult): string {
  const { weights, kv } = result.decode_bytes_per_token
  const rate = ({ median, min, max }: Spread): string => `${digits(median)} tok/s  (${digits(min)} … ${digits(max)})`
  const rows = [
    [`prefill ${result.prefill.tokens}`, rate(result.prefill.tokens_per_second)],
    [`decode ${result.decode.tokens}`, rate(result.decode.tokens_per_second)],
    [
      "read in decode",
      `${formatBytes(result.decode_bytes_per_second)}/s  (${formatBytes(weights)} weights + ${formatBytes(kv)} K/V a token)`,
    ],
  ]
  const share = `${digits(100 * result.bandwidth_share)} % of ${formatBytes(result.read_bandwidth)}/s`
  const measured = result.device.backend === "cpu" ? `measured with ${result.threads} threads` : "measured by copying"
  rows.push(["share of bandwidth", `${share} ${measured}`])
  return `${result.model} on ${result.device.name}\n${table(rows)}`
}
