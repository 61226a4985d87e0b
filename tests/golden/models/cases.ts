/** The tiny models with golden logits from `transformers`; `generate.py` and the test read the same list. */

import type { TinyModelOptions } from "../../support/tiny-model.ts"

export const GOLDEN_POSITIONS = 64

export const CASES: Record<string, TinyModelOptions> = {
  llama: { seed: 1 },
  "llama-tied": { tied: true, seed: 2 },
  "llama-attention-bias": { attention_bias: true, seed: 3 },
  "llama-linear-rope": { rope: { type: "linear", factor: 4 }, seed: 4 },
  "llama-3-rope": {
    head_dim: 32,
    rope_base: 500000,
    rope: { type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_context: 64 },
    seed: 5,
  },
  "llama-yarn": {
    head_dim: 32,
    rope: { type: "yarn", factor: 4, original_context: 2048 },
    context_length: 8192,
    seed: 6,
  },
  "llama-gqa-1": { heads: 3, kv_heads: 3, hidden: 60, head_dim: 20, seed: 7 },
  "llama-gqa-3": { heads: 9, kv_heads: 3, hidden: 144, seed: 8 },
  "llama-gqa-8": { heads: 8, kv_heads: 1, hidden: 128, ffn: 100, seed: 9 },
  mistral: { arch: "mistral", sliding_window: 16, seed: 10 },
  qwen2: { arch: "qwen2", heads: 6, kv_heads: 2, hidden: 96, rope_base: 1000000, seed: 11 },
  "qwen2-tied": { arch: "qwen2", tied: true, layers: 3, seed: 12 },
  "qwen2-yarn": {
    arch: "qwen2",
    rope: { type: "yarn", factor: 2, original_context: 32 },
    context_length: 64,
    seed: 13,
  },
  qwen3: { arch: "qwen3", head_dim: 24, rope_base: 1000000, seed: 14 },
}
