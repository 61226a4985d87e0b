/** Self-attention with grouped K/V heads (Ainslie et al. 2023): x += Wo · attention(Wq · n, Wk · n, Wv · n), n = norm(x). */

import type { Block, DecoderLayer } from "../decoder.ts"

interface AttentionOptions {
  /** Biases of Q, K and V. By default they are used if the file has them. */
  qkvBias?: "required"
  /** `head`: an RMS norm over each head of Q and K, before they are rotated. */
  qkNorm?: "head"
}

/** @throws ModelError `unsupported` for a layer without heads, or with keys and values of different widths. */
export function attention(l: DecoderLayer, { qkvBias, qkNorm }: AttentionOptions = {}): Block<"qkv" | "a"> {
  const { nHeads, nKvHeads, headDim, valueDim, window } = l
  if (nHeads === 0 || nKvHeads === 0) throw l.unsupported(`it has ${nHeads} attention heads and ${nKvHeads} K/V heads`)
  if (valueDim !== headDim) throw l.unsupported(`keys of ${headDim} and values of ${valueDim} dimensions differ`)
  const qDim = nHeads * headDim
  const kvDim = nKvHeads * headDim

  return {
    buffers: { qkv: qDim + 2 * kvDim, a: qDim },
    record({ p, hiddenSize, x, h, rope }, { qkv, a }) {
      const q = l.matrix("attn_q", qDim, hiddenSize)
      const k = l.matrix("attn_k", kvDim, hiddenSize)
      const v = l.matrix("attn_v", kvDim, hiddenSize)
      const bias = qkvBias === "required" ? l.vector : l.optionalVector
      const biases = [bias("attn_q.bias", qDim), bias("attn_k.bias", kvDim), bias("attn_v.bias", kvDim)]
      const norms = qkNorm && {
        qNorm: l.vector("attn_q_norm.weight", headDim),
        kNorm: l.vector("attn_k_norm.weight", headDim),
      }
      const o = l.matrix("attn_output", hiddenSize, qDim)
      const kv = p.cache(`kv.${l.index}`, { nKvHeads, headDim })

      p.rmsNorm(x, l.vector("attn_norm.weight", hiddenSize), h)
      p.matmul(h, [q, k, v], qkv, biases)
      p.ropeStore(qkv, kv, rope, { nHeads, ...norms })
      p.attention(qkv, kv, a, { nHeads, window })
      p.matmulAdd(a, o, x, l.optionalVector("attn_output.bias", hiddenSize))
    },
  }
}
