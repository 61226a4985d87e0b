/** Opens a model file: its text side, its engine, or both. */

import { availableParallelism } from "node:os"
import { basename } from "node:path"
import { nextTurn } from "../async.ts"
import { type Gguf, openGguf } from "../gguf/reader.ts"
import { GrammarWorker } from "../grammar/worker.ts"
import { HIDDEN_BUFFER } from "../models/decoder.ts"
import { buildModel, type ModelDefinition } from "../models/registry.ts"
import { BLOCK_SIZE } from "../native/abi.ts"
import { NativeError } from "../native/errors.ts"
import type { Compute, NativeModel, UploadProgress } from "../native/library.ts"
import { CACHE_GROUP, type Dtype } from "../native/ops.ts"
import { type ChatTemplate, ChatTemplateError, chatTemplateFromMetadata } from "../text/index.ts"
import { tokenizerFromMetadata } from "../text/tokenizer/tokenizer.ts"
import type { Tokenizer } from "../text/tokenizer/types.ts"
import { tokenCost } from "./cost.ts"
import { chooseDevice, type DeviceChoice } from "./device.ts"
import { LocalEngine } from "./engine.ts"
import { cacheRoom, cacheSize } from "./memory.ts"
import { selfCheck } from "./self-check.ts"
import { MAX_DRAFT } from "./speculator.ts"
import type { EngineLimits, LoadedEngine, LoadedModel } from "./types.ts"

export interface LoadOptions {
  /** `auto` (default), `cpu`, `amd`, `nvidia`, or one of several GPUs (`amd:1`); see `chooseDevice`. */
  device?: string
  /** The model's name in the API. Default: the file's name. */
  name?: string
  /** CPU threads. Default: all that this process may use. */
  threads?: number
  /** Tokens of prompt and completion together, at most. Default: the model's context length, as memory allows. */
  ctxSize?: number
  /** Sequences that run at the same time. Default 32. */
  maxSeqs?: number
  /** Sequences of full length that the K/V cache has room for, as memory allows. Default: all on a GPU, 8 on the CPU. */
  fullLengths?: number
  /**
   * Tokens of one step at most, over all requests, and at least `maxSeqs`. Default: 128 on the CPU, 2048 on a GPU. Longer prompts are
   * computed in chunks.
   */
  batchSize?: number
  /**
   * Prompt tokens of one step at most while other requests decode, fewer late in a long prompt, where a token takes longer. Default: 16 on
   * the CPU, 512 on a GPU. Smaller chunks give running requests steadier tokens; larger ones give new requests their first token sooner.
   */
  chunkSize?: number
  /** Requests that wait to begin, at most. Default 512. Further requests fail with an OverloadedError. */
  maxQueue?: number
  /** Keep full K/V blocks for later prompts that begin alike, until the room is needed. Default true. */
  prefixCache?: boolean
  /**
   * `ngram`: draft tokens from earlier text and verify several in one step, where that is faster. The generated tokens do not change.
   * Default `off`.
   */
  speculative?: "off" | "ngram"
  /**
   * A request's tokens and log-probabilities are the same bits whatever else runs, and however its prompt is chunked, cached or computed
   * again. The CPU always does this, at no cost. A GPU is slower: it cannot use the kernels made for very few or very many rows.
   */
  deterministic?: boolean
  /** Number format of the K/V cache. Default f16. */
  kvType?: Dtype
  /** Input type of matrix units in long prompts; sums are float. `auto` (default): f32 on the CPU, f16 on a GPU. */
  dtype?: Compute | "auto"
  /** Device memory for weights and K/V cache together, in bytes, at most. Default: all that is free. */
  memoryLimit?: number
  /** Map the file (default) or read it. Uploads from a mapped large file hang on some integrated GPUs. */
  mmap?: boolean
  /** Called while weights are copied to a GPU. */
  onUpload?: (progress: UploadProgress) => void
}

/** Default of `maxSeqs`. */
const MAX_SEQS = 32

/** Drafted tokens of one step at most. With many sequences, their own tokens use the step better. */
const MAX_DRAFTED = 64

/** Bytes of weights that are copied to a GPU in one turn of the event loop. */
const UPLOAD_BYTES = 256 * 2 ** 20

