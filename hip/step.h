// A step that has been checked once against its plan, so that running it needs no checks.
#pragma once
#include "plan.h"

namespace rf {

// The step buffer's sections. Every index in them is inside its table.
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
