/**
 * Llama (Touvron et al. 2023) and its many followers, Mistral (Jiang et al. 2023) with its sliding window among them.
 * Converters reorder Q and K so that rotated pairs lie next to each other.
 */

import type { ModelFamily } from "../decoder.ts"

export const llama: ModelFamily = {
  architectures: ["llama", "mistral"],
  neox: false,
  layer({ config, p, x, h, qkv, a, g, rope }, l) {
    const { hidden_size, n_heads, n_kv_heads, head_dim, ffn, sliding_window } = config
    const qDim = n_heads * head_dim
    const kvDim = n_kv_heads * head_dim
    const q = l.matrix("attn_q", qDim, hidden_size)
    const k = l.matrix("attn_k", kvDim, hidden_size)
    const v = l.matrix("attn_v", kvDim, hidden_size)
    const bias = [
      l.optionalVector("attn_q.bias", qDim),
      l.optionalVector("attn_k.bias", kvDim),
      l.optionalVector("attn_v.bias", kvDim),
    ]
    const o = l.matrix("attn_output", hidden_size, qDim)
    const gate = l.matrix("ffn_gate", ffn, hidden_size)
    const up = l.matrix("ffn_up", ffn, hidden_size)
    const down = l.matrix("ffn_down", hidden_size, ffn)

    p.rmsNorm(x, l.vector("attn_norm.weight", hidden_size), h)
    p.matmul(h, [q, k, v], qkv, bias)
    p.ropeStore(qkv, l.kv, rope, { n_heads })
    p.attention(qkv, l.kv, a, { n_heads, window: sliding_window })
    p.matmulAdd(a, o, x, l.optionalVector("attn_output.bias", hidden_size))
    p.rmsNorm(x, l.vector("ffn_norm.weight", hidden_size), h)
    p.swiglu(h, [gate, up], g)
    p.matmulAdd(g, down, x)
  },
}
