// The C ABI of every ROCmForge backend: fixed-width fields, integer handles, a status from every call.
// No function exits, prints, or throws. After a status other than RF_OK, rf_last_error returns what was wrong.
// src/native/abi.ts mirrors this file; rf_layout lets it prove at load that both agree.
#pragma once
#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define RF_ABI_VERSION 5
#define RF_API __attribute__((visibility("default")))

#define RF_STATUSES(X)   \
  X(OK, 0)               \
  X(INVALID_ARGUMENT, 1) \
  X(INVALID_HANDLE, 2)   \
  X(INVALID_MODEL, 3)    \
  X(INVALID_PLAN, 4)     \
  X(INVALID_STEP, 5)     \
  X(OUT_OF_MEMORY, 6)    \
  X(IO, 7)               \
  X(UNSUPPORTED, 8)      \
  X(DEVICE, 9)           \
  X(INTERNAL, 10)

enum RfStatus {
#define X(name, value) RF_##name = value,
  RF_STATUSES(X)
#undef X
};

#define RF_FILE_CONSTANTS 0xffffffffu  // RfTensor.file: the data lies in the constants blob
#define RF_GIVEN_DRAW 0xffffffffu      // RfStepOutput.counter: the seed, divided by 2^64, is the random number itself
#define RF_NONE (-1)                   // an unused buffer, tensor or cache slot of an op
#define RF_BLOCK_SIZE 16u              // tokens a block of a paged K/V cache
#define RF_MAX_TOP_LOGPROBS 20         // alternatives that a step result can hold

enum RfRows { RF_ROWS_FIXED = 0, RF_ROWS_TOKENS = 1, RF_ROWS_OUTPUTS = 2 };
enum RfDtype { RF_F32 = 0, RF_F16 = 1, RF_Q8_0 = 2 };  // RF_Q8_0: K/V caches only, see cache.h
enum RfModelFlag { RF_MODEL_NO_MMAP = 1 };             // read the files instead of mapping them
// What matrix units multiply when a step has many rows; sums are float. The CPU backend computes in f32 only.
enum RfCompute { RF_COMPUTE_F32 = 0, RF_COMPUTE_F16 = 1, RF_COMPUTE_BF16 = 2 };

// One weight: a row-major matrix [rows, cols] in a GGUF block format. cols is the contiguous dimension (ggml's ne0).
typedef struct RfTensor {
  uint32_t format;  // ggml type number, see formats.h
  uint32_t file;    // index of the file, or RF_FILE_CONSTANTS
  uint64_t offset;  // bytes from the start of that file (or of the constants blob)
  uint64_t n_bytes;
  uint64_t rows;
  uint64_t cols;
} RfTensor;

// One activation buffer: a range of the arena, [rows, width] of dtype, row stride = width.
typedef struct RfBuffer {
  uint32_t rows_kind;   // RfRows: how many rows are live in a step
  uint32_t fixed_rows;  // the count for RF_ROWS_FIXED
  uint32_t width;       // elements a row
  uint32_t dtype;       // RfDtype
  uint64_t offset;      // bytes from the start of the arena, a multiple of 64
  uint64_t reserved;
} RfBuffer;

// One layer's paged K/V cache: K and V are [n_blocks, n_kv_heads, RF_BLOCK_SIZE, head_dim] each, laid out as cache.h says.
typedef struct RfCache {
  uint32_t n_kv_heads;
  uint32_t head_dim;
  uint32_t dtype;  // RfDtype
  uint32_t reserved;
} RfCache;

// One instruction of the plan. ops.h lists the slots of each kind; slots that a kind does not have are RF_NONE (buf, tensor, cache)
// or 0.
typedef struct RfOp {
  uint32_t kind;
  uint32_t flags;
  int32_t buf[6];
  int32_t tensor[6];
  int32_t cache;
  int32_t dim[7];
  float f[6];
  uint32_t reserved[4];
} RfOp;

typedef struct RfContextDesc {
  uint32_t n_threads;   // CPU backend: threads that run the plan, the calling thread included
  uint32_t max_tokens;  // rows of a step
  uint32_t max_seqs;
  uint32_t max_outputs;
  uint32_t n_blocks;    // K/V blocks of each cache
  uint32_t block_size;  // RF_BLOCK_SIZE
  uint64_t arena_bytes;
  uint32_t compute;        // RfCompute
  uint32_t deterministic;  // 1: a row's result is the same bits whatever else is in its step, and however its sequence is cut
} RfContextDesc;

