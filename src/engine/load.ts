import { availableParallelism } from "node:os"
import { basename } from "node:path"
import { nextTurn } from "../async.ts"
import { type Gguf, openGguf } from "../gguf/reader.ts"
import { Grammars } from "../grammar/grammars.ts"
import { HIDDEN_BUFFER } from "../models/decoder.ts"
import { buildModel, type ModelDefinition } from "../models/registry.ts"
import { BLOCK_SIZE } from "../native/abi.ts"
import { NativeError } from "../native/errors.ts"
import type { Compute, NativeModel, UploadProgress } from "../native/library.ts"
import { CACHE_GROUP, type Dtype } from "../native/ops.ts"
import { type ChatTemplate, ChatTemplateError, chatTemplateFromMetadata } from "../text/index.ts"
import { tokenizerFromMetadata } from "../text/tokenizer/tokenizer.ts"
import type { Tokenizer } from "../text/tokenizer/types.ts"
import { blocksFor } from "./blocks.ts"
import { chooseDevice, type DeviceChoice } from "./device.ts"
import { LocalEngine } from "./engine.ts"
import { rowCost } from "./row-cost.ts"
import { selfCheck } from "./self-check.ts"
import { MAX_DRAFT } from "./speculator.ts"
import type { LoadedEngine, LoadedModel } from "./types.ts"

export interface LoadOptions {
  /** `auto` (default), `cpu`, or a GPU; see `chooseDevice`. */
  device?: string
  /** What the model is called in the API; default: the file's name. */
  name?: string
  /** CPU threads; default: as many as this process may use. */
  threads?: number
  /** Longest prompt and completion together; default: what the model was made for, as memory allows. */
  ctxSize?: number
  /** Requests that are generated together; 32 by default. */
  maxSeqs?: number
  /** Of these, how many the K/V cache has room for at full length; by default all on a GPU and 8 on the CPU, as memory allows. */
  fullLengths?: number
  /**
   * Tokens of one step at most, over all requests; 128 on the CPU and 2048 on a GPU by default, and never less than `max_seqs`. Longer
   * prompts come in chunks.
   */
  batchSize?: number
  /**
   * Prompt tokens of one step at most while other requests generate: between two of their tokens lies one such chunk at most, and fewer
   * tokens behind a long text, where each takes longer. 16 on the CPU and 512 on a GPU by default. Less is smoother for those who read,
   * more is faster for those who wait for their first token.
   */
  chunkSize?: number
  /** Requests that wait to begin at most, beyond those that run; 512 by default. One more is an OverloadedError. */
  maxQueue?: number
  /** Keep the K/V of full blocks for prompts that begin alike, as long as nothing else needs the room; true by default. */
  prefixCache?: boolean
  /**
   * `ngram`: guess tokens from how the text went on before, and verify several in one step, where that is faster. What is generated does
   * not change. `off` by default.
   */
  speculative?: "off" | "ngram"
  /**
   * A request's tokens and log-probabilities are the same bits whatever else runs, however its prompt is cut, cached or computed again. The
   * CPU always works so, at no cost; a GPU gives up the kernels that are fastest for few rows and for many, and is slower.
   */
  deterministic?: boolean
  /** Number format of the K/V cache; f16 by default. */
  kvType?: Dtype
  /** What matrix units multiply in long prompts (sums are float); `auto` (default) is f32 on the CPU and f16 on a GPU. */
  dtype?: Compute | "auto"
  /** Bytes of the device that weights and K/V cache may take together at most; default: as much as is free. */
  memoryLimit?: number
  /** Map the file (default), or read it: mapped uploads of large files hang on some integrated GPUs. */
  mmap?: boolean
  /** Called while weights are copied to a GPU. */
  onUpload?: (progress: UploadProgress) => void
}

/** The share of the free memory that K/V caches may take unless the user says otherwise. */
const CACHE_SHARE = { host: 0.5, device: 0.8 }

/** Requests of full length that a cache in host memory holds by default. More can run: few are that long, and one can make way. */
const FULL_LENGTHS = 8

/** Sequences that run together by default. */
const MAX_SEQS = 32

/** Drafted tokens of one step at most: with many sequences, the rows are better spent on them. */
const MAX_DRAFTED = 64

/** Weights that are copied to a GPU between two turns of the event loop. */
const UPLOAD_BYTES = 256 * 2 ** 20

/** What a model's file says without its weights: all it takes to turn text into tokens and back. */
export interface ModelFile extends Pick<LoadedModel, "path" | "gguf" | "tokenizer" | "chatTemplate"> {
  definition: ModelDefinition
}

/**
 * Opens a GGUF file for generation.
 * @throws DeviceError, GgufError, ModelError, TokenizerError, or NativeError; each says what is wrong and what to do.
 */
