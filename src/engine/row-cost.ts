import type { ModelConfig } from "../models/config.ts"

/** Attention's products run at about half the rate of the others. */
const ATTENTION_RATE = 0.5

/**
 * Cost of a prompt's row after `context` tokens, relative to a row at the beginning of a text: matrix products, and attention over the
 * context. (SmolLM2-135M on two Zen 4 cores: 64 rows take 66 ms at the beginning, and 130 ms after 1,408 tokens; the estimate is 1.9.)
 */
export function rowCost({ hiddenSize, layers }: ModelConfig): (context: number) => number {
  // Multiply-adds of all layers for a row, and for each token that the row sees, the latter by the layers' windows.
  let products = 0
  const seen = new Map<number, number>()
  for (const { nHeads, nKvHeads, headDim, valueDim, ffn, window } of layers) {
    products += hiddenSize * ((nHeads + nKvHeads) * (headDim + valueDim) + 3 * ffn)
    const longest = window > 0 ? window : Number.POSITIVE_INFINITY
    seen.set(longest, (seen.get(longest) ?? 0) + (nHeads * (headDim + valueDim)) / ATTENTION_RATE)
  }
  const widths = [...seen]
  return (context) => 1 + widths.reduce((sum, [longest, each]) => sum + each * Math.min(context, longest), 0) / products
}