// The step buffer, 32-bit words. Sections are named by their word offset; everything is checked before it is used.
// Rows of one sequence are contiguous and ascending, so a row's position is kv_len - n_rows + (row - row_start).
typedef struct RfStepHeader {
  uint32_t version;  // RF_ABI_VERSION
  uint32_t n_tokens;
  uint32_t n_seqs;
  uint32_t n_outputs;
  uint32_t off_tokens;   // int32 [n_tokens]
  uint32_t off_seqs;     // RfStepSeq [n_seqs]
  uint32_t off_outputs;  // RfStepOutput [n_outputs]
  uint32_t off_blocks;   // int32 [n_block_ids]: all block tables, end to end
  uint32_t n_block_ids;
  uint32_t off_pairs;  // RfPair [n_pairs]: penalties and biases
  uint32_t n_pairs;
  uint32_t off_masks;  // uint32 [n_mask_words]: token bit masks
  uint32_t n_mask_words;
  uint32_t reserved[3];
} RfStepHeader;

typedef struct RfStepSeq {
  uint32_t row_start;
  uint32_t n_rows;
  uint32_t kv_len;       // tokens in the cache once this step is done
  uint32_t block_start;  // first entry of its block table in the block section
} RfStepSeq;

// One row of the step to sample from, and how to choose a token from its logits. The order is: penalties, biases, mask; the greatest
// logit where the temperature is 0 or top_k is 1; otherwise temperature (here or last), top-n-sigma, top-k, typical-p, top-p, min-p,
// XTC, temperature_last, and a draw. Every limit looks at the probabilities of what those before it have left. Mirostat stands in
// the place of them all. -inf is no candidate; ties are broken by the smaller id.
typedef struct RfStepOutput {
  uint32_t row;
  float temperature;        // 0: greedy
  int32_t top_k;            // 0: off
  float top_p;              // 1: off
  float min_p;              // 0: off; a share of the greatest probability
  float repeat_penalty;     // 1: off; on every token of the penalty pairs
  float frequency_penalty;  // 0: off; times the pair's count
  float presence_penalty;   // 0: off; where the pair's count > 0
  uint32_t seed_lo;
  uint32_t seed_hi;
  uint32_t counter;  // index of this draw in its request: the same (seed, counter) draws the same number; see RF_GIVEN_DRAW
  int32_t n_top;     // -1: no log-probabilities, else 0 … RF_MAX_TOP_LOGPROBS alternatives
  uint32_t penalty_start;
  uint32_t n_penalties;
  uint32_t bias_start;
  uint32_t n_biases;
  uint32_t mask_start;  // word of the mask section
  uint32_t mask_words;  // 0: every token allowed, else at least ceil(vocab / 32)
  float typical_p;      // 1: off; Meister et al. 2022
  float top_n_sigma;    // 0: off; standard deviations below the greatest logit (Tang et al. 2024)
  // 0: off; the probability of dropping all tokens of at least xtc_threshold but the least probable of them, if there are several.
  float xtc_probability;
  float xtc_threshold;
  // 0: off; temperature - range + 2 · range · (entropy / greatest entropy) ^ exponent, and the first term is at least 0.
  float dynatemp_range;
  float dynatemp_exponent;
  uint32_t min_keep;          // what typical-p, top-p, min-p and XTC leave at least
  uint32_t temperature_last;  // 1: the temperature applies to what the limits have left
  uint32_t mirostat;          // 0: off; 1 or 2: that algorithm of Basu et al. 2021
  float mirostat_mu;          // the greatest surprise, in bits; the caller keeps and updates it
} RfStepOutput;

typedef struct RfPair {
  int32_t token;
  union {
    int32_t count;  // penalties: occurrences in the generated text (0: in the prompt only)
    float bias;     // biases: added to the logit
  } value;
} RfPair;

// The result of one output. Log-probabilities are those of the model's own distribution, before penalties and temperature.
typedef struct RfStepResult {
  int32_t token;  // -1: the logits held a NaN, or the mask allowed nothing
  float logprob;
  int32_t n_top;
  float surprise;  // with Mirostat: -log2 of the token's probability among those that were left
  int32_t top_tokens[RF_MAX_TOP_LOGPROBS];
  float top_logprobs[RF_MAX_TOP_LOGPROBS];
} RfStepResult;

