/** Steps, buffer accesses and handles that the native side refuses; the context still works afterwards. */

import { describe, expect, test } from "bun:test"
import { ABI_VERSION, RF_STEP_HEADER, RF_STEP_OUTPUT, RF_STEP_SEQ, type StatusName } from "../../src/native/abi.ts"
import { NativeError } from "../../src/native/errors.ts"
import { STEP_OUTPUT_WORDS, STEP_SEQ_WORDS } from "../../src/native/step-structs.ts"
import { Random } from "../support/kernel-data.ts"
import { openRawModel, packAll, RawContext, rawSymbols, transformer, VOCAB, validStep } from "../support/kernel-raw.ts"
import type { PackedStep, StepSpec } from "../support/kernel-step.ts"
import { onEveryBackend } from "../support/kernel-suite.ts"

function statusOf(call: () => unknown): StatusName {
  try {
    call()
    return "OK"
  } catch (error) {
    if (!(error instanceof NativeError) || error.status === "LIBRARY") throw error
    return error.status
  }
}

type HeaderField = keyof typeof RF_STEP_HEADER.fields
type SeqField = keyof typeof RF_STEP_SEQ.fields
type OutputField = keyof typeof RF_STEP_OUTPUT.fields
type Spoil = (step: PackedStep) => void

const header =
  (field: HeaderField, value: number): Spoil =>
  ({ words }) => {
    words.u32[RF_STEP_HEADER.fields[field].offset >> 2] = value
  }
const seq =
  (index: number, field: SeqField, value: number): Spoil =>
  ({ words, sections }) => {
    words.u32[sections.off_seqs + index * STEP_SEQ_WORDS + (RF_STEP_SEQ.fields[field].offset >> 2)] = value
  }
const output =
  (index: number, field: OutputField, value: number): Spoil =>
  ({ words, sections }) => {
    const { type, offset } = RF_STEP_OUTPUT.fields[field]
    const at = sections.off_outputs + index * STEP_OUTPUT_WORDS + (offset >> 2)
    if (type === "f32") words.f32[at] = value
    else words.u32[at] = value
  }
const word =
  (section: "off_tokens" | "off_blocks" | "off_pairs", index: number, value: number): Spoil =>
  ({ words, sections }) => {
    words.i32[sections[section] + index] = value
  }

