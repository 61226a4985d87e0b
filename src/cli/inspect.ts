import type { Gguf } from "../gguf/reader.ts"
import { ModelError } from "../models/errors.ts"
import { buildModel, type MemoryNeed, type ModelDefinition } from "../models/registry.ts"
import type { Dtype } from "../native/ops.ts"
import { printPlan } from "../plan/print.ts"
import type { CommandSpec } from "./command.ts"
import { EXIT } from "./exit.ts"
import { digits, formatBytes, formatCount, printable, table } from "./format.ts"
import { configJson, configRows } from "./inspect-config.ts"
import { formatMix, metadataJson, metadataText, parameterCount } from "./inspect-file.ts"
import { openModelFile, refuseRest, takeModel } from "./model-argument.ts"
import { readOptions } from "./options/commander.ts"
import { printLine } from "./output.ts"

const INSPECT_OPTIONS = ["tensors", "plan", "ctxSize", "kvType", "json"] as const

/** What a file holds. `model`, `contextLength` and `memory` are there if the file can be run. */
interface Inspection {
  gguf: Gguf
  model: ModelDefinition | undefined
  /** Why the file cannot be run. */
  problem: string | undefined
  contextLength: number | undefined
  memory: MemoryNeed | undefined
  kvType: Dtype
}

export const inspect: CommandSpec = {
  name: "inspect",
  usage: "MODEL",
  summary: "Show what a model file holds: metadata, formats, memory needed, tensors, plan",
  description: "Reads no weights. --ctx-size sets the context length for which memory is counted.",
  examples: [
    "rocmforge inspect smollm2-135m",
    "rocmforge inspect model.gguf --ctx-size 32768 --kv-type f16",
    "rocmforge inspect model.gguf --plan",
    "rocmforge inspect model.gguf --tensors --json | jq '.tensors[0]'",
  ],
  options: ["model", "gguf", ...INSPECT_OPTIONS],
  run: async (command, positional) => {
    const { model, rest } = takeModel(command, positional)
    refuseRest(rest)
    const values = readOptions(command, INSPECT_OPTIONS)
    const gguf = await openModelFile(model)
    const inspection = look(gguf, values.ctxSize, values.kvType)
    if (values.plan && !inspection.model) buildModel(gguf) // throws the error that says why
    await printLine(values.json ? JSON.stringify(asJson(inspection, values), null, 2) : asText(inspection, values))
    return EXIT.ok
  },
}

function look(gguf: Gguf, ctxSize: number | undefined, kvType: Dtype): Inspection {
  try {
    const model = buildModel(gguf)
    const contextLength = ctxSize ?? model.config.contextLength
    const memory = model.memory({ contextLength, kvType })
    return { gguf, model, problem: undefined, contextLength, memory, kvType }
  } catch (error) {
    // The file is readable although its model cannot be run, so its content is shown.
    if (!(error instanceof ModelError)) throw error
    return { gguf, model: undefined, problem: error.message, contextLength: undefined, memory: undefined, kvType }
  }
}

type Parts = { tensors: boolean; plan: boolean }

function asJson({ gguf, model, problem, contextLength, memory, kvType }: Inspection, { tensors, plan }: Parts) {
  return {
    files: gguf.files,
    gguf_version: gguf.version,
    architecture: gguf.findString("general.architecture"),
    name: gguf.findString("general.name"),
    parameters: parameterCount(gguf),
    formats: formatMix(gguf),
    runnable: model !== undefined,
    ...(problem !== undefined && { problem }),
    ...(model && { config: configJson(model.config) }),
    ...(memory && { memory: { context_length: contextLength, kv_type: kvType, ...memory } }),
    metadata: metadataJson(gguf),
    ...(tensors && {
      tensors: [...gguf.tensors.values()].map(({ name, typeName, shape, file, offset, nBytes }) => {
        return { name, format: typeName, shape, file, offset, bytes: nBytes }
      }),
    }),
    ...(plan && model && { plan: printPlan(model.plan) }),
  }
}

function asText(inspection: Inspection, { tensors, plan }: Parts): string {
  const { gguf, model, problem } = inspection
  const size = gguf.files.reduce((sum, file) => sum + file.size, 0)
  const parts = gguf.files.length > 1 ? `, ${gguf.files.length} files` : ""
  const mix = formatMix(gguf).map(({ format, tensors: n, share }) => `${format} ${digits(100 * share)} % (${n})`)
  const facts: string[][] = [
    ["file", `${gguf.path} (${formatBytes(size)}${parts}, GGUF ${gguf.version})`],
    ["name", printable(gguf.findString("general.name") ?? "-")],
    ["architecture", printable(gguf.findString("general.architecture") ?? "-")],
    ["parameters", formatCount(parameterCount(gguf))],
    ["formats", mix.join(", ")],
  ]
  if (model) facts.push(...configRows(model.config))
  const sections = [table(facts, "")]
  if (problem !== undefined) sections.push(`cannot be run: ${problem}`)
  sections.push(...memorySection(inspection))
  sections.push(`metadata (${gguf.metadata.size})\n${metadataText(gguf)}`)
  if (tensors) sections.push(tensorSection(gguf))
  if (plan && model) sections.push(printPlan(model.plan).join("\n"))
  return sections.join("\n\n")
}

function memorySection({ memory, contextLength, kvType }: Inspection): string[] {
  if (!memory) return []
  const rows = [
    ["weights", formatBytes(memory.weights)],
    [`K/V cache (${kvType})`, formatBytes(memory.kv)],
    ["activations", formatBytes(memory.arena)],
    ["total", formatBytes(memory.total)],
  ]
  return [`memory at a context of ${contextLength} tokens\n${table(rows)}`]
}

function tensorSection(gguf: Gguf): string {
  const rows = [...gguf.tensors.values()].map(({ name, typeName, shape, nBytes }) => {
    return [printable(name), typeName, `[${[...shape].reverse().join(", ")}]`, formatBytes(nBytes)]
  })
  return `tensors (${gguf.tensors.size})\n${table(rows)}`
}
