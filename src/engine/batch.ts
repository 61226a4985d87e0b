/** The step buffer: what `scheduler.ts` decided, as the words of `hip/abi.h`. One object is reused for every step. */

import {
  GREEDY_OUTPUT,
  PAIR_WORDS,
  STEP_HEADER_WORDS,
  STEP_OUTPUT_WORDS,
  STEP_SEQ_WORDS,
  type StepOutput,
  Words,
  writeBiasPair,
  writePenaltyPair,
  writeStepHeader,
  writeStepOutput,
  writeStepSeq,
} from "../native/step-structs.ts"
import type { Slice } from "./scheduler.ts"
import type { SamplingParams } from "./types.ts"

const sum = (slices: readonly Slice[], size: (slice: Slice) => number): number =>
  slices.reduce((total, slice) => total + size(slice), 0)

/** Outputs of a slice: its last row's and its drafted rows', or all rows' where they are scored. */
export const outputsOf = ({ sequence, n_rows, samples, draft }: Slice): number =>
  sequence.request.targets !== undefined ? n_rows : samples ? 1 + draft.length : 0

/** Pairs of a slice at most: every drafted token may be new to the penalties of those after it. */
const pairsOf = ({ sequence: { counts, sampling, request }, draft }: Slice): number =>
  (1 + draft.length) *
  ((counts ? counts.size + draft.length : 0) +
    sampling.logit_bias.size +
    (request.min_tokens ? request.stop_tokens.size : 0))

/** Words of a slice's mask: under a constraint it has one output. */
const maskWordsOf = ({ samples, sequence: { matcher } }: Slice): number => (samples ? (matcher?.mask?.length ?? 0) : 0)

/**
 * Added to a logit, it makes its token the one that is chosen, and subtracted, one that is not; log-probabilities are those of the
 * logits before it.
 */
const CERTAIN = 1e30

/** The biases of a sequence's output number `counter`. */
function biasesOf(
  { sampling: { logit_bias }, request }: Slice["sequence"],
  counter: number,
): ReadonlyMap<number, number> {
  if (counter >= (request.min_tokens ?? 0)) return logit_bias
  return new Map([...logit_bias, ...Array.from(request.stop_tokens, (token) => [token, -CERTAIN] as const)])
}

export class StepBuffer {
  words = new Words(4096)
  /** Words in use. */
  length = 0

