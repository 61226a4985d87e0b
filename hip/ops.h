// The plan's vocabulary, once: number, name, and what an RfOp of that kind holds.
// Unless said otherwise buffers are f32, `rows` are the live rows of the named buffer, and matrices are row-major.
#pragma once

//  kind                 operands
#define RF_OPS(X)                                                                                                         \
  /* buf 0 out [n_tokens, hidden]; tensor 0 table [vocab, hidden]; f 0 scale */                                           \
  X(EMBED, 1)                                                                                                             \
  /* buf 0 in, 1 out [rows, width]; tensor 0 weight f32 [width]; f 0 eps.  out = in / sqrt(mean(in²) + eps) · weight */   \
  X(RMS_NORM, 2)                                                                                                          \
  /* buf 0 in [rows, k], 1 out [rows, Σ n_i]; tensor 0..2 weights [n_i, k] of any formats, 3..5 their biases f32.   \
       flag ADD: out += (residual) */    \
  X(MATMUL, 3)                                                                                                            \
  /* buf 0 in [rows, k], 1 out [rows, n]; tensor 0 gate, 1 up [n, k].  out = silu(gate·in) · (up·in) */                   \
  X(MATMUL_SWIGLU, 4)                                                                                                     \
  /* buf 0 out [n_tokens, rope_dim] (cos in the first half, sin in the second); tensor 0 inv_freq f32 [rope_dim/2]; \
       f 0 magnitude (YaRN's attention factor) */     \
  X(ROPE_TABLE, 5)                                                                                                        \
  /* buf 0 qkv [n_tokens, (n_heads + 2·n_kv_heads)·head_dim], 1 rope table; tensor 0 q_norm, 1 k_norm f32 [head_dim]; \
       dim 0 n_heads, 1 n_kv_heads, 2 head_dim, 3 rope_dim; f 0 norm eps; cache; flag NEOX: pairs (i, i + rope_dim/2), \
       else (2i, 2i+1).  Normalizes and rotates Q in place and K on its way into the cache; V is appended as it is */ \
  X(ROPE_STORE, 6)                                                                                                        \
  /* buf 0 qkv (Q is its first n_heads·head_dim columns), 1 out [n_tokens, n_heads·head_dim];                       \
       dim 0 n_heads, 1 n_kv_heads, 2 head_dim, 3 window (0: none); f 0 scale, 1 softcap (0: none); cache */   \
  X(ATTENTION, 7)                                                                                                         \
  /* buf 0 in [n_tokens, width], 1 out [n_outputs, width]: the rows that the step's outputs name */                       \
  X(GATHER, 8)                                                                                                            \
  /* buf 0 logits [n_outputs, vocab]; dim 0 vocab.  Writes the step's results */                                          \
  X(SAMPLE, 9)                                                                                                            \
  /* buf 0 in, 1 out; f 0.  out = in · f */                                                                               \
  X(SCALE, 10)                                                                                                            \
  /* buf 0 a, 1 b, 2 out.  out = a + b, elementwise */                                                                    \
  X(ADD, 11)                                                                                                              \
  /* buf 0 in, 1 out [heads·n_queries, n_keys]; dim 0 n_queries, 1 n_keys.                                          \
       Query q of a head sees keys 0 … n_keys - n_queries + q, the others become -inf */    \
  X(CAUSAL_MASK, 12)                                                                                                      \
  /* buf 0 in, 1 out: softmax over each row (a row of -inf gives zeros) */                                                \
  X(SOFTMAX, 13)                                                                                                          \
  /* buf 0 in, 1 rope table, 2 out [n_tokens, n_heads·head_dim]; dim 0 n_heads, 2 head_dim, 3 rope_dim; flag NEOX */      \
  X(ROPE, 14)                                                                                                             \
  /* buf 0 gate, 1 up, 2 out.  out = silu(gate) · up */                                                                   \
  X(SWIGLU, 15)                                                                                                           \
  /* buf 0 q [n_q, n_heads·head_dim], 1 k, 2 v [n_k, n_kv_heads·head_dim], 3 out like q; dims as ATTENTION;         \
       f 0 scale; flag CAUSAL aligns the last query with the last key */   \
  X(ATTENTION_DENSE, 16)

#define RF_OP_FLAGS(X) \
  X(ADD, 1)            \
  X(NEOX, 2)           \
  X(CAUSAL, 4)

enum RfOpKind {
#define X(name, value) RF_OP_##name = value,
  RF_OPS(X)
#undef X
};
enum RfOpFlag {
#define X(name, value) RF_FLAG_##name = value,
  RF_OP_FLAGS(X)
#undef X
};
