/** The step buffer: what `scheduler.ts` decided, as the words of `hip/abi.h`. One object is reused for every step. */

import {
  PAIR_WORDS,
  STEP_HEADER_WORDS,
  STEP_OUTPUT_WORDS,
  STEP_SEQ_WORDS,
  Words,
  writeBiasPair,
  writePenaltyPair,
  writeStepHeader,
  writeStepOutput,
  writeStepSeq,
} from "../native/step-structs.ts"
import type { Slice } from "./scheduler.ts"
import type { Sequence } from "./sequence.ts"

const sum = (slices: readonly Slice[], size: (slice: Slice) => number): number =>
  slices.reduce((total, slice) => total + size(slice), 0)

const pairsOf = ({ counts, sampling }: Sequence): number => (counts?.size ?? 0) + sampling.logit_bias.size

export class StepBuffer {
  words = new Words(4096)
  /** Words in use. */
  length = 0

  /** Fills the buffer; the i-th sampling slice's result will be the i-th. */
  pack(slices: readonly Slice[]): void {
    const sampling = slices.filter(({ samples }) => samples)
    const n_tokens = sum(slices, ({ n_rows }) => n_rows)
    const n_block_ids = sum(slices, ({ sequence }) => sequence.blocks.ids.length)
    const n_pairs = sum(sampling, ({ sequence }) => pairsOf(sequence))
    const off_tokens = STEP_HEADER_WORDS
    const off_seqs = off_tokens + n_tokens
    const off_outputs = off_seqs + slices.length * STEP_SEQ_WORDS
    const off_blocks = off_outputs + sampling.length * STEP_OUTPUT_WORDS
    const off_pairs = off_blocks + n_block_ids
    this.length = off_pairs + n_pairs * PAIR_WORDS
    if (this.length > this.words.length) this.words = new Words(2 * this.length)
    writeStepHeader(this.words, {
      n_tokens,
      n_seqs: slices.length,
      n_outputs: sampling.length,
      off_tokens,
      off_seqs,
      off_outputs,
      off_blocks,
      n_block_ids,
      off_pairs,
      n_pairs,
      off_masks: 0,
      n_mask_words: 0,
    })
    let row = 0
    let block = 0
    let output = off_outputs
    let pair = 0
    slices.forEach(({ sequence, n_rows, samples }, i) => {
      for (let k = 0; k < n_rows; k++) {
        this.words.i32[off_tokens + row + k] = sequence.tokenAt(sequence.n_cached + k)
      }
      const { ids } = sequence.blocks
      this.words.i32.set(ids, off_blocks + block)
      writeStepSeq(this.words, off_seqs + i * STEP_SEQ_WORDS, {
        row_start: row,
        n_rows,
        kv_len: sequence.n_cached + n_rows,
        block_start: block,
      })
      row += n_rows
      block += ids.length
      if (!samples) return
      this.#writeOutput(sequence, row - 1, output, off_pairs, pair)
      output += STEP_OUTPUT_WORDS
      pair += pairsOf(sequence)
    })
  }

  /** One RfStepOutput at word `at`, and its pairs from pair number `pair` on. */
  #writeOutput(
    { sampling: s, counts, output }: Sequence,
    row: number,
    at: number,
    off_pairs: number,
    pair: number,
  ): void {
    const n_penalties = counts?.size ?? 0
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
      counter: output.length,
      n_top: s.logprobs ?? -1,
      penalty_start: pair,
      n_penalties,
      bias_start: pair + n_penalties,
      n_biases: s.logit_bias.size,
      mask_start: 0,
      mask_words: 0,
    })
    let word = off_pairs + pair * PAIR_WORDS
    for (const [token, count] of counts ?? []) {
      writePenaltyPair(this.words, word, token, count)
      word += PAIR_WORDS
    }
    for (const [token, bias] of s.logit_bias) {
      writeBiasPair(this.words, word, token, bias)
      word += PAIR_WORDS
    }
  }
}
