// The vocabulary of a plan, once: the ops, and the slots that each of them fills in its RfOp record. Plain C.
//
// RF_OPS lists the ops; RF_SLOTS_EMBED and its like list the slots of one op, each kind of slot in the order of the record's array:
//   X(IN, name)        a buffer that the op reads                             RfOp.buf

//   X(OUT, name)       a buffer whose live rows the op replaces               RfOp.buf

//   X(UPDATE, name)    a buffer that the op reads and changes                 RfOp.buf

//   X(TENSOR, name)    a tensor                                               RfOp.tensor

//   X(OPTIONAL, name)  a tensor that may be missing (RF_NONE)                 RfOp.tensor

//   X(DIM, name)       an integer, 0 or greater                               RfOp.dim

//   X(FLOAT, name)     a number                                               RfOp.f

//   X(FLAG, name)      one of RF_OP_FLAGS that may be set                     RfOp.flags

//   X(CACHE, access)   the K/V cache of a layer; access is read or write      RfOp.cache

// Three things are made from these lists: the C++ views that name the slots (op-view.h), the check that an op fills its slots and
// no others (plan.cpp), and the text by which src/native/ops.ts proves at load that it has the same slots (layout.cpp).
//
// Buffers are f32. `rows` are the live rows of a buffer in a step; matrices are row-major.
#pragma once

// X(NAME, Name, number): Name begins the name of the op's C++ view.
#define RF_OPS(X)                   \
  X(EMBED, Embed, 1)                \
  X(RMS_NORM, RmsNorm, 2)           \
  X(MATMUL, Matmul, 3)              \
  X(MATMUL_SWIGLU, MatmulSwiglu, 4) \
  X(ROPE_TABLE, RopeTable, 5)       \
  X(ROPE_STORE, RopeStore, 6)       \
  X(ATTENTION, Attention, 7)        \
  X(GATHER, Gather, 8)              \
  X(SAMPLE, Sample, 9)              \
  X(SCALE, Scale, 10)               \
  X(ADD, Add, 11)                   \
  X(CAUSAL_MASK, CausalMask, 12)    \
  X(SOFTMAX, Softmax, 13)           \
  X(ROPE, Rope, 14)                 \
  X(SWIGLU, Swiglu, 15)             \
  X(ATTENTION_DENSE, AttentionDense, 16)

#define RF_OP_FLAGS(X) \
  X(add, 1)            \
  X(neox, 2)           \
  X(causal, 4)

// clang-format off

// out[row] = scale · table[token of the row].  table [vocab, hidden], out [n_tokens, hidden]
#define RF_SLOTS_EMBED(X) X(OUT, out) X(TENSOR, table) X(FLOAT, scale)

// out = in / sqrt(mean(in²) + eps) · weight, row by row.  in, out [rows, width], weight f32 [width]
#define RF_SLOTS_RMS_NORM(X) X(IN, in) X(OUT, out) X(TENSOR, weight) X(FLOAT, eps)

// out = [in·w0ᵀ + bias0, in·w1ᵀ + bias1, in·w2ᵀ + bias2], side by side; with the flag add, out += that (a residual).
// in [rows, k], w_i [n_i, k] of any format, bias_i f32 [n_i], out [rows, Σ n_i]
#define RF_SLOTS_MATMUL(X)                                 \
  X(IN, in) X(OUT, out)                                    \
  X(TENSOR, w0) X(OPTIONAL, w1) X(OPTIONAL, w2)            \
  X(OPTIONAL, bias0) X(OPTIONAL, bias1) X(OPTIONAL, bias2) \
  X(FLAG, add)

// out = silu(in·gateᵀ) · (in·upᵀ).  in [rows, k], gate and up [n, k], out [rows, n]
#define RF_SLOTS_MATMUL_SWIGLU(X) X(IN, in) X(OUT, out) X(TENSOR, gate) X(TENSOR, up)

// The cosines and sines of position · inv_freq, times magnitude (YaRN's attention factor).
// inv_freq f32 [rope_dim / 2], radians a token; out [n_tokens, rope_dim]: cosines in the first half, sines in the second
#define RF_SLOTS_ROPE_TABLE(X) X(OUT, out) X(TENSOR, inv_freq) X(FLOAT, magnitude)

