/** Qwen3 (Yang et al. 2025): Llama's layer with an RMS norm on each head of Q and K before they are rotated. */

import { attention } from "../blocks/attention.ts"
import { ffn } from "../blocks/ffn.ts"
import type { ModelFamily } from "../decoder.ts"

export const qwen3: ModelFamily = {
  architectures: ["qwen3"],
  rope: "neox",
  layer: (l) => [attention(l, { qkNorm: "head" }), ffn(l)],
}