typedef struct RfDeviceInfo {
  char name[128];
  char arch[64];    // the instruction set in use (CPU) or the gfx/sm architecture
  char driver[64];  // GPU: the driver's name and version
  uint64_t memory_total;
  uint64_t memory_free;
  uint32_t n_compute_units;  // CPU: hardware threads this process may use
  uint32_t lanes;            // wave or warp size; CPU: float lanes of a vector
  uint32_t reserved[2];
} RfDeviceInfo;

typedef struct RfContextInfo {
  uint64_t arena_bytes;
  uint64_t cache_bytes;
  uint64_t scratch_bytes;
  uint32_t n_threads;
  uint32_t reserved;
} RfContextInfo;

// Handles are numbers, never addresses: closing one twice, or using a closed one, returns RF_INVALID_HANDLE and does nothing.
typedef uint64_t RfModel;
typedef uint64_t RfContext;

// Writes "name=value;" for every constant, size, offset, op slot and format of this build (NUL-terminated).
RF_API int32_t rf_layout(char* text, uint64_t capacity);
// The last error of the calling thread (NUL-terminated, cut to capacity).
RF_API int32_t rf_last_error(char* text, uint64_t capacity);
RF_API int32_t rf_device_count(uint32_t* count);
// Fails with the reason where a backend finds no device.
RF_API int32_t rf_device_info(uint32_t device, RfDeviceInfo* info);

// Maps (or with RF_MODEL_NO_MMAP reads) the files and checks every tensor against them. flags: RfModelFlag.
// paths: n_files NUL-terminated UTF-8 strings, end to end.
RF_API int32_t rf_model_open(uint32_t device, uint32_t flags, const char* paths, uint64_t paths_bytes, uint32_t n_files,
                             const RfTensor* tensors, uint64_t n_tensors, const uint8_t* constants, uint64_t constants_bytes,
                             RfModel* model);
// Copies about max_bytes more of the weights to the device, and returns how many bytes are there (done) of how many (total): call
// it until they are equal. rf_context_open copies whatever is left. On the CPU both are 0.
RF_API int32_t rf_model_upload(RfModel model, uint64_t max_bytes, uint64_t* done, uint64_t* total);
RF_API int32_t rf_model_close(RfModel model);

// Validates the plan against the model's tensors, the buffers and the caches once, and allocates arena and caches.
RF_API int32_t rf_context_open(RfModel model, const RfContextDesc* desc, const RfOp* ops, uint64_t n_ops, const RfBuffer* buffers,
                               uint64_t n_buffers, const RfCache* caches, uint64_t n_caches, RfContext* context);
RF_API int32_t rf_context_info(RfContext context, RfContextInfo* info);
RF_API int32_t rf_context_close(RfContext context);

// Runs the plan once. results: RfStepResult [n_outputs].
RF_API int32_t rf_step(RfContext context, const uint32_t* step, uint64_t step_words, RfStepResult* results, uint64_t max_results);

// Read or write an activation buffer between steps: for tests, for embeddings, and for inspecting a model.
RF_API int32_t rf_buffer_read(RfContext context, uint32_t buffer, uint64_t offset, uint8_t* data, uint64_t n_bytes);
RF_API int32_t rf_buffer_write(RfContext context, uint32_t buffer, uint64_t offset, const uint8_t* data, uint64_t n_bytes);

// Decodes n_elems weights of a format to float.
RF_API int32_t rf_dequantize(uint32_t format, const uint8_t* blocks, uint64_t n_bytes, float* out, uint64_t n_elems);
// Measures memory bandwidth: reads n_bytes with n_threads on a CPU, copies them on a GPU, several times, and returns the best rate
// in bytes a second (GPU: read + written).
RF_API int32_t rf_read_bandwidth(uint32_t device, uint32_t n_threads, uint64_t n_bytes, double* bytes_per_second);
// Measures the rate of a GPU's matrix instructions (f16 operands in registers, float sums), counting a multiply-add as two
// operations.
RF_API int32_t rf_matrix_rate(uint32_t device, double* operations_per_second);

#if defined(__cplusplus)
}
#endif