export async function loadModel(path: string, options: LoadOptions = {}): Promise<LoadedModel> {
  const choice = chooseDevice(options.device ?? "auto")
  const file = await readModel(path)
  return joinModel(file, await openEngine(choice, file.gguf, file.definition, options), options.name)
}

/** The engine of `loadModel` alone, for a process that sees tokens and no text. */
export async function loadEngine(path: string, options: LoadOptions = {}): Promise<LoadedEngine> {
  const choice = chooseDevice(options.device ?? "auto")
  const gguf = await openGguf(path)
  return openEngine(choice, gguf, buildModel(gguf), options)
}

/** The text side of `loadModel` alone: no weight is read, and no device touched. */
export async function readModel(path: string): Promise<ModelFile> {
  const gguf = await openGguf(path)
  const metadata = (key: string) => gguf.metadata.get(key)?.value
  const definition = buildModel(gguf)
  const tokenizer = tokenizerFromMetadata(metadata)
  return { path, gguf, definition, tokenizer, chatTemplate: findChatTemplate(metadata, tokenizer) }
}

/** A file and its engine as one; closing it closes the engine. */
export function joinModel<E extends LoadedEngine>(
  { path, gguf, definition, tokenizer, chatTemplate }: ModelFile,
  { engine, device, threads, memory }: E,
  name: string = basename(path).replace(/\.gguf$/i, ""),
): LoadedModel & Pick<E, "engine"> {
  const close = () => engine.close()
  const text = { name, path, gguf, config: definition.config, tokenizer, chatTemplate }
  return { ...text, engine, device, threads, memory, close, [Symbol.asyncDispose]: close }
}

function findChatTemplate(metadata: (key: string) => unknown, tokenizer: Tokenizer): ChatTemplate | undefined {
  try {
    return chatTemplateFromMetadata(metadata, tokenizer)
  } catch (error) {
    // A model without a template completes text all the same; whoever needs one says that it is missing.
    if (error instanceof ChatTemplateError && error.code === "missing") return undefined
    throw error
  }
}

async function openEngine(
  { backend, index, library }: DeviceChoice,
  gguf: Gguf,
  definition: ModelDefinition,
  options: LoadOptions,
): Promise<LoadedEngine> {
  const onCpu = backend === "cpu"
  const threads = options.threads ?? (onCpu ? availableParallelism() : 1)
  const maxSeqs = options.maxSeqs ?? MAX_SEQS
  const maxTokens = Math.max(options.batchSize ?? (onCpu ? 128 : 2048), maxSeqs)
  const kvType = chooseCacheType(definition, options.kvType ?? "f16")
  const compute = chooseCompute(onCpu, options.dtype ?? "auto")
  const { plan, tensors, constants, config } = definition
  const maxDrafted = options.speculative === "ngram" ? Math.min(maxSeqs * MAX_DRAFT, MAX_DRAFTED) : 0
  const maxOutputs = maxSeqs + maxDrafted
  const packed = plan.pack({ maxTokens: maxTokens, maxOutputs: maxOutputs, kvType })
  const hidden = packed.bufferIds.get(HIDDEN_BUFFER)
  if (hidden === undefined) throw new RangeError(`the plan has no buffer ${HIDDEN_BUFFER}`)
  const paths = gguf.files.map((file) => file.path)
  const model = library.openModel({ device: index, paths, tensors, constants, mmap: options.mmap ?? true })
  try {
    if (!onCpu) selfCheck(library, index, compute)
    await upload(model, options.onUpload)
    const info = library.deviceInfo(index) // after the upload: what is free now can be cache
    const spare = onCpu ? info.memoryFree : Math.max(0, info.memoryFree - 2 * packed.arenaBytes)
    const { weights } = definition.memory({ contextLength: 0 })
    const { memoryLimit = Number.POSITIVE_INFINITY } = options
    const room: CacheRoom = {
      free: Math.min(spare, memoryLimit - weights),
      affordable: Math.min(spare * (onCpu ? CACHE_SHARE.host : CACHE_SHARE.device), memoryLimit - weights),
      limited: memoryLimit - weights < spare,
      onCpu,
    }
    const { contextLength, nBlocks, bytes } = cacheSize(definition, room, { ...options, maxSeqs, kvType: kvType })
    const context = model.openContext(
      {
        nThreads: threads,
        maxTokens: maxTokens,
        maxSeqs: maxSeqs,
        maxOutputs: maxOutputs,
        nBlocks: nBlocks,
        blockSize: BLOCK_SIZE,
        compute,
        deterministic: options.deterministic ?? false,
      },
      packed,
    )
    const limits = { contextLength, nVocab: config.nVocab, maxSeqs }
    // Closing the model closes the context first.
    const engine = new LocalEngine(
      { step: context.step.bind(context), close: () => model.close() },
      {
        nBlocks,
        maxTokens,
        chunkTokens: options.chunkSize ?? (onCpu ? 16 : 512),
        rowCost: rowCost(config),
        limits,
        maxQueue: options.maxQueue,
        prefixCache: options.prefixCache,
        maxDrafted,
        grammars: new Grammars({ path: gguf.files[0]?.path ?? "", nVocab: config.nVocab }),
        hidden: {
          width: config.hiddenSize,
          norm: definition.outputNorm(),
          eps: config.rmsEps,
          read: (row, out) => context.readBuffer(hidden, row * config.hiddenSize * 4, out),
        },
      },
    )
    const device = { backend, name: `${info.name} (${info.arch})` }
    return { engine, device, threads: context.info().nThreads, memory: { weights, cache: bytes } }
  } catch (error) {
    model.close()
    throw error
  }
}

