/**
 * Fast writers for the step buffer and the reader of its results (RfStepHeader, RfStepSeq, RfStepOutput, RfPair, RfStepResult).
 * Positions are 32-bit word offsets, as in the header.
 */

import {
  ABI_VERSION,
  MAX_TOP_LOGPROBS,
  RF_PAIR,
  RF_STEP_HEADER,
  RF_STEP_OUTPUT,
  RF_STEP_RESULT,
  RF_STEP_SEQ,
} from "./abi.ts"

export const STEP_HEADER_WORDS = RF_STEP_HEADER.size / 4
export const STEP_SEQ_WORDS = RF_STEP_SEQ.size / 4
export const STEP_OUTPUT_WORDS = RF_STEP_OUTPUT.size / 4
export const PAIR_WORDS = RF_PAIR.size / 4
export const STEP_RESULT_WORDS = RF_STEP_RESULT.size / 4

/** One block of memory seen as each of the three 32-bit types. */
export class Words {
  readonly u32: Uint32Array
  readonly i32: Int32Array
  readonly f32: Float32Array

  constructor(readonly length: number) {
    const memory = new ArrayBuffer(length * 4)
    this.u32 = new Uint32Array(memory)
    this.i32 = new Int32Array(memory)
    this.f32 = new Float32Array(memory)
  }
}

/** The sections of a step: counts, and word offsets from the start of the buffer. */
export interface StepSections {
  n_tokens: number
  n_seqs: number
  n_outputs: number
  off_tokens: number
  off_seqs: number
  off_outputs: number
  off_blocks: number
  n_block_ids: number
  off_pairs: number
  n_pairs: number
  off_masks: number
  n_mask_words: number
}

/** Writes the header at the start of the buffer, the version included. */
export function writeStepHeader(words: Words, sections: StepSections): void {
  const u = words.u32
  const f = RF_STEP_HEADER.fields
  u.fill(0, 0, STEP_HEADER_WORDS)
  u[f.version.offset >> 2] = ABI_VERSION
  for (const key of Object.keys(sections) as (keyof StepSections)[]) u[f[key].offset >> 2] = sections[key]
}

interface StepSeq {
  row_start: number
  n_rows: number
  /** Tokens in the cache once the step is done. */
  kv_len: number
  /** First entry of its block table in the block section. */
  block_start: number
}

/** Writes one RfStepSeq at word `at`. */
export function writeStepSeq(words: Words, at: number, seq: StepSeq): void {
  const u = words.u32
  const f = RF_STEP_SEQ.fields
  u[at + (f.row_start.offset >> 2)] = seq.row_start
  u[at + (f.n_rows.offset >> 2)] = seq.n_rows
  u[at + (f.kv_len.offset >> 2)] = seq.kv_len
  u[at + (f.block_start.offset >> 2)] = seq.block_start
}

/** One row to sample from, and how; the fields of RfStepOutput, with the seed as one number. */
export interface StepOutput {
  row: number
  temperature: number
  top_k: number
  top_p: number
  min_p: number
  repeat_penalty: number
  frequency_penalty: number
  presence_penalty: number
  seed: bigint
  /** Index of this draw in its request. */
  counter: number
  /** -1: no log-probabilities, else 0 … MAX_TOP_LOGPROBS alternatives. */
  n_top: number
  penalty_start: number
  n_penalties: number
  bias_start: number
  n_biases: number
  mask_start: number
  mask_words: number
  typical_p: number
  top_n_sigma: number
  xtc_probability: number
  xtc_threshold: number
  dynatemp_range: number
  dynatemp_exponent: number
  min_keep: number
  /** 0 or 1. */
  temperature_last: number
  mirostat: number
  mirostat_mu: number
}

/** Greedy sampling without penalties, biases, mask and log-probabilities. */
export const GREEDY_OUTPUT: Readonly<StepOutput> = {
  row: 0,
  temperature: 0,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  repeat_penalty: 1,
  frequency_penalty: 0,
  presence_penalty: 0,
  seed: 0n,
  counter: 0,
  n_top: -1,
  penalty_start: 0,
  n_penalties: 0,
  bias_start: 0,
  n_biases: 0,
  mask_start: 0,
  mask_words: 0,
  typical_p: 1,
  top_n_sigma: 0,
  xtc_probability: 0,
  xtc_threshold: 0.1,
  dynatemp_range: 0,
  dynatemp_exponent: 1,
  min_keep: 0,
  temperature_last: 0,
  mirostat: 0,
  mirostat_mu: 0,
}

