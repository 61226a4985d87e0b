/**
 * Llama (Touvron et al. 2023) and the many models with its layer, among them Mistral (Jiang et al. 2023) with its sliding window.
 * Converters reorder the rows of Q and K so that the dimensions of a rotated pair are neighbours.
 */

import { attention } from "../blocks/attention.ts"
import { ffn } from "../blocks/ffn.ts"
import type { ModelFamily } from "../decoder.ts"

export const llama: ModelFamily = {
  architectures: ["llama", "mistral"],
  rope: "interleaved",
  layer: (l) => [attention(l), ffn(l)],
}