function chooseCacheType({ plan }: ModelDefinition, kvType: Dtype): Dtype {
  const odd = plan.caches.find(({ headDim }) => headDim % CACHE_GROUP[kvType] !== 0)
  if (odd === undefined) return kvType
  const message = `a ${kvType} cache rounds ${CACHE_GROUP[kvType]} elements together, which do not divide this model's heads of ${odd.headDim}`
  throw new NativeError("UNSUPPORTED", message, "use --kv-type f16")
}

function chooseCompute(onCpu: boolean, dtype: Compute | "auto"): Compute {
  if (dtype === "auto") return onCpu ? "f32" : "f16"
  if (onCpu && dtype !== "f32") {
    throw new NativeError("UNSUPPORTED", `the CPU backend computes in f32, not in ${dtype}`, "leave --dtype at auto")
  }
  return dtype
}

/** Copies the weights to the device piece by piece; other work of this process goes on between the pieces. */
async function upload(model: NativeModel, onUpload: LoadOptions["onUpload"]): Promise<void> {
  for (;;) {
    const progress = model.upload(UPLOAD_BYTES)
    if (progress.total > 0) onUpload?.(progress)
    if (progress.done === progress.total) return
    await nextTurn()
  }
}

/** Bytes for a K/V cache. */
interface CacheRoom {
  /** That a cache whose length was asked for may take. */
  free: number
  /** That a cache takes of its own accord. */
  affordable: number
  /** It is the memory limit that bounds them. */
  limited: boolean
  /** Host memory, which others want too. */
  onCpu: boolean
}

/**
 * Tokens of context a request may have, and blocks of cache for all of them: full length for every request if the affordable memory
 * holds that (on the CPU for eight, unless more are asked for), less in common if not, and a shorter context only if even one request
 * would not fit.
 * @throws NativeError `OUT_OF_MEMORY` when a context length that was asked for does not fit the memory, or the limit leaves no cache.
 */
function cacheSize(
  { plan, config }: ModelDefinition,
  room: CacheRoom,
  { ctxSize, maxSeqs, fullLengths, kvType }: LoadOptions & { maxSeqs: number; kvType: Dtype },
): { contextLength: number; nBlocks: number; bytes: number } {
  const blockBytes = Math.max(1, plan.cacheBytesPerToken(kvType) * BLOCK_SIZE)
  const affordable = Math.floor(room.affordable / blockBytes)
  const wanted = blocksFor(ctxSize ?? config.contextLength)
  const left = `${sizeText(room.free)} are ${room.limited ? "left of the memory limit" : "free"}`
  if (ctxSize !== undefined && wanted * blockBytes > room.free) {
    throw new NativeError(
      "OUT_OF_MEMORY",
      `a context of ${ctxSize} tokens takes ${sizeText(wanted * blockBytes)} of K/V cache, ${left}`,
      affordable > 0
        ? `lower --ctx-size to ${affordable * BLOCK_SIZE} or less`
        : "raise --memory-budget, or take a smaller model",
    )
  }
  if (room.limited && affordable < 1) {
    const remedy = "raise --memory-budget, or take a smaller model"
    throw new NativeError("OUT_OF_MEMORY", `the model's weights leave no room for a K/V cache: ${left}`, remedy)
  }
  const longest = ctxSize !== undefined ? wanted : Math.max(1, Math.min(wanted, affordable))
  const sequences = Math.min(maxSeqs, fullLengths ?? (room.onCpu ? FULL_LENGTHS : maxSeqs))
  const nBlocks = Math.max(longest, Math.min(longest * sequences, affordable))
  return {
    contextLength: Math.min(ctxSize ?? config.contextLength, longest * BLOCK_SIZE),
    nBlocks,
    bytes: nBlocks * blockBytes,
  }
}

function sizeText(bytes: number): string {
  const mib = Math.max(0, bytes) / 2 ** 20
  return mib < 1024 ? `${mib.toFixed(1)} MiB` : `${(mib / 1024).toFixed(1)} GiB`
}