  /** Fills the buffer; results come in the order of the slices that sample, one for the last row and one for each drafted row. */
  pack(slices: readonly Slice[]): void {
    const n_tokens = sum(slices, ({ n_rows, draft }) => n_rows + draft.length)
    const n_outputs = sum(slices, outputsOf)
    const n_block_ids = sum(slices, ({ sequence }) => sequence.blocks.ids.length)
    const off_tokens = STEP_HEADER_WORDS
    const off_seqs = off_tokens + n_tokens
    const off_outputs = off_seqs + slices.length * STEP_SEQ_WORDS
    const off_blocks = off_outputs + n_outputs * STEP_OUTPUT_WORDS
    const off_masks = off_blocks + n_block_ids
    const n_mask_words = sum(slices, maskWordsOf)
    const off_pairs = off_masks + n_mask_words
    const most = off_pairs + sum(slices, (slice) => (slice.samples ? pairsOf(slice) : outputsOf(slice))) * PAIR_WORDS
    if (most > this.words.length) this.words = new Words(2 * most)
    const { i32 } = this.words
    let row = 0
    let block = off_blocks
    let output = off_outputs
    let n_pairs = 0
    let mask_start = 0
    for (const [i, slice] of slices.entries()) {
      const { sequence, n_rows, draft } = slice
      const { ids } = sequence.blocks
      const row_start = row
      for (let k = 0; k < n_rows; k++) i32[off_tokens + row++] = sequence.tokenAt(sequence.n_cached + k)
      for (const token of draft) i32[off_tokens + row++] = token
      i32.set(ids, block)
      writeStepSeq(this.words, off_seqs + i * STEP_SEQ_WORDS, {
        row_start,
        n_rows: row - row_start,
        kv_len: sequence.n_cached + row - row_start,
        block_start: block - off_blocks,
      })
      block += ids.length
      const { targets } = sequence.request
      for (let k = 0; targets && k < n_rows; k++) {
        const target = targets[sequence.n_cached + k] ?? 0
        this.#writeScore(row_start + k, target, sequence.sampling.logprobs ?? 0, output, off_pairs, n_pairs++)
        output += STEP_OUTPUT_WORDS
      }
      if (!slice.samples) continue
      const mask_words = maskWordsOf(slice)
      if (sequence.matcher?.mask) this.words.u32.set(sequence.matcher.mask, off_masks + mask_start)
      // A drafted row's token is chosen as if the guesses before it had been said.
      const counts = sequence.counts && draft.length > 0 ? new Map(sequence.counts) : sequence.counts
      for (let k = 0; k <= draft.length; k++) {
        const counter = sequence.output.length + k
        const at = { row: row_start + n_rows - 1 + k, counter, mask_start, mask_words }
        const biases = biasesOf(sequence, counter)
        n_pairs = this.#writeOutput(sequence.sampling, counts, biases, at, output, off_pairs, n_pairs)
        output += STEP_OUTPUT_WORDS
        const token = draft[k]
        if (token !== undefined) counts?.set(token, (counts.get(token) ?? 0) + 1)
      }
      mask_start += mask_words
    }
    this.length = off_pairs + n_pairs * PAIR_WORDS
    writeStepHeader(this.words, {
      n_tokens,
      n_seqs: slices.length,
      n_outputs,
      off_tokens,
      off_seqs,
      off_outputs,
      off_blocks,
      n_block_ids,
      off_pairs,
      n_pairs,
      off_masks,
      n_mask_words,
    })
  }

  /** One RfStepOutput at word `at` that chooses a row's target, and pair number `pair` to that end. */
  #writeScore(row: number, target: number, n_top: number, at: number, off_pairs: number, pair: number): void {
    writeStepOutput(this.words, at, { ...GREEDY_OUTPUT, row, n_top, bias_start: pair, n_biases: 1 })
    writeBiasPair(this.words, off_pairs + pair * PAIR_WORDS, target, CERTAIN)
  }

  /** One RfStepOutput at word `at`, and its pairs from pair number `pair` on; returns the number of the pair after them. */
  #writeOutput(
    s: SamplingParams,
    counts: ReadonlyMap<number, number> | undefined,
    biases: ReadonlyMap<number, number>,
    { row, counter, mask_start, mask_words }: Pick<StepOutput, "row" | "counter" | "mask_start" | "mask_words">,
    at: number,
    off_pairs: number,
    pair: number,
  ): number {
    const n_penalties = counts?.size ?? 0
    const n_biases = biases.size
    writeStepOutput(this.words, at, {
      row,
      temperature: s.temperature,
      top_k: s.top_k,
      top_p: s.top_p,
      min_p: s.min_p,
      repeat_penalty: s.repetition_penalty,
      frequency_penalty: s.frequency_penalty,
      presence_penalty: s.presence_penalty,
      seed: s.seed,
      counter,
      n_top: s.logprobs ?? -1,
      penalty_start: pair,
      n_penalties,
      bias_start: pair + n_penalties,
      n_biases,
      mask_start: mask_words > 0 ? mask_start : 0,
      mask_words,
    })
    let word = off_pairs + pair * PAIR_WORDS
    for (const [token, count] of counts ?? []) {
      writePenaltyPair(this.words, word, token, count)
      word += PAIR_WORDS
    }
    for (const [token, bias] of biases) {
      writeBiasPair(this.words, word, token, bias)
      word += PAIR_WORDS
    }
    return pair + n_penalties + n_biases
  }
}
