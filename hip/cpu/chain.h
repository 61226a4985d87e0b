// The full chain of samplers, for outputs that ask for more than temperature, top-k, top-p and min-p in that order.
#pragma once
#include "kernels.h"

namespace rf {

struct Candidate {
  float weight;
  int32_t token;
};
// Greater weights come first, and equal weights in the order of their ids, so that the order is total.
inline bool before(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
}

// The random numbers of one draw, in [0, 1).
struct Uniforms {
  double draw;
  double xtc;  // whether XTC applies
};
Uniforms uniforms(const RfStepOutput& o);

bool needs_chain(const RfStepOutput& o);
// Draws one token by the rules of hip/abi.h. x: [n_vocab], without NaN, its greatest finite. weights, candidates, ranking: scratch,
// [n_vocab]. surprise: set where Mirostat is on.
int32_t draw_chain(const Kernels& kernels, const float* x, uint32_t n_vocab, float greatest, const RfStepOutput& o, float* weights,
                   Candidate* candidates, Candidate* ranking, float* surprise);

}  // namespace rf
