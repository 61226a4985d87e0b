// A plan that has been checked once against its model, buffers and caches, so that replaying it needs no checks.
#pragma once
#include <memory>
#include <vector>

#include "abi.h"
#include "model.h"
#include "ops.h"

namespace rf {

struct Plan {
  std::vector<RfOp> ops;
  std::vector<RfBuffer> buffers;
  std::vector<RfCache> caches;
  RfContextDesc desc{};
  uint32_t n_vocab = 0;       // rows of the embedding table: what a token id may be; 0 when the plan embeds nothing
  uint32_t sample_width = 0;  // columns of the logits that SAMPLE reads; 0 without a SAMPLE

  // Rows that a buffer can hold at most, and those live in one step.
  uint64_t max_rows(const RfBuffer& buffer) const;
};

Plan validate_plan(const Model& model, const RfContextDesc& desc, const RfOp* ops, uint64_t n_ops, const RfBuffer* buffers,
                   uint64_t n_buffers, const RfCache* caches, uint64_t n_caches);

// One step, checked: every index in it is inside its table.
struct StepView {
  const RfStepHeader* header;   // the step buffer begins with it
  uint64_t n_words;             // of the step buffer
  const int32_t* tokens;        // [n_tokens]
  const RfStepSeq* seqs;        // [n_seqs]
  const RfStepOutput* outputs;  // [n_outputs]
  const int32_t* blocks;        // [n_block_ids]
  const RfPair* pairs;          // [n_pairs]
  const uint32_t* masks;        // [n_mask_words]
  uint32_t n_tokens, n_seqs, n_outputs;

  uint64_t rows(const RfBuffer& buffer) const {
    return buffer.rows_kind == RF_ROWS_TOKENS ? n_tokens : buffer.rows_kind == RF_ROWS_OUTPUTS ? n_outputs : buffer.fixed_rows;
  }
};

StepView validate_step(const Plan& plan, const uint32_t* words, uint64_t n_words, uint64_t max_results);

}  // namespace rf
