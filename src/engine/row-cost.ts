import type { ModelConfig } from "../models/config.ts"

/** Attention's products run at about half the rate of the others. */
const ATTENTION_RATE = 0.5

/**
 * What a prompt's row costs behind `context` tokens, in rows at the beginning of a text: its matrix products, and attention over the
 * context. (SmolLM2-135M on two Zen 4 cores: 64 rows take 66 ms at the beginning, and 130 ms behind 1,408 tokens; this says 1.9.)
 */
export function rowCost({ hiddenSize, nHeads, nKvHeads, headDim, ffn, slidingWindow }: ModelConfig) {
  // Multiply-adds of a layer: for a row, and for each token that it sees.
  const products = hiddenSize * ((2 * nHeads + 2 * nKvHeads) * headDim + 3 * ffn)
  const seen = (2 * nHeads * headDim) / ATTENTION_RATE
  const longest = slidingWindow > 0 ? slidingWindow : Number.POSITIVE_INFINITY
  return (context: number): number => 1 + (seen / products) * Math.min(context, longest)
}
