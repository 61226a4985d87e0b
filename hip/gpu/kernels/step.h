// Access to the sections of the step buffer. The host has checked it, so nothing is checked here.
#pragma once
#include "../args.h"
#include "platform.h"

namespace rf {

RF_DEVICE const RfStepHeader& header(const uint32_t* step) { return *reinterpret_cast<const RfStepHeader*>(step); }
RF_DEVICE const RfStepSeq* seqs(const uint32_t* step) { return reinterpret_cast<const RfStepSeq*>(step + header(step).off_seqs); }
RF_DEVICE const RfStepOutput* outputs(const uint32_t* step) {
  return reinterpret_cast<const RfStepOutput*>(step + header(step).off_outputs);
}
RF_DEVICE const int32_t* tokens(const uint32_t* step) { return reinterpret_cast<const int32_t*>(step + header(step).off_tokens); }
RF_DEVICE const int32_t* block_ids(const uint32_t* step) {
  return reinterpret_cast<const int32_t*>(step + header(step).off_blocks);
}
RF_DEVICE const RfPair* pairs(const uint32_t* step) { return reinterpret_cast<const RfPair*>(step + header(step).off_pairs); }
RF_DEVICE uint32_t live(const Rows& rows) {
  return rows.kind == RF_ROWS_TOKENS    ? header(rows.step).n_tokens
         : rows.kind == RF_ROWS_OUTPUTS ? header(rows.step).n_outputs
                                        : rows.fixed;
}
// The id of the cache block that holds `position` of a sequence.
RF_DEVICE uint32_t block_of(const uint32_t* step, const RfStepSeq& seq, uint32_t position) {
  return uint32_t(block_ids(step)[seq.block_start + position / RF_BLOCK_SIZE]);
}

}  // namespace rf