const MANY = 0xffffffff
const spoils: readonly (readonly [string, Spoil])[] = [
  ["another version", header("version", ABI_VERSION + 1)],
  ["more tokens than the context has", header("n_tokens", 33)],
  ["2^32 - 1 tokens", header("n_tokens", MANY)],
  ["no tokens, though sequences have rows", header("n_tokens", 0)],
  ["more sequences than the context has", header("n_seqs", 5)],
  ["more outputs than the context has", header("n_outputs", 5)],
  ["tokens beyond the step", header("off_tokens", 1_000_000)],
  ["tokens at 2^32 - 1", header("off_tokens", MANY)],
  ["sequences beyond the step", header("off_seqs", 1_000_000)],
  ["sequences that wrap around", header("off_seqs", MANY - 3)],
  ["outputs beyond the step", header("off_outputs", 1_000_000)],
  ["blocks beyond the step", header("off_blocks", 1_000_000)],
  ["2^32 - 1 block ids", header("n_block_ids", MANY)],
  ["fewer block ids than the tables need", header("n_block_ids", 3)],
  ["pairs beyond the step", header("off_pairs", 1_000_000)],
  ["2^31 pairs, whose words wrap around", header("n_pairs", 0x80000000)],
  ["masks beyond the step", header("off_masks", 1_000_000)],
  ["2^32 - 1 mask words", header("n_mask_words", MANY)],
  ["a token of the vocabulary's size", word("off_tokens", 20, VOCAB)],
  ["a negative token", word("off_tokens", 0, -1)],
  ["a block id of the cache's size", word("off_blocks", 1, 8)],
  ["a negative block id", word("off_blocks", 0, -1)],
  ["a sequence that starts late", seq(0, "row_start", 1)],
  ["a sequence that overlaps the one before", seq(1, "row_start", 19)],
  ["a sequence that starts at 2^32 - 1", seq(1, "row_start", MANY)],
  ["a sequence of no rows", seq(1, "n_rows", 0)],
  ["a sequence of more rows than the step", seq(1, "n_rows", 2)],
  ["a sequence of 2^32 - 1 rows", seq(0, "n_rows", MANY)],
  ["rows that no sequence covers", seq(0, "n_rows", 19)],
  ["a cache shorter than the rows", seq(0, "kv_len", 19)],
  ["a cache of no tokens", seq(1, "kv_len", 0)],
  ["a cache longer than its table", seq(1, "kv_len", 33)],
  ["a cache of 2^32 - 1 tokens", seq(1, "kv_len", MANY)],
  ["a table that starts beyond the blocks", seq(1, "block_start", 4)],
  ["a table that starts at 2^32 - 1", seq(1, "block_start", MANY)],
  ["an output of a row that is not there", output(0, "row", 21)],
  ["an output of row 2^32 - 1", output(1, "row", MANY)],
  ["21 alternatives", output(0, "n_top", 21)],
  ["-2 alternatives", output(0, "n_top", MANY - 1)],
  ["a temperature that is NaN", output(0, "temperature", Number.NaN)],
  ["a negative temperature", output(0, "temperature", -1)],
  ["an infinite temperature", output(0, "temperature", Number.POSITIVE_INFINITY)],
  ["a top-p that is NaN", output(0, "top_p", Number.NaN)],
  ["a min-p that is NaN", output(0, "min_p", Number.NaN)],
  ["a typical-p that is NaN", output(0, "typical_p", Number.NaN)],
  ["a typical-p above 1", output(0, "typical_p", 1.5)],
  ["a negative top-n-sigma", output(0, "top_n_sigma", -1)],
  ["an XTC probability above 1", output(0, "xtc_probability", 2)],
  ["an XTC threshold that is NaN", output(0, "xtc_threshold", Number.NaN)],
  ["an infinite dynamic temperature", output(0, "dynatemp_range", Number.POSITIVE_INFINITY)],
  ["a negative exponent of the dynamic temperature", output(0, "dynatemp_exponent", -1)],
  ["a third version of Mirostat", output(0, "mirostat", 3)],
  ["a mu that is NaN", output(0, "mirostat_mu", Number.NaN)],
  ["a temperature that is neither first nor last", output(0, "temperature_last", 2)],
  ["a negative top-k", output(0, "top_k", MANY)],
  ["a repetition penalty of 0", output(0, "repeat_penalty", 0)],
  ["a repetition penalty that is NaN", output(0, "repeat_penalty", Number.NaN)],
  ["a frequency penalty that is NaN", output(0, "frequency_penalty", Number.NaN)],
  ["a presence penalty that is infinite", output(0, "presence_penalty", Number.POSITIVE_INFINITY)],
  ["penalties beyond the pairs", output(0, "n_penalties", 3)],
  ["penalties that wrap around", output(0, "penalty_start", MANY)],
  ["biases beyond the pairs", output(0, "n_biases", 2)],
  ["biases that start beyond the pairs", output(0, "bias_start", 2)],
  ["a penalty of a token beyond the vocabulary", word("off_pairs", 0, VOCAB)],
  ["a penalty of a negative token", word("off_pairs", 0, -1)],
  ["a negative count", word("off_pairs", 1, -1)],
  ["a bias of a token beyond the vocabulary", word("off_pairs", 2, VOCAB)],
  ["a bias that is NaN", word("off_pairs", 3, 0x7fc00000)],
  ["a mask beyond the mask words", output(1, "mask_start", 1)],
  ["a mask that wraps around", output(1, "mask_start", MANY)],
  ["a mask shorter than the vocabulary", output(1, "mask_words", 1)],
]