/** Writes one RfStepOutput at word `at`. */
export function writeStepOutput(words: Words, at: number, output: StepOutput): void {
  const { u32, i32, f32 } = words
  const f = RF_STEP_OUTPUT.fields
  u32[at + (f.row.offset >> 2)] = output.row
  f32[at + (f.temperature.offset >> 2)] = output.temperature
  i32[at + (f.top_k.offset >> 2)] = output.top_k
  f32[at + (f.top_p.offset >> 2)] = output.top_p
  f32[at + (f.min_p.offset >> 2)] = output.min_p
  f32[at + (f.repeat_penalty.offset >> 2)] = output.repeat_penalty
  f32[at + (f.frequency_penalty.offset >> 2)] = output.frequency_penalty
  f32[at + (f.presence_penalty.offset >> 2)] = output.presence_penalty
  u32[at + (f.seed_lo.offset >> 2)] = Number(output.seed & 0xffffffffn)
  u32[at + (f.seed_hi.offset >> 2)] = Number((output.seed >> 32n) & 0xffffffffn)
  u32[at + (f.counter.offset >> 2)] = output.counter
  i32[at + (f.n_top.offset >> 2)] = output.n_top
  u32[at + (f.penalty_start.offset >> 2)] = output.penalty_start
  u32[at + (f.n_penalties.offset >> 2)] = output.n_penalties
  u32[at + (f.bias_start.offset >> 2)] = output.bias_start
  u32[at + (f.n_biases.offset >> 2)] = output.n_biases
  u32[at + (f.mask_start.offset >> 2)] = output.mask_start
  u32[at + (f.mask_words.offset >> 2)] = output.mask_words
  f32[at + (f.typical_p.offset >> 2)] = output.typical_p
  f32[at + (f.top_n_sigma.offset >> 2)] = output.top_n_sigma
  f32[at + (f.xtc_probability.offset >> 2)] = output.xtc_probability
  f32[at + (f.xtc_threshold.offset >> 2)] = output.xtc_threshold
  f32[at + (f.dynatemp_range.offset >> 2)] = output.dynatemp_range
  f32[at + (f.dynatemp_exponent.offset >> 2)] = output.dynatemp_exponent
  u32[at + (f.min_keep.offset >> 2)] = output.min_keep
  u32[at + (f.temperature_last.offset >> 2)] = output.temperature_last
  u32[at + (f.mirostat.offset >> 2)] = output.mirostat
  f32[at + (f.mirostat_mu.offset >> 2)] = output.mirostat_mu
}

/** Writes a penalty pair at word `at`: a token and its occurrences in the generated text (0: in the prompt only). */
export function writePenaltyPair(words: Words, at: number, token: number, count: number): void {
  words.i32[at + (RF_PAIR.fields.token.offset >> 2)] = token
  words.i32[at + (RF_PAIR.fields.value.offset >> 2)] = count
}

/** Writes a bias pair at word `at`: a token and what is added to its logit. */
export function writeBiasPair(words: Words, at: number, token: number, bias: number): void {
  words.i32[at + (RF_PAIR.fields.token.offset >> 2)] = token
  words.f32[at + (RF_PAIR.fields.value.offset >> 2)] = bias
}

export interface StepResult {
  /** -1: the logits held a NaN, or the mask allowed nothing. */
  token: number
  /** Of the model's own distribution; meaningful when the output asked for log-probabilities. */
  logprob: number
  /** With Mirostat: -log2 of the token's probability among those that were left, else 0. */
  surprise: number
  top: { token: number; logprob: number }[]
}

/** Reads result `index` of an array of RfStepResult. */
export function readStepResult(words: Words, index: number): StepResult {
  const { i32, f32 } = words
  const f = RF_STEP_RESULT.fields
  const at = index * STEP_RESULT_WORDS
  const tokens = at + (f.top_tokens.offset >> 2)
  const logprobs = at + (f.top_logprobs.offset >> 2)
  const count = Math.min(Math.max(i32[at + (f.n_top.offset >> 2)] ?? 0, 0), MAX_TOP_LOGPROBS)
  const top: StepResult["top"] = []
  for (let i = 0; i < count; i++) top.push({ token: i32[tokens + i] ?? -1, logprob: f32[logprobs + i] ?? 0 })
  return {
    token: i32[at + (f.token.offset >> 2)] ?? -1,
    logprob: f32[at + (f.logprob.offset >> 2)] ?? 0,
    surprise: f32[at + (f.surprise.offset >> 2)] ?? 0,
    top,
  }
}
