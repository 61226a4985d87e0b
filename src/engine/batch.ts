/** The step buffer: the scheduler's chunks in the format of `hip/abi.h`. One buffer is reused for all steps. */

import { GIVEN_DRAW } from "../native/abi.ts"
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
import type { ScheduledChunk } from "./scheduler.ts"

const sum = (chunks: readonly ScheduledChunk[], size: (chunk: ScheduledChunk) => number): number =>
  chunks.reduce((total, chunk) => total + size(chunk), 0)

/** Outputs of a chunk: one after its last token and one after each drafted token, or one after every token where they are scored. */
export const outputsOf = ({ sequence, length, samples, draft }: ScheduledChunk): number =>
  sequence.request.targets !== undefined ? length : samples ? 1 + draft.length : 0

/** Upper bound of a chunk's penalty and bias pairs: each drafted token may add one to the penalties of those after it. */
function pairsOf({ sequence: { sampler, output }, draft }: ScheduledChunk): number {
  const penalties = sampler.counts ? sampler.counts.size + draft.length : 0
  // The stop tokens that `minTokens` excludes are excluded at the first output, or at none.
  return (1 + draft.length) * (penalties + sampler.biases(output.length).size)
}

/** Words of a chunk's mask. A chunk under a constraint has one output; all outputs share the mask of the allowed tokens. */
const maskWordsOf = ({ samples, sequence: { matcher, sampler } }: ScheduledChunk): number =>
  samples ? ((matcher?.mask ?? sampler.allowed)?.length ?? 0) : 0

/** Bias that forces a token when added to its logit. Log-probabilities are computed from the logits without biases. */
const CERTAIN = 1e30

export class StepBuffer {
  words = new Words(4096)
  /** Words in use. */
  length = 0

  /** Fills the buffer. The step's results are in the order of the chunks, `outputsOf` each. */
  pack(chunks: readonly ScheduledChunk[]): void {
    const nTokens = sum(chunks, ({ length, draft }) => length + draft.length)
    const nOutputs = sum(chunks, outputsOf)
    const nBlockIds = sum(chunks, ({ sequence }) => sequence.blocks.ids.length)
    const offTokens = STEP_HEADER_WORDS
    const offSeqs = offTokens + nTokens
    const offOutputs = offSeqs + chunks.length * STEP_SEQ_WORDS
    const offBlocks = offOutputs + nOutputs * STEP_OUTPUT_WORDS
    const offMasks = offBlocks + nBlockIds
    const nMaskWords = sum(chunks, maskWordsOf)
    const offPairs = offMasks + nMaskWords
    const most = offPairs + sum(chunks, (chunk) => (chunk.samples ? pairsOf(chunk) : outputsOf(chunk))) * PAIR_WORDS
    if (most > this.words.length) this.words = new Words(2 * most)
    const { i32 } = this.words
    let row = 0
    let block = offBlocks
    let output = offOutputs
    let nPairs = 0
    let maskStart = 0
    for (const [i, chunk] of chunks.entries()) {
      const { sequence, length, draft } = chunk
      const { ids } = sequence.blocks
      const rowStart = row
      for (let k = 0; k < length; k++) i32[offTokens + row++] = sequence.tokenAt(sequence.nCached + k)
      for (const token of draft) i32[offTokens + row++] = token
      i32.set(ids, block)
      writeStepSeq(this.words, offSeqs + i * STEP_SEQ_WORDS, {
        row_start: rowStart,
        n_rows: row - rowStart,
        kv_len: sequence.nCached + row - rowStart,
        block_start: block - offBlocks,
      })
      block += ids.length
      const { targets } = sequence.request
      for (let k = 0; targets && k < length; k++) {
        const target = targets[sequence.nCached + k] ?? 0
        this.#writeScore(rowStart + k, target, sequence.sampling.logprobs ?? 0, output, offPairs, nPairs++)
        output += STEP_OUTPUT_WORDS
      }
      if (!chunk.samples) continue
      const maskWords = maskWordsOf(chunk)
      if (maskWords > 0) this.#writeMask(sequence, offMasks + maskStart)
      // Penalties after a drafted token count it and those before it as generated.
      const { sampler } = sequence
      const drafted = sampler.counts && draft.length > 0 ? new Map(sampler.counts) : undefined
      const counts = drafted ?? sampler.counts
      for (let k = 0; k <= draft.length; k++) {
        const counter = sequence.output.length + k
        const at = { row: rowStart + length - 1 + k, counter, mask_start: maskStart, mask_words: maskWords }
        nPairs = this.#writeOutput(sequence, counts, sampler.biases(counter), at, output, offPairs, nPairs)
        output += STEP_OUTPUT_WORDS
        const token = draft[k]
        if (token !== undefined) drafted?.set(token, (drafted.get(token) ?? 0) + 1)
      }
      maskStart += maskWords
    }
    this.length = offPairs + nPairs * PAIR_WORDS
    writeStepHeader(this.words, {
      n_tokens: nTokens,
      n_seqs: chunks.length,
      n_outputs: nOutputs,
      off_tokens: offTokens,
      off_seqs: offSeqs,
      off_outputs: offOutputs,
      off_blocks: offBlocks,
      n_block_ids: nBlockIds,
      off_pairs: offPairs,
      n_pairs: nPairs,
      off_masks: offMasks,
      n_mask_words: nMaskWords,
    })
  }