// Normalizes (RMS, where a norm is given) and rotates Q in place and K on its way into the cache; appends V as it is.
// qkv [n_tokens, (n_heads + 2·n_kv_heads)·head_dim], rope [n_tokens, rope_dim] of ROPE_TABLE, q_norm and k_norm f32 [head_dim].
// Flag neox: pairs (i, i + rope_dim/2), else (2i, 2i + 1)
#define RF_SLOTS_ROPE_STORE(X)                                         \
  X(UPDATE, qkv) X(IN, rope)                                           \
  X(OPTIONAL, q_norm) X(OPTIONAL, k_norm)                              \
  X(DIM, n_heads) X(DIM, n_kv_heads) X(DIM, head_dim) X(DIM, rope_dim) \
  X(FLOAT, eps) X(FLAG, neox)                                          \
  X(CACHE, write)

// Causal attention over the paged cache: out = softmax(scores) · V, where scores = scale · Q·Kᵀ, or with a softcap (0: none)
// softcap · tanh(scale · Q·Kᵀ / softcap). A query at position p sees the keys p - window + 1 … p; window 0: all up to p.
// Q is the first n_heads·head_dim columns of qkv [n_tokens, ≥ n_heads·head_dim]; out [n_tokens, n_heads·head_dim]
#define RF_SLOTS_ATTENTION(X)                                        \
  X(IN, qkv) X(OUT, out)                                             \
  X(DIM, n_heads) X(DIM, n_kv_heads) X(DIM, head_dim) X(DIM, window) \
  X(FLOAT, scale) X(FLOAT, softcap)                                  \
  X(CACHE, read)

// Copies the rows that the step's outputs name.  in [n_tokens, width], out [n_outputs, width]
#define RF_SLOTS_GATHER(X) X(IN, in) X(OUT, out)

// Chooses a token for every output and writes the step's results.  logits [n_outputs, ≥ vocab]
#define RF_SLOTS_SAMPLE(X) X(IN, logits) X(DIM, vocab)

// out = in · factor, elementwise
#define RF_SLOTS_SCALE(X) X(IN, in) X(OUT, out) X(FLOAT, factor)

// out = a + b, elementwise
#define RF_SLOTS_ADD(X) X(IN, a) X(IN, b) X(OUT, out)

// Query q of a head keeps the scores of keys 0 … n_keys - n_queries + q; the others become -inf.
// in, out [heads·n_queries, n_keys]
#define RF_SLOTS_CAUSAL_MASK(X)    \
  X(IN, in) X(OUT, out)            \
  X(DIM, n_queries) X(DIM, n_keys)

// Softmax over each row; a row of -inf becomes zeros.  in, out [rows, width]
#define RF_SLOTS_SOFTMAX(X) X(IN, in) X(OUT, out)

// Rotates every head.  in, out [n_tokens, n_heads·head_dim], rope [n_tokens, rope_dim] of ROPE_TABLE; flag neox as in ROPE_STORE
#define RF_SLOTS_ROPE(X)                            \
  X(IN, in) X(IN, rope) X(OUT, out)                 \
  X(DIM, n_heads) X(DIM, head_dim) X(DIM, rope_dim) \
  X(FLAG, neox)

// out = silu(gate) · up, elementwise
#define RF_SLOTS_SWIGLU(X) X(IN, gate) X(IN, up) X(OUT, out)

// Attention over keys and values in buffers: out = softmax(scale · q·kᵀ) · v.
// q, out [n_q, n_heads·head_dim], k, v [n_k, n_kv_heads·head_dim], all of fixed rows. The last query is aligned with the last key:
// query i has position p = n_k - n_q + i among the keys, and sees key j where
// - flag causal: j ≤ p, and with a window also j > p - window, as in ATTENTION;
// - no flag: every j, and with a window those with |j - p| < window, as encoders with local attention do (the 128 of ModernBERT, 64
//   keys to each side, is a window of 65).
// Window 0: none. With the flag or a window n_k is at least n_q, so that every query sees a key.
#define RF_SLOTS_ATTENTION_DENSE(X)                                  \
  X(IN, q) X(IN, k) X(IN, v) X(OUT, out)                             \
  X(DIM, n_heads) X(DIM, n_kv_heads) X(DIM, head_dim) X(DIM, window) \
  X(FLOAT, scale) X(FLAG, causal)

// clang-format on

enum RfOpKind {
#define X(NAME, Name, number) RF_OP_##NAME = number,
  RF_OPS(X)
#undef X
};
enum RfOpFlag {
#define X(name, value) RF_FLAG_##name = value,
  RF_OP_FLAGS(X)
#undef X
};
