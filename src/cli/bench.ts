import { chooseDevice } from "../engine/device.ts"
import { type BenchResult, benchModel, contextNeeded } from "./bench-measure.ts"
import type { CommandSpec } from "./command.ts"
import { EXIT, UsageError } from "./exit.ts"
import type { Spread } from "./format.ts"
import { digits, formatBytes, table } from "./format.ts"
import { refuseRest, takeModel } from "./model-argument.ts"
import { ENGINE_OPTIONS, loadFor } from "./open-model.ts"
import { readOptions } from "./options/commander.ts"
import { printLine } from "./output.ts"

const BENCH_OPTIONS = ["benchPrompt", "benchGenerate", "benchContext", "concurrency", "repetitions", "json"] as const
/** Larger than every cache, so that the memory's bandwidth is measured. */
const BANDWIDTH_BYTES = { host: 256 * 2 ** 20, device: 2 ** 30 }

export const bench: CommandSpec = {
  name: "bench",
  usage: "MODEL",
  summary: "Measure the speed of prefill and decode, and the share of the memory bandwidth that decode reaches",
  description:
    "Prefill: one prompt of -p random tokens, up to its first token. Decode: -n tokens after a prompt of --context, for " +
    "--concurrency sequences at once. Shown are the median and the spread (least to most) of -r measurements after a warm-up. " +
    "Bytes read in decode are the weights that a step multiplies by, and the K/V cache at its mean length.",
  examples: [
    "rocmforge bench smollm2-135m -p 512 -n 128 -r 5",
    "rocmforge bench model.gguf -p 512,2048 --concurrency 1,8,32 --context 1024 --json",
  ],
  options: ["model", "gguf", ...BENCH_OPTIONS, ...ENGINE_OPTIONS],
  run: async (command, positional) => {
    const { model: name, rest } = takeModel(command, positional)
    refuseRest(rest)
    const options = readOptions(command, BENCH_OPTIONS)
    const { kvType, device } = readOptions(command, ["kvType", "device"])
    const prompts = options.benchPrompt ?? [512]
    const together = options.concurrency ?? [1]
    const [context, tokens] = [options.benchContext, options.benchGenerate]
    const decodes = together.map((concurrency) => ({ concurrency, context, tokens }))
    await using model = await loadFor(command, name, {
      maxSeqs: Math.max(...together),
      fullLengths: Math.max(...together),
    })
    const { contextLength: room, ...limits } = model.engine.limits
    const needed = contextNeeded({ config: model.config, ...limits }, { prompts, decodes })
    if (needed > room) {
      throw new UsageError(
        `the context holds ${room} tokens, ${needed} are needed; lower -p, -n or --context, or raise --ctx-size`,
      )
    }
    const { library, index } = chooseDevice(device)
    const bytes = model.device.backend === "cpu" ? BANDWIDTH_BYTES.host : BANDWIDTH_BYTES.device
    const bandwidth = library.readBandwidth(model.threads, bytes, index)
    const matrixRate = model.device.backend === "cpu" ? null : library.matrixRate(index)
    const { repetitions } = options
    const result = await benchModel(model, { prompts, decodes, repetitions, kvType, bandwidth, matrixRate })
    await printLine(options.json ? JSON.stringify(result, null, 2) : describe(result))
    return EXIT.ok
  },
}

function describe({
  model,
  device,
  threads,
  bandwidth,
  matrix_rate: matrixRate,
  prefill,
  decode,
}: BenchResult): string {
  const rate = ({ median, min, max }: Spread): string => `${digits(median)} tok/s  (${digits(min)} … ${digits(max)})`
  const rows: string[][] = []
  for (const { tokens, tokens_per_second: tokensPerSecond, matrix_share: matrixShare } of prefill) {
    rows.push([`prefill ${tokens}`, rate(tokensPerSecond)])
    if (matrixRate === null || matrixShare === null) continue
    rows.push(["share of matrix rate", `${digits(100 * matrixShare)} % of ${digits(matrixRate / 1e12)} TFLOP/s`])
  }
  for (const {
    concurrency,
    context,
    tokens,
    tokens_per_second: tokensPerSecond,
    bytes_per_step: bytesPerStep,
    ...read
  } of decode) {
    const company = concurrency > 1 ? ` × ${concurrency}` : ""
    rows.push([`decode ${tokens}${company}${context > 1 ? ` after ${context}` : ""}`, rate(tokensPerSecond)])
    const parts = `${formatBytes(bytesPerStep.weights)} weights + ${formatBytes(bytesPerStep.kv)} K/V a step`
    rows.push(["read in decode", `${formatBytes(read.bytes_per_second)}/s  (${parts})`])
    const share = `${digits(100 * read.bandwidth_share)} % of ${formatBytes(bandwidth)}/s`
    rows.push([
      "share of bandwidth",
      `${share} ${device.backend === "cpu" ? `measured with ${threads} threads` : "measured by copying"}`,
    ])
  }
  return `${model} on ${device.name}\n${table(rows)}`
}
