/** Qwen2 and Qwen2.5 (Yang et al. 2024): Llama's layer with biases on Q, K and V. */

import type { ModelFamily } from "../decoder.ts"

export const qwen2: ModelFamily = {
  architectures: ["qwen2"],
  neox: true,
  layer({ config, p, x, h, qkv, a, g, rope }, l) {
    const { hiddenSize, nHeads, nKvHeads, headDim, ffn, slidingWindow } = config
    const qDim = nHeads * headDim
    const kvDim = nKvHeads * headDim
    const q = l.matrix("attn_q", qDim, hiddenSize)
    const k = l.matrix("attn_k", kvDim, hiddenSize)
    const v = l.matrix("attn_v", kvDim, hiddenSize)
    const bias = [l.vector("attn_q.bias", qDim), l.vector("attn_k.bias", kvDim), l.vector("attn_v.bias", kvDim)]
    const o = l.matrix("attn_output", hiddenSize, qDim)
    const gate = l.matrix("ffn_gate", ffn, hiddenSize)
    const up = l.matrix("ffn_up", ffn, hiddenSize)
    const down = l.matrix("ffn_down", hiddenSize, ffn)

    p.rmsNorm(x, l.vector("attn_norm.weight", hiddenSize), h)
    p.matmul(h, [q, k, v], qkv, bias)
    p.ropeStore(qkv, l.kv, rope, { nHeads })
    p.attention(qkv, l.kv, a, { nHeads, window: slidingWindow })
    p.matmulAdd(a, o, x, l.optionalVector("attn_output.bias", hiddenSize))
    p.rmsNorm(x, l.vector("ffn_norm.weight", hiddenSize), h)
    p.swiglu(h, [gate, up], g)
    p.matmulAdd(g, down, x)
  },
}
