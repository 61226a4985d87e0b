/** The dense gated feed-forward network SwiGLU (Shazeer 2020): x += Wdown · (silu(Wgate · n) ⊙ Wup · n), n = norm(x). */

import type { Block, DecoderLayer } from "../decoder.ts"

interface FfnOptions {
  /** The tensor of the norm before the projections. Default `ffn_norm`. */
  norm?: string
}

/** @throws ModelError `unsupported` for a layer without a feed-forward network, or with experts. */
export function ffn(l: DecoderLayer, { norm = "ffn_norm" }: FfnOptions = {}): Block<"g"> {
  if (l.nExperts > 0) throw l.unsupported(`its feed-forward network is a mixture of ${l.nExperts} experts`)
  if (l.ffn === 0) throw l.unsupported("it has no feed-forward network")

  return {
    buffers: { g: l.ffn },
    record({ p, hiddenSize, x, h }, { g }) {
      const gate = l.matrix("ffn_gate", l.ffn, hiddenSize)
      const up = l.matrix("ffn_up", l.ffn, hiddenSize)
      const down = l.matrix("ffn_down", hiddenSize, l.ffn)

      p.rmsNorm(x, l.vector(`${norm}.weight`, hiddenSize), h)
      p.swiglu(h, [gate, up], g)
      p.matmulAdd(g, down, x)
    },
  }
}