onEveryBackend("refused steps", (backend) => {
  const symbols = rawSymbols(backend)

  for (const [name, spoil] of spoils) {
    test(name, () => {
      using context = new RawContext(symbols, packAll(transformer()))
      const tokens = context.step(validStep())
      const step = validStep()
      spoil(step)
      expect(statusOf(() => context.step(step))).toBe("INVALID_STEP")
      expect(context.step(validStep())).toEqual(tokens)
    })
  }

  test("a step truncated at any word is refused", () => {
    using context = new RawContext(symbols, packAll(transformer()))
    const step = validStep()
    for (let nWords = 0; nWords < step.words.length; nWords++) {
      expect([nWords, statusOf(() => context.step(step, nWords))]).toEqual([nWords, "INVALID_STEP"])
    }
    expect(statusOf(() => context.step(step))).toBe("OK")
  })

  test("a results array smaller than the number of outputs is refused", () => {
    using context = new RawContext(symbols, packAll(transformer()))
    expect(["INVALID_STEP", "INVALID_ARGUMENT"]).toContain(statusOf(() => context.step(validStep(), undefined, 1)))
  })

  test("steps without outputs, and with one sequence, are accepted", () => {
    using context = new RawContext(symbols, packAll(transformer()))
    expect(context.step(validStep({ outputs: [] }))).toEqual([])
    const sequences: StepSpec["sequences"] = [{ rows: 3, blocks: [1] }]
    expect(context.step(validStep({ sequences, tokens: [1, 2, 3], outputs: [{ row: 2 }] })).length).toBe(1)
  })

  test("2000 steps with random words are refused or run", () => {
    using context = new RawContext(symbols, packAll(transformer()))
    const tokens = context.step(validStep())
    const random = new Random(77)
    const interesting = [
      0, 1, 2, 15, 16, 17, 39, 40, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff0, 0x7f800000, 0x7fc00000,
    ]
    let refused = 0
    for (let i = 0; i < 2000; i++) {
      const step = validStep()
      for (let n = 1 + random.below(3); n > 0; n--) {
        const at = random.below(step.words.length)
        step.words.u32[at] =
          random.below(4) === 0 ? random.uint32() : (interesting[random.below(interesting.length)] as number)
      }
      // The results array has room for every output that the context allows.
      const status = statusOf(() => context.step(step, step.words.length, 4))
      if (status === "INVALID_STEP") refused++
      else expect(status).toBe("OK")
    }
    expect(refused).toBeGreaterThan(300)
    expect(context.step(validStep())).toEqual(tokens)
  })
})