/** A model file without its weights: what tokenizing and decoding need. */
export interface ModelFile extends Pick<LoadedModel, "path" | "gguf" | "tokenizer" | "chatTemplate" | "rankHead"> {
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

/** Opens the engine of `loadModel` alone, for a process that handles tokens but no text. */
export async function loadEngine(path: string, options: LoadOptions = {}): Promise<LoadedEngine> {
  const choice = chooseDevice(options.device ?? "auto")
  const gguf = await openGguf(path)
  return openEngine(choice, gguf, buildModel(gguf), options)
}

/** Opens the text side of `loadModel` alone. Reads no weights and uses no device. */
export async function readModel(path: string): Promise<ModelFile> {
  const gguf = await openGguf(path)
  const metadata = (key: string) => gguf.metadata.get(key)?.value
  const definition = buildModel(gguf)
  const tokenizer = tokenizerFromMetadata(metadata)
  const chatTemplate = findChatTemplate(metadata, tokenizer)
  return { path, gguf, definition, tokenizer, chatTemplate, rankHead: definition.rankHead() }
}

/** Joins a file and its engine into a model. Closing the model closes the engine. */
export function joinModel<E extends LoadedEngine>(
  { path, gguf, definition, tokenizer, chatTemplate, rankHead }: ModelFile,
  { engine, device, threads, memory }: E,
  name: string = basename(path).replace(/\.gguf$/i, ""),
): LoadedModel & Pick<E, "engine"> {
  const close = () => engine.close()
  const text = { name, path, gguf, config: definition.config, tokenizer, chatTemplate, rankHead }
  return { ...text, engine, device, threads, memory, close, [Symbol.asyncDispose]: close }
}

function findChatTemplate(metadata: (key: string) => unknown, tokenizer: Tokenizer): ChatTemplate | undefined {
  try {
    return chatTemplateFromMetadata(metadata, tokenizer)
  } catch (error) {
    // Completions need no template. Chat reports that it is missing.
    if (error instanceof ChatTemplateError && error.code === "missing") return undefined
    throw error
  }
}

/** Step and chunk size for a device and the user's options; see `EngineLimits`. */
export function stepSizes(
  onCpu: boolean,
  { maxSeqs = MAX_SEQS, batchSize = onCpu ? 128 : 2048, chunkSize = onCpu ? 16 : 512 }: LoadOptions,
): Pick<EngineLimits, "batchTokens" | "chunkTokens"> {
  return { batchTokens: Math.max(batchSize, maxSeqs), chunkTokens: Math.max(1, chunkSize) }
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
  const { batchTokens, chunkTokens } = stepSizes(onCpu, options)
  const kvType = chooseCacheType(definition, options.kvType ?? "f16")
  const compute = chooseCompute(onCpu, options.dtype ?? "auto")
  const { plan, tensors, constants, config } = definition
  const maxDrafted = options.speculative === "ngram" ? Math.min(maxSeqs * MAX_DRAFT, MAX_DRAFTED) : 0
  const maxOutputs = maxSeqs + maxDrafted
  const packed = plan.pack({ maxTokens: batchTokens, maxOutputs, kvType })
  const hidden = packed.bufferIds.get(HIDDEN_BUFFER)
  if (hidden === undefined) throw new RangeError(`the plan has no buffer ${HIDDEN_BUFFER}`)
  const paths = gguf.files.map((file) => file.path)
  const model = library.openModel({ device: index, paths, tensors, constants, mmap: options.mmap ?? true })
  try {
    if (!onCpu) selfCheck(library, index, compute)
    await upload(model, options.onUpload)
    const info = library.deviceInfo(index) // after the upload, so that the free memory is without the weights
    const spare = onCpu ? info.memoryFree : Math.max(0, info.memoryFree - 2 * packed.arenaBytes)
    const { weights } = definition.memory({ contextLength: 0 })
    const { memoryLimit = Number.POSITIVE_INFINITY } = options
    const room = cacheRoom(onCpu, spare, memoryLimit - weights)
    const { contextLength, nBlocks, bytes } = cacheSize(definition, room, { ...options, maxSeqs, kvType })
    const context = model.openContext(
      {
        nThreads: threads,
        maxTokens: batchTokens,
        maxSeqs,
        maxOutputs,
        nBlocks,
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
        maxTokens: batchTokens,
        chunkTokens,
        tokenCost: tokenCost(config),
        limits,
        maxQueue: options.maxQueue,
        prefixCache: options.prefixCache,
        maxDrafted,
        grammars: new GrammarWorker({ path: gguf.files[0]?.path ?? "", nVocab: config.nVocab }),
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
  const message = `a ${kvType} cache stores groups of ${CACHE_GROUP[kvType]} elements, and this model has heads of ${odd.headDim}, which is not a multiple`
  throw new NativeError("UNSUPPORTED", message, "use --kv-type f16")
}

function chooseCompute(onCpu: boolean, dtype: Compute | "auto"): Compute {
  if (dtype === "auto") return onCpu ? "f32" : "f16"
  if (onCpu && dtype !== "f32") {
    throw new NativeError("UNSUPPORTED", `the CPU backend computes in f32, not in ${dtype}`, "leave --dtype at auto")
  }
  return dtype
}

/** Copies the weights to the device in pieces, and yields to other work of this process between them. */
async function upload(model: NativeModel, onUpload: LoadOptions["onUpload"]): Promise<void> {
  for (;;) {
    const progress = model.upload(UPLOAD_BYTES)
    if (progress.total > 0) onUpload?.(progress)
    if (progress.done === progress.total) return
    await nextTurn()
  }
}
