// The sampler, last op of a plan: one row of logits and one RfStepOutput in, one token (and log-probabilities) out.
#pragma once
#include "kernels.h"

namespace rf {

uint64_t sample_scratch_bytes(uint32_t n_vocab);
void sample(const Kernels& kernels, const float* logits, uint32_t n_vocab, const StepView& step, uint32_t output, uint8_t* scratch,
            RfStepResult* result);

}  // namespace rf
