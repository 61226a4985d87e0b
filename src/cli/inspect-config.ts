/** A model's hyper-parameters for `inspect`. A value that all layers have in common is shown once. */

import { snakeKeys } from "../json.ts"
import type { LayerConfig, ModelConfig } from "../models/config.ts"

/** The hyper-parameters for JSON: those of layers as one value, or as an array with a value for each layer where they differ. */
export function configJson({ layers, ...config }: ModelConfig): unknown {
  const each = <T>(pick: (layer: LayerConfig) => T): T | T[] => {
    const values = layers.map(pick)
    const first = JSON.stringify(values[0])
    return values.every((value) => JSON.stringify(value) === first) ? (values[0] as T) : values
  }
  const { arch, name, hiddenSize, nVocab, contextLength, rmsEps, pooling } = config
  return snakeKeys({
    arch,
    name,
    hiddenSize,
    nLayers: layers.length,
    nHeads: each((layer) => layer.nHeads),
    nKvHeads: each((layer) => layer.nKvHeads),
    headDim: each((layer) => layer.headDim),
    valueDim: each((layer) => layer.valueDim),
    ffn: each((layer) => layer.ffn),
    nVocab,
    contextLength,
    rmsEps,
    slidingWindow: each((layer) => layer.window),
    ropeDim: each((layer) => layer.rope.dim),
    ropeBase: each((layer) => layer.rope.base),
    ropeScaling: each((layer) => layer.rope.scaling),
    ropeAttnFactor: each((layer) => layer.rope.attnFactor),
    pooling,
  })
}

/** The hyper-parameters for people, as rows of a table: layers that are alike are counted together. */
export function configRows({ hiddenSize, nVocab, contextLength, layers }: ModelConfig): string[][] {
  const window = (n: number): string => (n > 0 ? `, sliding window ${n}` : "")
  const oneWindow = layers.every((layer) => layer.window === layers[0]?.window)
  const counts = new Map<string, number>()
  for (const layer of layers) {
    const heads = `${layer.nHeads} heads and ${layer.nKvHeads} K/V heads of ${layer.headDim}`
    const text = `${heads}, feed-forward ${layer.ffn}${oneWindow ? "" : window(layer.window)}`
    counts.set(text, (counts.get(text) ?? 0) + 1)
  }
  const total = `${layers.length} of ${hiddenSize}`
  const kinds = [...counts]
  return [
    ...(kinds.length === 1
      ? kinds.map(([text]) => ["layers", `${total}, ${text}`])
      : [["layers", total], ...kinds.map(([text, count]) => [`  ${count} with`, text])]),
    ["vocabulary", String(nVocab)],
    ["context", `${contextLength} tokens${oneWindow ? window(layers[0]?.window ?? 0) : ""}`],
  ]
}