onEveryBackend("refused buffers and handles", (backend) => {
  const symbols = rawSymbols(backend)

  test("reads and writes outside a buffer are refused", () => {
    using context = new RawContext(symbols, packAll(transformer()))
    const data = new Uint8Array(96)
    const read = (buffer: number, offset: number | bigint, n: number | bigint) =>
      statusOf(() => symbols.rf_buffer_read(context.context, buffer, offset, data, n))
    const write = (buffer: number, offset: number | bigint, n: number | bigint) =>
      statusOf(() => symbols.rf_buffer_write(context.context, buffer, offset, data, n))
    for (const access of [read, write]) {
      expect(access(8, 0, 96)).toBe("OK")
      expect(access(8, 92, 4)).toBe("OK")
      expect(access(8, 93, 4)).toBe("INVALID_ARGUMENT")
      expect(access(8, 97, 0)).toBe("INVALID_ARGUMENT")
      expect(access(8, 2n ** 64n - 4n, 8)).toBe("INVALID_ARGUMENT")
      expect(access(8, 0, 2n ** 64n - 1n)).toBe("INVALID_ARGUMENT")
      expect(access(14, 0, 4)).toBe("INVALID_ARGUMENT")
      expect(access(0xffffffff, 0, 4)).toBe("INVALID_ARGUMENT")
    }
  })

  describe("handles", () => {
    test("a closed context is refused", () => {
      const packed = packAll(transformer())
      const raw = new RawContext(symbols, packed)
      raw[Symbol.dispose]()
      expect(statusOf(() => raw.step(validStep()))).toBe("INVALID_HANDLE")
      expect(statusOf(() => symbols.rf_context_close(raw.context))).toBe("INVALID_HANDLE")
      expect(statusOf(() => symbols.rf_model_close(raw.model))).toBe("INVALID_HANDLE")
      expect(statusOf(() => symbols.rf_context_info(raw.context, new Uint8Array(64)))).toBe("INVALID_HANDLE")
      expect(statusOf(() => symbols.rf_buffer_read(raw.context, 0, 0, new Uint8Array(4), 4))).toBe("INVALID_HANDLE")
    })

    test("numbers that were never handles are refused", () => {
      for (const handle of [0n, 1n << 40n, 2n ** 64n - 1n, 12345678901n]) {
        expect(statusOf(() => symbols.rf_model_close(handle))).toBe("INVALID_HANDLE")
        expect(statusOf(() => symbols.rf_context_close(handle))).toBe("INVALID_HANDLE")
      }
    })

    test("a model handle in place of a context handle, and the reverse, are refused", () => {
      using raw = new RawContext(symbols, packAll(transformer()))
      expect(statusOf(() => symbols.rf_context_close(raw.model))).toBe("INVALID_HANDLE")
      expect(statusOf(() => symbols.rf_model_close(raw.context))).toBe("INVALID_HANDLE")
      expect(raw.step(validStep()).length).toBe(2)
    })

    test("a model that closes before its context", () => {
      const packed = packAll(transformer())
      const model = openRawModel(symbols, packed)
      const raw = new RawContext(symbols, packed)
      symbols.rf_model_close(model)
      expect(raw.step(validStep()).length).toBe(2)
      const first = statusOf(() => symbols.rf_model_close(raw.model))
      const stepped = statusOf(() => raw.step(validStep()))
      // The model either outlives its contexts or closes them; no other outcome is allowed.
      expect(["OK", "INVALID_HANDLE", "INVALID_ARGUMENT"]).toContain(first)
      expect(["OK", "INVALID_HANDLE"]).toContain(stepped)
      statusOf(() => symbols.rf_context_close(raw.context))
      statusOf(() => symbols.rf_model_close(raw.model))
    })

    test("2000 models and contexts opened and closed leak no memory", () => {
      const packed = packAll(transformer())
      const rss = () => process.memoryUsage().rss
      for (let i = 0; i < 200; i++) new RawContext(symbols, packed)[Symbol.dispose]()
      const before = rss()
      for (let i = 0; i < 2000; i++) new RawContext(symbols, packed)[Symbol.dispose]()
      expect(rss() - before).toBeLessThan(64 * 2 ** 20)
    })
  })

  test("measuring the bandwidth of 0 threads or 0 bytes is refused", () => {
    const out = new Float64Array(1)
    expect(statusOf(() => symbols.rf_read_bandwidth(0, 0, 1 << 20, out))).toBe("INVALID_ARGUMENT")
    expect(statusOf(() => symbols.rf_read_bandwidth(0, 1, 0, out))).toBe("INVALID_ARGUMENT")
  })

  test("the matrix rate is refused on the CPU and measured on a GPU", () => {
    const out = new Float64Array(1)
    expect(statusOf(() => symbols.rf_matrix_rate(99, out))).toBe("INVALID_ARGUMENT")
    expect(statusOf(() => symbols.rf_matrix_rate(0, out))).toBe(backend === "cpu" ? "UNSUPPORTED" : "OK")
    if (backend !== "cpu") expect(out[0]).toBeGreaterThan(1e12)
  })
})
