/**
 * Measures models of an 8B model's shape in four formats, and prints llama.cpp's figures beside them:
 * `bun tests/bench/gpu.ts [--device nvidia] [--formats Q4_0,F16] [--layers 32] [--kv-type q8_0] [--keep FOLDER] [--json]`.
 *
 * Writes each model with random weights (4 to 16 GB). The file is deleted afterwards, unless --keep names a folder; a later run reuses it.
 * Measures the same as `rocmforge bench MODEL -p 512,2048 -n 64 -r 3 --context 1024 --concurrency 1,8,32 --ctx-size 2048`.
 */

import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import {
  type BenchPlan,
  type BenchResult,
  benchModel,
  contextNeeded,
  type DecodeResult,
} from "../../src/cli/bench-measure.ts"
import { OPTIONS } from "../../src/cli/options/options.ts"
import { chooseDevice } from "../../src/engine/device.ts"
import { loadModel, readModel, stepSizes } from "../../src/engine/load.ts"
import { SHAPE_8B, type ShapeFormat, writeShapeModel } from "./shape-model.ts"

interface Peer {
  /** Tokens/s by number of sequences, with the first measured context: 1024 tokens if measured, else an empty one. */
  decode: Partial<Record<number, number>>
  prefill: Partial<Record<number, number>>
}

/** llama.cpp CUDA on an H100 80GB, the same shape: build de3ff81 of 2026, flash attention on, batches after prompts of 512 tokens. */
const PEERS: Record<ShapeFormat, Peer> = {
  F16: { decode: { 1: 163, 8: 919, 32: 2860 }, prefill: { 512: 20484, 2048: 22836 } },
  Q8_0: { decode: { 1: 230 }, prefill: { 512: 10338, 2048: 10932 } },
  Q4_K: { decode: { 1: 263 }, prefill: { 512: 9054, 2048: 9639 } },
  Q4_0: { decode: { 1: 298, 8: 1196, 32: 2928 }, prefill: { 512: 9845, 2048: 11046 } },
}
const { values: options } = parseArgs({
  options: {
    device: { type: "string", default: "auto" },
    formats: { type: "string", default: "Q4_0,Q4_K,Q8_0,F16" },
    layers: { type: "string", default: String(SHAPE_8B.layers) },
    concurrency: { type: "string", default: "1,8,32" },
    prompts: { type: "string", default: "512,2048" },
    context: { type: "string", default: "1024" },
    tokens: { type: "string", default: "64" },
    repetitions: { type: "string", default: "3" },
    "kv-type": { type: "string", default: "f16" },
    keep: { type: "string" },
    json: { type: "boolean", default: false },
  },
})
const numbers = (text: string) => text.split(",").map(Number)
const formats = options.formats.split(",").map((name) => {
  if (!(name in PEERS)) throw new Error(`no format ${name}; known are ${Object.keys(PEERS).join(", ")}`)
  return name as ShapeFormat
})
const shape = { ...SHAPE_8B, layers: Number(options.layers) }
const decodes = numbers(options.concurrency).map((concurrency) => ({
  concurrency,
  context: Number(options.context),
  tokens: Number(options.tokens),
}))
const prompts = numbers(options.prompts)
const kvType = OPTIONS.kvType.schema.parse(options["kv-type"])

const choice = chooseDevice(options.device)
const bandwidth = choice.library.readBandwidth(2, 2 ** 30, choice.index)
const matrixRate = choice.backend === "cpu" ? null : choice.library.matrixRate(choice.index)
if (options.keep) mkdirSync(options.keep, { recursive: true })
const folder = options.keep ?? mkdtempSync(join(tmpdir(), "rocmforge-bench-"))
try {
  if (!options.json) printHeader()
  const results: Partial<Record<ShapeFormat, BenchResult>> = {}
  for (const format of formats) {
    const result = await benchFormat(format)
    results[format] = result
    if (!options.json) printRows(format, result)
  }
  if (options.json) console.log(JSON.stringify({ shape, results, peers: PEERS }, null, 2))
} finally {
  if (!options.keep) rmSync(folder, { recursive: true, force: true })
}

async function benchFormat(format: ShapeFormat): Promise<BenchResult> {
  const path = join(folder, `random-${shape.layers}-${format}.gguf`)
  const started = performance.now()
  if (!existsSync(path)) await writeShapeModel(path, format, shape)
  const written = performance.now()
  const repetitions = Number(options.repetitions)
  const plan: BenchPlan = { prompts, decodes, repetitions, kvType, bandwidth, matrixRate }
  const result = await (async () => {
    const maxSeqs = Math.max(...numbers(options.concurrency))
    const { config } = (await readModel(path)).definition
    await using model = await loadModel(path, {
      device: `${choice.backend}:${choice.index}`,
      ctxSize: contextNeeded({ config, ...stepSizes(choice.backend === "cpu", { maxSeqs }) }, plan),
      kvType,
      maxSeqs,
      fullLengths: maxSeqs,
    })
    const seconds = (from: number) => ((performance.now() - from) / 1000).toFixed(1)
    if (!options.json) {
      const wrote = ((written - started) / 1000).toFixed(1)
      console.log(`# ${format}: written in ${wrote} s, loaded in ${seconds(written)} s`)
    }
    return await benchModel(model, plan)
  })()
  if (!options.keep) rmSync(path)
  return result
}

function printHeader(): void {
  const { name, arch, driver } = choice.library.deviceInfo(choice.index)
  const memory = `${choice.backend === "cpu" ? "reads" : "copies"} ${gigabytes(bandwidth)} GB/s`
  const matrices = matrixRate === null ? "" : `, multiplies half floats at ${(matrixRate / 1e12).toFixed(0)} TFLOP/s`
  console.log(`# ${name} (${arch}, ${driver}), ${memory}${matrices}`)
  console.log(`# ${shape.layers} layers, ${shape.hidden} hidden, decode at a context of ${options.context}`)
  console.log(row("format", "measured", "tok/s", "spread", "share", "llama.cpp", "ratio"))
}

function printRows(format: ShapeFormat, { decode, prefill }: BenchResult): void {
  const peer = PEERS[format]
  for (const result of decode) {
    const { concurrency, tokens_per_second: rate } = result
    const share = `${percent(weightShare(result))} bw`
    console.log(line(format, `decode × ${concurrency}`, rate, share, peer.decode[concurrency]))
  }
  for (const { tokens, tokens_per_second: rate, matrix_share } of prefill) {
    const share = matrix_share === null ? "" : `${percent(matrix_share)} mat`
    console.log(line(format, `prefill ${tokens}`, rate, share, peer.prefill[tokens]))
  }
}

/** Counts the weights only, as the peer's figure does. */
function weightShare({ concurrency, tokens_per_second, bytes_per_step }: DecodeResult): number {
  return ((tokens_per_second.median / concurrency) * bytes_per_step.weights) / bandwidth
}

function line(
  format: ShapeFormat,
  what: string,
  { median, min, max }: { median: number; min: number; max: number },
  share: string,
  peer: number | undefined,
): string {
  const spread = `${min.toFixed(0)}…${max.toFixed(0)}`
  const ratio = peer ? `${(median / peer).toFixed(2)} ×` : ""
  return row(format, what, median.toFixed(median < 100 ? 1 : 0), spread, share, peer ? String(peer) : "", ratio)
}

function row(...cells: string[]): string {
  const widths = [7, 13, 9, 15, 11, 10, 8]
  return cells
    .map((cell, i) => (i < 2 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
    .join(" ")
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(0)
}
