/** Qwen3 (Yang et al. 2025): Llama's layer with an RMS norm on each head of Q and K before they are rotated. */

import type { ModelFamily } from "../decoder.ts"

export const qwen3: ModelFamily = {
  architectures: ["qwen3"],
  neox: true,
  layer({ config, p, x, h, qkv, a, g, rope }, l) {
    const { hiddenSize, nHeads, nKvHeads, headDim, ffn, slidingWindow } = config
    const qDim = nHeads * headDim
    const kvDim = nKvHeads * headDim
    const q = l.matrix("attn_q", qDim, hiddenSize)
    const k = l.matrix("attn_k", kvDim, hiddenSize)
    const v = l.matrix("attn_v", kvDim, hiddenSize)
    const bias = [
      l.optionalVector("attn_q.bias", qDim),
      l.optionalVector("attn_k.bias", kvDim),
      l.optionalVector("attn_v.bias", kvDim),
    ]
    const qNorm = l.vector("attn_q_norm.weight", headDim)
    const kNorm = l.vector("attn_k_norm.weight", headDim)
    const o = l.matrix("attn_output", hiddenSize, qDim)
    const gate = l.matrix("ffn_gate", ffn, hiddenSize)
    const up = l.matrix("ffn_up", ffn, hiddenSize)
    const down = l.matrix("ffn_down", hiddenSize, ffn)

    p.rmsNorm(x, l.vector("attn_norm.weight", hiddenSize), h)
    p.matmul(h, [q, k, v], qkv, bias)
    p.ropeStore(qkv, l.kv, rope, { nHeads, qNorm, kNorm })
    p.attention(qkv, l.kv, a, { nHeads, window: slidingWindow })
    p.matmulAdd(a, o, x, l.optionalVector("attn_output.bias", hiddenSize))
    p.rmsNorm(x, l.vector("ffn_norm.weight", hiddenSize), h)
    p.swiglu(h, [gate, up], g)
    p.matmulAdd(g, down, x)
  },
}
