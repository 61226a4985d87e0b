import { expect, test } from "bun:test"
import {
  ABI_VERSION,
  RF_PAIR,
  RF_STEP_HEADER,
  RF_STEP_OUTPUT,
  RF_STEP_RESULT,
  RF_STEP_SEQ,
} from "../../../src/native/abi.ts"
import {
  GREEDY_OUTPUT,
  readStepResult,
  STEP_RESULT_WORDS,
  Words,
  writeBiasPair,
  writePenaltyPair,
  writeStepHeader,
  writeStepOutput,
  writeStepSeq,
} from "../../../src/native/step-structs.ts"
import { readNumber, writeStruct } from "../../../src/native/struct.ts"

const viewOf = (words: Words) => new DataView(words.u32.buffer)

test("the header's fields are at the struct's offsets, with the version", () => {
  const words = new Words(20)
  words.u32.fill(7)
  const sections = {
    n_tokens: 1,
    n_seqs: 2,
    n_outputs: 3,
    off_tokens: 4,
    off_seqs: 5,
    off_outputs: 6,
    off_blocks: 7,
    n_block_ids: 8,
    off_pairs: 9,
    n_pairs: 10,
    off_masks: 11,
    n_mask_words: 12,
  }
  writeStepHeader(words, sections)
  for (const [name, value] of Object.entries({ version: ABI_VERSION, ...sections })) {
    expect(readNumber(viewOf(words), 0, RF_STEP_HEADER, name as "version")).toBe(value)
  }
  expect([...words.u32.subarray(13, 16)]).toEqual([0, 0, 0])
  expect(words.u32[16]).toBe(7)
})

test("every field of a sequence and of an output is packed", () => {
  const words = new Words(48)
  const seq = { row_start: 1, n_rows: 2, kv_len: 3, block_start: 4 }
  writeStepSeq(words, 2, seq)
  for (const [name, value] of Object.entries(seq)) {
    expect(readNumber(viewOf(words), 8, RF_STEP_SEQ, name as keyof typeof seq)).toBe(value)
  }
  const { seed: _, ...neutral } = GREEDY_OUTPUT
  const output = {
    ...neutral,
    row: 5,
    temperature: 0.5,
    top_k: -1,
    top_p: 0.25,
    min_p: 0.125,
    repeat_penalty: 1.5,
    frequency_penalty: -0.5,
    presence_penalty: 2,
    counter: 6,
    n_top: 20,
    penalty_start: 7,
    n_penalties: 8,
    bias_start: 9,
    n_biases: 10,
    mask_start: 11,
    mask_words: 12,
    typical_p: 0.75,
    top_n_sigma: 1.5,
    xtc_probability: 0.125,
    xtc_threshold: 0.0625,
    dynatemp_range: 0.375,
    dynatemp_exponent: 1.25,
    min_keep: 13,
    temperature_last: 1,
    mirostat: 2,
    mirostat_mu: 9.5,
  }
  writeStepOutput(words, 10, { ...output, seed: 0xfedcba9876543210n })
  for (const [name, value] of Object.entries({ ...output, seed_lo: 0x76543210, seed_hi: 0xfedcba98 })) {
    expect(readNumber(viewOf(words), 40, RF_STEP_OUTPUT, name as keyof typeof neutral)).toBe(value)
  }
})

test("a pair has a count or a bias in the same word", () => {
  const words = new Words(4)
  writePenaltyPair(words, 0, 5, -3)
  writeBiasPair(words, 2, 6, -0.5)
  expect(words.i32[RF_PAIR.fields.value.offset / 4]).toBe(-3)
  expect(words.f32[2 + RF_PAIR.fields.value.offset / 4]).toBe(-0.5)
  expect([words.i32[0], words.i32[2]]).toEqual([5, 6])
})

test("a result is read with its number of alternatives", () => {
  const words = new Words(2 * STEP_RESULT_WORDS)
  writeStruct(viewOf(words), RF_STEP_RESULT.size, RF_STEP_RESULT, {
    token: 9,
    logprob: -0.5,
    n_top: 2,
    surprise: 2.5,
    top_tokens: [9, 4, 1],
    top_logprobs: [-0.5, -1.5, -2],
  })
  expect(readStepResult(words, 1)).toEqual({
    token: 9,
    logprob: -0.5,
    surprise: 2.5,
    top: [
      { token: 9, logprob: -0.5 },
      { token: 4, logprob: -1.5 },
    ],
  })
  expect(readStepResult(words, 0).top).toEqual([])
})
