/** Qwen2 and Qwen2.5 (Yang et al. 2024): Llama's layer with biases on Q, K and V. */

import { attention } from "../blocks/attention.ts"
import { ffn } from "../blocks/ffn.ts"
import type { ModelFamily } from "../decoder.ts"

export const qwen2: ModelFamily = {
  architectures: ["qwen2"],
  rope: "neox",
  layer: (l) => [attention(l, { qkvBias: "required" }), ffn(l)],
}
