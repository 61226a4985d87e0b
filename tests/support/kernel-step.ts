/** Packs readable descriptions of steps into the words of `RfStepHeader` and its sections. */

import {
  GREEDY_OUTPUT,
  PAIR_WORDS,
  STEP_HEADER_WORDS,
  STEP_OUTPUT_WORDS,
  STEP_SEQ_WORDS,
  type StepOutput,
  type StepSections,
  Words,
  writeBiasPair,
  writePenaltyPair,
  writeStepHeader,
  writeStepOutput,
  writeStepSeq,
} from "../../src/native/step-structs.ts"

export interface SequenceSpec {
  rows: number
  /** Tokens in the cache after the step; `rows` if absent (a fresh sequence). */
  kvLen?: number
  /** The sequence's block table: at least ceil(kvLen / block size) ids. */
  blocks: readonly number[]
}

export interface OutputSpec
  extends Partial<
    Omit<StepOutput, "penalty_start" | "n_penalties" | "bias_start" | "n_biases" | "mask_start" | "mask_words">
  > {
  /** [token, occurrences in the generated text] */
  penalties?: readonly (readonly [number, number])[]
  /** [token, value added to its logit] */
  biases?: readonly (readonly [number, number])[]
  /** Bit t of word t / 32 allows token t. */
  mask?: Uint32Array
}

export interface StepSpec {
  sequences: readonly SequenceSpec[]
  /** One id per row; zeros if absent. */
  tokens?: ArrayLike<number>
  outputs?: readonly OutputSpec[]
}

/** A packed step and the positions of its sections, so that a test can corrupt them. */
export interface PackedStep {
  words: Words
  sections: StepSections
}

export function packStep(spec: StepSpec): PackedStep {
  const outputs = spec.outputs ?? []
  const n_tokens = spec.sequences.reduce((sum, sequence) => sum + sequence.rows, 0)
  const n_block_ids = spec.sequences.reduce((sum, sequence) => sum + sequence.blocks.length, 0)
  const n_pairs = outputs.reduce((sum, o) => sum + (o.penalties?.length ?? 0) + (o.biases?.length ?? 0), 0)
  const n_mask_words = outputs.reduce((sum, o) => sum + (o.mask?.length ?? 0), 0)
  let end = STEP_HEADER_WORDS
  const take = (n: number) => {
    end += n
    return end - n
  }
  const sections: StepSections = {
    n_tokens,
    n_seqs: spec.sequences.length,
    n_outputs: outputs.length,
    off_tokens: take(n_tokens),
    off_seqs: take(spec.sequences.length * STEP_SEQ_WORDS),
    off_outputs: take(outputs.length * STEP_OUTPUT_WORDS),
    off_blocks: take(n_block_ids),
    n_block_ids,
    off_pairs: take(n_pairs * PAIR_WORDS),
    n_pairs,
    off_masks: take(n_mask_words),
    n_mask_words,
  }
  const words = new Words(end)
  writeStepHeader(words, sections)
  if (spec.tokens) words.i32.set(spec.tokens, sections.off_tokens)
  writeSequences(words, sections, spec.sequences)
  writeOutputs(words, sections, outputs)
  return { words, sections }
}

function writeSequences(words: Words, sections: StepSections, sequences: readonly SequenceSpec[]): void {
  let row_start = 0
  let block_start = 0
  for (const [i, { rows, kvLen = rows, blocks }] of sequences.entries()) {
    const at = sections.off_seqs + i * STEP_SEQ_WORDS
    writeStepSeq(words, at, { row_start, n_rows: rows, kv_len: kvLen, block_start })
    words.i32.set(blocks, sections.off_blocks + block_start)
    row_start += rows
    block_start += blocks.length
  }
}

function writeOutputs(words: Words, sections: StepSections, outputs: readonly OutputSpec[]): void {
  let pair = 0
  let maskWord = 0
  for (const [i, { penalties = [], biases = [], mask, ...fields }] of outputs.entries()) {
    writeStepOutput(words, sections.off_outputs + i * STEP_OUTPUT_WORDS, {
      ...GREEDY_OUTPUT,
      ...fields,
      penalty_start: pair,
      n_penalties: penalties.length,
      bias_start: pair + penalties.length,
      n_biases: biases.length,
      mask_start: maskWord,
      mask_words: mask?.length ?? 0,
    })
    for (const [token, count] of penalties) {
      writePenaltyPair(words, sections.off_pairs + PAIR_WORDS * pair++, token, count)
    }
    for (const [token, bias] of biases) writeBiasPair(words, sections.off_pairs + PAIR_WORDS * pair++, token, bias)
    if (mask) words.u32.set(mask, sections.off_masks + maskWord)
    maskWord += mask?.length ?? 0
  }
}
