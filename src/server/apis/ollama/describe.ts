/** Models as Ollama's clients see them: facts of the file, and capabilities. */

import { stat } from "node:fs/promises"
import { type ModelFile, readModel } from "../../../engine/load.ts"
import type { Gguf, MetadataValue } from "../../../gguf/reader.ts"
import { reasoningMarks } from "../../../text/index.ts"
import type { PoolEntry } from "../../pool/entry.ts"
import { ModelLoadError } from "../../pool/errors.ts"
import type { Capability, ListedModel, ShowResponse } from "./models-schema.ts"
import { taggedName } from "./request.ts"

/** What a model's file says, kept while the server runs. */
interface ModelCard {
  readonly listed: ListedModel
  readonly capabilities: readonly Capability[]
  readonly template: string
}

type ModelText = Pick<ModelFile, "gguf" | "tokenizer" | "chatTemplate">

const cards = new WeakMap<PoolEntry, Promise<ModelCard>>()

/** Reads the file's header the first time, unless the model is in memory. */
export function modelCard(managed: PoolEntry): Promise<ModelCard> {
  const known = cards.get(managed)
  if (known !== undefined) return known
  const card = makeCard(managed)
  cards.set(managed, card)
  // A file that cannot be read now may be readable the next time.
  card.catch(() => cards.delete(managed))
  return card
}

/** The models whose file can be read, as Ollama's API lists them. */
export async function listReadable(entries: readonly PoolEntry[]): Promise<ListedModel[]> {
  const cards = await Promise.allSettled(entries.map(modelCard))
  return cards.flatMap((card) => (card.status === "fulfilled" ? [card.value.listed] : []))
}

/** The model in memory, or what its file says. @throws ModelLoadError */
async function textOf({ model, spec }: PoolEntry): Promise<ModelText> {
  if (model !== undefined) return model
  try {
    return await readModel(spec.path)
  } catch (error) {
    throw new ModelLoadError(spec.name, error instanceof Error ? error : new Error(String(error)), RETRY_S)
  }
}

/** Seconds after which a client may ask again for a model whose file could not be read. */
const RETRY_S = 5

async function makeCard(managed: PoolEntry): Promise<ModelCard> {
  const { spec } = managed
  const file = await textOf(managed)
  // A model in memory is served even if its file is gone.
  const { mtime } = await stat(spec.path).catch((error) => {
    if (managed.model === undefined) throw error
    return { mtime: new Date(0) }
  })
  const size = file.gguf.files.reduce((sum, part) => sum + part.size, 0)
  const name = taggedName(spec.name)
  return {
    listed: {
      name,
      model: name,
      modified_at: mtime.toISOString(),
      size,
      digest: new Bun.CryptoHasher("sha256").update(`${spec.name}\n${size}\n${mtime.getTime()}`).digest("hex"),
      details: {
        parent_model: "",
        format: "gguf",
        family: spec.arch,
        families: [spec.arch],
        parameter_size: humanNumber(parametersOf(file.gguf)),
        quantization_level: quantizationOf(file.gguf),
      },
    },
    capabilities: capabilitiesOf(spec.arch, file),
    template: file.chatTemplate?.source() ?? "",
  }
}

/** Ollama takes a model whose file has a pooling type for an embedding model. */
function capabilitiesOf(arch: string, { gguf, tokenizer, chatTemplate }: ModelText): Capability[] {
  const pooling = gguf.findU32(`${arch}.pooling_type`) ?? 0
  if (pooling > 0) return pooling < 4 ? ["embedding"] : []
  const { prefix, suffix, middle } = tokenizer.fim
  const fills = prefix !== undefined && suffix !== undefined && middle !== undefined
  const thinks = chatTemplate !== undefined && reasoningMarks(chatTemplate.source()) !== undefined
  return [
    "completion",
    ...(chatTemplate === undefined ? [] : ["tools" as const]),
    ...(fills ? ["insert" as const] : []),
    ...(thinks ? ["thinking" as const] : []),
  ]
}

const parametersOf = (gguf: Gguf): number =>
  [...gguf.tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0)

function humanNumber(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)}B`
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)}M`
  return value >= 1e3 ? `${(value / 1e3).toFixed(2)}K` : String(value)
}

/** Names of `general.file_type`, as ggml numbers them. */
const FILE_TYPES: Readonly<Record<number, string>> = {
  0: "F32",
  1: "F16",
  2: "Q4_0",
  3: "Q4_1",
  7: "Q8_0",
  8: "Q5_0",
  9: "Q5_1",
  10: "Q2_K",
  11: "Q3_K_S",
  12: "Q3_K_M",
  13: "Q3_K_L",
  14: "Q4_K_S",
  15: "Q4_K_M",
  16: "Q5_K_S",
  17: "Q5_K_M",
  18: "Q6_K",
  21: "Q2_K_S",
  25: "IQ4_NL",
  30: "IQ4_XS",
  32: "BF16",
  38: "MXFP4",
}

function quantizationOf(gguf: Gguf): string {
  const named = FILE_TYPES[gguf.findU32("general.file_type") ?? -1]
  if (named !== undefined) return named
  const bytes = new Map<string, number>()
  for (const { typeName, nBytes } of gguf.tensors.values()) bytes.set(typeName, (bytes.get(typeName) ?? 0) + nBytes)
  const [most] = [...bytes].sort(([, a], [, b]) => b - a)
  return most?.[0] ?? "unknown"
}

/** Longer lists are left out of the metadata, unless `verbose` is given. */
const LONGEST_LIST = 16

export async function showModel(managed: PoolEntry, verbose: boolean): Promise<ShowResponse> {
  const { listed, capabilities, template } = await modelCard(managed)
  const { gguf } = await textOf(managed)
  const longest = verbose ? Number.POSITIVE_INFINITY : LONGEST_LIST
  const tensors = [...gguf.tensors.values()].map(({ name, typeName, shape }) => ({
    name,
    type: typeName,
    shape: [...shape],
  }))
  const info = [...gguf.metadata]
    .filter(([key]) => key !== "tokenizer.chat_template")
    .map(([key, value]) => [key, plain(value, longest)])
  return {
    license: gguf.findString("general.license") ?? "",
    modelfile: `FROM ${managed.name}\n`,
    parameters: "",
    template,
    system: "",
    details: listed.details,
    model_info: { ...Object.fromEntries(info), "general.parameter_count": parametersOf(gguf) },
    ...(verbose && { tensors }),
    capabilities: [...capabilities],
    modified_at: listed.modified_at,
  }
}

/** A metadata value as JSON; null for a list longer than `longest`. */
function plain(entry: MetadataValue, longest: number): unknown {
  if (entry.type !== "array") return typeof entry.value === "bigint" ? Number(entry.value) : entry.value
  if (entry.value.length > longest) return null
  if (entry.elementType === "array") return entry.value.map((part) => plain(part, longest))
  return Array.from<unknown>(entry.value).map((value) => (typeof value === "bigint" ? Number(value) : value))
}