  /** Writes the tokens that may come next at word `at`: those that the constraint allows, and the request. */
  #writeMask({ matcher, sampler: { allowed } }: ScheduledChunk["sequence"], at: number): void {
    const mask = matcher?.mask ?? allowed
    if (mask === undefined) return
    const { u32 } = this.words
    u32.set(mask, at)
    if (allowed === undefined || mask === allowed) return
    for (let i = 0; i < mask.length; i++) u32[at + i] = (mask[i] as number) & (allowed[i] ?? 0)
  }

  /** Writes one RfStepOutput at word `at` that forces a row's target by the bias in pair number `pair`. */
  #writeScore(row: number, target: number, nTop: number, at: number, offPairs: number, pair: number): void {
    writeStepOutput(this.words, at, { ...GREEDY_OUTPUT, row, n_top: nTop, bias_start: pair, n_biases: 1 })
    writeBiasPair(this.words, offPairs + pair * PAIR_WORDS, target, CERTAIN)
  }

  /** Writes one RfStepOutput at word `at`, and its pairs from number `pair` on. @returns the number of the next free pair. */
  #writeOutput(
    { sampling: s, sampler, draws }: ScheduledChunk["sequence"],
    counts: ReadonlyMap<number, number> | undefined,
    biases: ReadonlyMap<number, number>,
    {
      row,
      counter,
      mask_start: maskStart,
      mask_words: maskWords,
    }: Pick<StepOutput, "row" | "counter" | "mask_start" | "mask_words">,
    at: number,
    offPairs: number,
    pair: number,
  ): number {
    const nPenalties = counts?.size ?? 0
    const nBiases = biases.size
    writeStepOutput(this.words, at, {
      row,
      temperature: s.temperature,
      top_k: s.topK,
      top_p: s.topP,
      min_p: s.minP,
      repeat_penalty: s.repetitionPenalty,
      frequency_penalty: s.frequencyPenalty,
      presence_penalty: s.presencePenalty,
      ...(draws === undefined ? { seed: s.seed, counter } : { seed: draws.at(counter), counter: GIVEN_DRAW }),
      n_top: s.logprobs ?? -1,
      penalty_start: pair,
      n_penalties: nPenalties,
      bias_start: pair + nPenalties,
      n_biases: nBiases,
      mask_start: maskWords > 0 ? maskStart : 0,
      mask_words: maskWords,
      typical_p: s.typicalP,
      top_n_sigma: s.topNSigma,
      xtc_probability: s.xtcProbability,
      xtc_threshold: s.xtcThreshold,
      dynatemp_range: s.dynatempRange,
      dynatemp_exponent: s.dynatempExponent,
      min_keep: s.minKeep,
      temperature_last: s.temperatureLast ? 1 : 0,
      mirostat: s.mirostat,
      mirostat_mu: sampler.mu,
    })
    let word = offPairs + pair * PAIR_WORDS
    for (const [token, count] of counts ?? []) {
      writePenaltyPair(this.words, word, token, count)
      word += PAIR_WORDS
    }
    for (const [token, bias] of biases) {
      writeBiasPair(this.words, word, token, bias)
      word += PAIR_WORDS
    }
    return pair + nPenalties + nBiases
  }
}
