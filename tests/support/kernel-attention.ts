/** Scaled dot-product attention with grouped queries (Vaswani et al., 2017; Ainslie et al., 2023), float64 reference. */

export interface Heads {
  heads: number
  kvHeads: number
  headDim: number
}

export interface AttentionRule extends Heads {
  scale: number
  /** Replaces scores by cap · tanh(score / cap) (Gemma 2, 2024); 0: off. */
  softcap?: number
  /**
   * Causal: a query at position p attends to keys p - window + 1 … p. Not causal: to keys with |key - p| < window. 0: no window.
   */
  window?: number
  /** Causal attention: position of the first query; the others follow it. Absent: not causal, and the last query is at the last key. */
  firstPosition?: number
}

/** A matrix whose rows are `stride` elements apart and whose first element is at `start`. */
export interface Columns {
  values: ArrayLike<number>
  stride: number
  start: number
}

/** [nQueries, heads · headDim] from queries of that shape and keys and values [nKeys, kvHeads · headDim]. */
export function attention(rule: AttentionRule, q: Columns, nQueries: number, k: Columns, v: Columns, nKeys: number) {
  const { heads, kvHeads, headDim, window = 0, firstPosition } = rule
  const out = new Float64Array(nQueries * heads * headDim)
  const scores = new Float64Array(nKeys)
  for (let query = 0; query < nQueries; query++) {
    const causal = firstPosition !== undefined
    const position = (firstPosition ?? nKeys - nQueries) + query
    const beyond = causal ? position + 1 : window > 0 ? position + window : nKeys
    const last = Math.min(nKeys, beyond) - 1
    const first = window > 0 ? Math.max(0, position - window + 1) : 0
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads))
      scoreKeys(rule, scores, q, query, head, k, kvHead, first, last)
      const at = (query * heads + head) * headDim
      for (let key = first; key <= last; key++) {
        const weight = scores[key] as number
        const value = v.start + key * v.stride + kvHead * headDim
        for (let i = 0; i < headDim; i++)
          out[at + i] = (out[at + i] as number) + weight * (v.values[value + i] as number)
      }
    }
  }
  return out
}

/** Writes the softmax weights of keys first … last to `scores`. */
function scoreKeys(
  { headDim, scale, softcap = 0 }: AttentionRule,
  scores: Float64Array,
  q: Columns,
  query: number,
  head: number,
  k: Columns,
  kvHead: number,
  first: number,
  last: number,
): void {
  const from = q.start + query * q.stride + head * headDim
  let most = Number.NEGATIVE_INFINITY
  for (let key = first; key <= last; key++) {
    const to = k.start + key * k.stride + kvHead * headDim
    let product = 0
    for (let i = 0; i < headDim; i++) product += (q.values[from + i] as number) * (k.values[to + i] as number)
    const score = product * scale
    scores[key] = softcap > 0 ? softcap * Math.tanh(score / softcap) : score
    most = Math.max(most, scores[key] as number)
  }
  let sum = 0
  for (let key = first; key <= last; key++) {
    scores[key] = Math.exp((scores[key] as number) - most)
    sum += scores[key] as number
  }
  for (let key = first; key <= last; key++) scores[key] = (scores[key] as number) / sum
}
