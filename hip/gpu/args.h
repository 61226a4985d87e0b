// The contract between hip/gpu/*.cpp and hip/gpu/kernels/: the arguments of every kernel, passed as one struct by value. Kernels
// are extern "C" and are looked up by name.
//
// Conventions
// - Pointers are device addresses. `step` is the step buffer as the host packed it (RfStepHeader and sections, abi.h).
// - A kernel is launched for a bucket, which has at least as many rows as the step. It reads the live count from the step and does
//   not touch the rows beyond it, so that a captured graph serves every step of its bucket.
// - Kernels work in subgroups of 32 lanes; a wave64 holds two subgroups. Blocks are one-dimensional and have kBlock threads unless
//   the kernel's struct gives another number.
// - Activations in the arena are float. Matrix products read copies of them: `half` holds f16 or bf16 for the matrix units, `int8`
//   holds two int8 per activation for the block formats: x = scale · (256 · high + low), one scale for 32 activations, as in
//   hip/cpu/activations.h.
#pragma once
#include <stdint.h>

#include "../abi.h"
#include "../cache.h"

namespace rf {

constexpr uint32_t kBlock = 256, kSubgroup = 32;  // threads of a block, lanes of a subgroup
constexpr uint32_t kMaxPlanes = 4;

// The number of live rows of a buffer.
struct Rows {
  const uint32_t* step;
  uint32_t kind;   // RfRows
  uint32_t fixed;  // the count for RF_ROWS_FIXED
};

// A weight on the device. The blocks of a format are cut into planes, each [rows, cols/elems] pieces of a fixed size end to end, so
// that every load is aligned and neighbouring lanes read neighbouring bytes; planes.h lists the planes of each format.
struct DeviceWeight {
  const uint8_t* plane[kMaxPlanes];
  uint32_t format;  // ggml type number
  uint32_t rows, cols;
  uint32_t first;  // the weight's first output column
};

struct PrepareArgs {  // rf_prepare: the sequence and the position of each row, once a step
  const uint32_t* step;
  uint32_t* row_seq;  // [max_tokens]
  uint32_t* row_pos;  // [max_tokens]
};
struct RepackArgs {  // rf_repack: file blocks → planes, while a weight is uploaded
  const uint8_t* blocks;
  uint8_t* plane[kMaxPlanes];
  uint64_t n_blocks;     // in this piece
  uint64_t first_block;  // of this piece within the weight
  uint32_t format;
};
struct EmbedArgs {  // rf_embed
  const uint32_t* step;
  DeviceWeight table;
  float* out;  // [n_tokens, cols]
  float scale;
};
struct RmsNormArgs {  // rf_rms_norm
  Rows rows;
  const float* in;
  const float* weight;
  float* out;    // [rows, width]
  int8_t* int8;  // int8 copy of `out` in the layout of ConvertArgs.int8, or NULL; requires width ≤ kNormWidest
  float* info;   // ConvertArgs.info of that copy
  uint32_t width;
  float eps;
};
// rf_rms_norm: a thread holds up to kNormQuads groups of four elements of the row. kNormWidest: the widest row with an int8 copy.
constexpr uint32_t kNormThreads = 1024, kNormQuads = 4, kNormWidest = kNormThreads * kNormQuads * 4;
constexpr uint32_t norm_threads(uint32_t width) {
  return width / 4 >= kNormThreads ? kNormThreads : width < 128 ? 32 : (width / 4 + 31) / 32 * 32;
}
struct ConvertArgs {  // rf_to_half, rf_to_int8: copies of activations for matrix products
  Rows rows;
  const float* in;  // [rows, width]
  uint16_t* half;   // [rows, width]
  // [rows, 2, 2, width/32, 16]: all high bytes of a row, then all low bytes; each has the first halves of all blocks of 32, then
  // the second halves, so that lanes with neighbouring blocks read neighbouring bytes.
  int8_t* int8;
  float* info;  // [rows, 4, width/32]: scale; scale · Σ q over the block; the same over its first half; over its second half
  uint32_t width;
  uint32_t compute;  // rf_to_half: RF_COMPUTE_F16 or RF_COMPUTE_BF16
};
// Thread blocks of rf_to_int8 per row.
constexpr uint32_t to_int8_blocks(uint32_t width) { return (width / 4 + kBlock - 1) / kBlock; }
constexpr uint32_t kInt8Group = 32;  // activations that share a scale
// Bytes per row of ConvertArgs.int8 and ConvertArgs.info.
constexpr uint64_t int8_row_bytes(uint32_t width) { return uint64_t(width / kInt8Group) * kInt8Group * 2; }
constexpr uint64_t info_row_bytes(uint32_t width) { return uint64_t(width / kInt8Group) * 4 * sizeof(float); }
struct MatmulArgs {  // rf_matvec_* and rf_matmul_*
  Rows rows;
  const float* in;       // [rows, k]
  const uint16_t* half;  // written by rf_to_half
  const int8_t* int8;    // written by rf_to_int8, rf_rms_norm or rf_attention_merge, as is `info`
  const float* info;
  // Up to three weights of one format, each with its own columns of `out` (an absent weight has 0 rows); or the gate and up of a
  // SwiGLU.
  DeviceWeight weight[3];
  const float* bias[3];  // [weight[i].rows] or NULL
  float* out;            // [rows, out_width]
  uint32_t k, out_width;
  uint32_t add;  // out += (residual)
};
// rf_matmul_FORMAT_HALF_TILE and rf_matmul_swiglu_FORMAT_HALF_TILE, for example rf_matmul_Q4_0_f16_t128: products on the matrix
// units. HALF is f16 or bf16, the type that rf_to_half wrote to MatmulArgs.half. TILE is t32 for buckets of up to kMatmulNarrowMost
// rows, else t128.
//   grid   x = ceil(rows of the bucket / R), y = Σ ceil(weight[i].rows / C)  (R, C below; rf_matmul_swiglu_*: half of C)
//   block  kBlock threads
//   unit   matmul-f16.hip or matmul-bf16.hip, by HALF
//   dynamic shared bytes: kMatmulShared on NVIDIA (more than the default: raise the function's limit first), 0 on AMD
// A swiglu kernel reads weight[0] as the gate and weight[1] as `up`, both of the named format and of equal shape, and no bias. The
// columns of weight i in `out` begin at weight[i].first. k is a multiple of 32 for the block formats; F32, F16 and BF16 take any k.
// With few rows, wide tiles are too few to fill a GPU: on an H100, narrow tiles are faster up to about kMatmulNarrowMost rows.
constexpr uint32_t kMatmulNarrowMost = 192;
constexpr uint32_t kMatmulWideRows = 128, kMatmulWideColumns = 128;    // t128
constexpr uint32_t kMatmulNarrowRows = 32, kMatmulNarrowColumns = 32;  // t32
constexpr uint32_t kMatmulShared = 96 * 1024;
struct RopeTableArgs {  // rf_rope_table
  const uint32_t* step;
  const uint32_t* row_pos;
  const float* inv_freq;  // [width/2]
  float* out;             // [n_tokens, width]: cos, then sin
  uint32_t width;
  float magnitude;
};
// A layer's paged cache: K and V are [n_blocks, n_kv_heads] tiles of [RF_BLOCK_SIZE, head_dim]; see ../cache.h.
struct CacheArgs {
  uint8_t* k;
  uint8_t* v;
  uint32_t n_kv_heads, head_dim, dtype;
};
struct RopeStoreArgs {  // rf_rope_store
  const uint32_t* step;
  const uint32_t* row_seq;
  const uint32_t* row_pos;
  float* qkv;  // [n_tokens, width]
  const float* table;
  const float* q_norm;
  const float* k_norm;
  CacheArgs cache;
  uint32_t width, n_heads, rope_dim, neox;
  float eps;
};
struct AttentionArgs {  // rf_attention_*
  const uint32_t* step;
  const uint32_t* row_seq;
  const uint32_t* row_pos;
  const float* q;  // [n_tokens, q_stride]
  float* out;      // [n_tokens, n_heads · head_dim]
  CacheArgs cache;
  uint32_t q_stride, n_heads, window;
  float scale, softcap;
  // Split-K decode: each split writes its unnormalized output, maximum and sum of weights here; rf_attention_merge joins them.
  float* partial;  // [max_rows, n_heads, n_splits, head_dim + 2]
  uint32_t n_splits;
  uint32_t by_length;  // 1: the splits of a row depend only on its own length (attention_row_splits, at most n_splits)
  uint32_t flash;      // rf_attention_split_*: 1 skips sequences of more than kAttentionFlashRows rows (rf_attention_flash_*)
  // rf_attention_merge: int8 copy of `out` in the layout of ConvertArgs.int8, or NULL; requires a head_dim divisible by 32.
  int8_t* int8;
  float* info;  // ConvertArgs.info of that copy
};
struct GatherArgs {  // rf_gather
  const uint32_t* step;
  const float* in;
  float* out;
  uint32_t width;
};
constexpr uint32_t kSampleThreads = 1024;
// Scratch of rf_sample for one output: the adjusted logits, which become weights, then the weights and the ids of the candidates.
constexpr uint64_t sample_scratch_floats(uint32_t n_vocab) { return 3 * uint64_t(n_vocab); }
struct SampleArgs {  // rf_sample: one block of kSampleThreads threads per output
  const uint32_t* step;
  const float* logits;  // [n_outputs, width]
  uint32_t width, n_vocab;
  float* scratch;  // [max_outputs, scratch_floats]
  uint64_t scratch_floats;
  RfStepResult* results;
};
struct ElementArgs {  // rf_scale, rf_add, rf_swiglu: elementwise over [rows, width]
  Rows rows;
  const float* a;
  const float* b;
  float* out;
  uint32_t width;
  float factor;
};
struct MaskArgs {  // rf_causal_mask, rf_softmax (ignores n_queries and n_keys)
  Rows rows;
  const float* in;
  float* out;
  uint32_t width, n_queries, n_keys;
};
struct RopeArgs {  // rf_rope
  Rows rows;
  const float* in;
  const float* table;
  float* out;
  uint32_t n_heads, head_dim, rope_dim, neox;
};
struct DenseAttentionArgs {  // rf_attention_dense: q, out [n_q, n_heads · head_dim], k, v [n_k, n_kv_heads · head_dim]
  const float* q;
  const float* k;
  const float* v;
  float* out;
  uint32_t n_q, n_k, n_heads, n_kv_heads, head_dim, window, causal;
  float scale;
};
struct StreamArgs {  // rf_copy_stream: the bandwidth measurement
  const uint8_t* from;
  uint8_t* to;
  uint64_t n_bytes;
};
constexpr uint32_t kRateProducts = 8;  // products of 16 × 16 × 16 per wave and round
struct RateArgs {                      // rf_multiply_registers: any number of blocks
  float* out;                          // [blocks, kBlock]
  uint32_t rounds;
};

}  // namespace rf
