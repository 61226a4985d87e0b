/** Runs a model's plan for one sequence at a time with an output for every row, for tests that check all logits. */

import { openGguf } from "../../src/gguf/reader.ts"
import { buildModel, type ModelDefinition } from "../../src/models/registry.ts"
import { BLOCK_SIZE } from "../../src/native/abi.ts"
import {
  type Backend,
  type Compute,
  loadNative,
  type NativeContext,
  type NativeModel,
} from "../../src/native/library.ts"
import type { Dtype } from "../../src/native/ops.ts"
import {
  GREEDY_OUTPUT,
  readStepResult,
  STEP_HEADER_WORDS,
  STEP_OUTPUT_WORDS,
  STEP_RESULT_WORDS,
  STEP_SEQ_WORDS,
  Words,
  writeStepHeader,
  writeStepOutput,
  writeStepSeq,
} from "../../src/native/step-structs.ts"

export interface RunOptions {
  /** Length of the longest sequence in tokens, and the most tokens in a step. */
  maxTokens: number
  kvType?: Dtype
  threads?: number
  /** Default cpu. */
  backend?: Backend
  /** Default f32. */
  compute?: Compute
}

export interface Run {
  /** [tokens, vocabulary] */
  logits: Float32Array
  /** The greedy choice at each position. */
  chosen: number[]
}

export class PlanRunner {
  readonly definition: ModelDefinition
  readonly #model: NativeModel
  readonly #context: NativeContext
  readonly #maxTokens: number
  readonly #logits: number
  readonly #results: Words

  /** Use {@link PlanRunner.open} to create one from a file. */
  constructor(
    definition: ModelDefinition,
    paths: string[],
    { maxTokens, kvType = "f32", threads = 2, backend = "cpu", compute = "f32" }: RunOptions,
  ) {
    this.definition = definition
    this.#maxTokens = maxTokens
    const { tensors, constants, plan } = definition
    this.#model = loadNative(backend).openModel({ device: 0, paths, tensors, constants })
    const packed = plan.pack({ maxTokens, maxOutputs: maxTokens, kvType })
    this.#logits = packed.bufferIds.get("logits") ?? -1
    this.#context = this.#model.openContext(
      {
        nThreads: threads,
        maxTokens,
        maxSeqs: 1,
        maxOutputs: maxTokens,
        nBlocks: this.#blocks,
        blockSize: BLOCK_SIZE,
        compute,
        deterministic: true,
      },
      packed,
    )
    this.#results = new Words(maxTokens * STEP_RESULT_WORDS)
  }

  static async open(path: string, options: RunOptions): Promise<PlanRunner> {
    const gguf = await openGguf(path)
    const paths = gguf.files.map((file) => file.path)
    return new PlanRunner(buildModel(gguf), paths, options)
  }

  /** Runs a new sequence in steps of `chunk` tokens. */
  run(tokens: ArrayLike<number>, chunk = tokens.length): Run {
    const vocab = this.definition.config.nVocab
    const logits = new Float32Array(tokens.length * vocab)
    const chosen: number[] = []
    for (let start = 0; start < tokens.length; start += chunk) {
      const rows = Math.min(chunk, tokens.length - start)
      const step = this.#pack(tokens, start, rows)
      this.#context.step(step.u32, step.length, this.#results.u32)
      this.#context.readBuffer(this.#logits, 0, logits.subarray(start * vocab, (start + rows) * vocab))
      for (let i = 0; i < rows; i++) chosen.push(readStepResult(this.#results, i).token)
    }
    return { logits, chosen }
  }

  get cacheBytes(): number {
    return this.#context.info().cacheBytes
  }

  [Symbol.dispose](): void {
    this.#model.close()
  }

  get #blocks(): number {
    return Math.ceil(this.#maxTokens / BLOCK_SIZE) + 1
  }

  /** A step of `rows` rows for a sequence with `start` cached tokens. Its blocks are in reverse order in the cache. */
  #pack(tokens: ArrayLike<number>, start: number, rows: number): Words {
    const end = start + rows
    const nBlocks = Math.ceil(end / BLOCK_SIZE)
    const offTokens = STEP_HEADER_WORDS
    const offSeqs = offTokens + rows
    const offOutputs = offSeqs + STEP_SEQ_WORDS
    const offBlocks = offOutputs + rows * STEP_OUTPUT_WORDS
    const total = offBlocks + nBlocks
    const words = new Words(total)
    writeStepHeader(words, {
      n_tokens: rows,
      n_seqs: 1,
      n_outputs: rows,
      off_tokens: offTokens,
      off_seqs: offSeqs,
      off_outputs: offOutputs,
      off_blocks: offBlocks,
      n_block_ids: nBlocks,
      off_pairs: total,
      n_pairs: 0,
      off_masks: total,
      n_mask_words: 0,
    })
    for (let i = 0; i < rows; i++) {
      words.i32[offTokens + i] = tokens[start + i] ?? 0
      writeStepOutput(words, offOutputs + i * STEP_OUTPUT_WORDS, { ...GREEDY_OUTPUT, row: i })
    }
    writeStepSeq(words, offSeqs, { row_start: 0, n_rows: rows, kv_len: end, block_start: 0 })
    for (let i = 0; i < nBlocks; i++) words.i32[offBlocks + i] = this.#blocks - 1 - i
    return words
  }
}
