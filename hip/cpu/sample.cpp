#include "sample.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "chain.h"

namespace rf {

namespace {

void apply_penalties(const StepView& step, const RfStepOutput& o, float* logits) {
  for (uint32_t i = 0; i < o.n_penalties; i++) {
    const RfPair& pair = step.pairs[o.penalty_start + i];
    float& logit = logits[pair.token];
    logit = logit > 0 ? logit / o.repeat_penalty : logit * o.repeat_penalty;  // Keskar et al. 2019
    logit -= o.frequency_penalty * float(pair.value.count);
    if (pair.value.count > 0) logit -= o.presence_penalty;
  }
  for (uint32_t i = 0; i < o.n_biases; i++) logits[step.pairs[o.bias_start + i].token] += step.pairs[o.bias_start + i].value.bias;
}

void apply_mask(const uint32_t* mask, uint32_t n_vocab, float* logits) {
  for (uint32_t i = 0; i < n_vocab; i++)
    if (!(mask[i / 32] >> (i % 32) & 1)) logits[i] = -std::numeric_limits<float>::infinity();
}

// Log-probabilities of the model's own distribution (log softmax).
void log_probabilities(const Kernels& kernels, const float* logits, uint32_t n_vocab, int32_t n_top, RfStepResult* result) {
  const int64_t best = kernels.argmax(logits, n_vocab);
  if (best < 0) return;
  const double log_total = std::log(kernels.exp_sum(logits, n_vocab, logits[best], 1.0f, nullptr)) + double(logits[best]);
  result->logprob = float(double(logits[result->token]) - log_total);
  Candidate top[RF_MAX_TOP_LOGPROBS];
  const uint32_t wanted = std::min(uint32_t(n_top), n_vocab);
  uint32_t n = 0;
  for (uint32_t i = 0; wanted && i < n_vocab; i++) {
    if (n == wanted && logits[i] <= top[n - 1].weight) continue;
    uint32_t at = n < wanted ? n++ : n - 1;
    for (; at && logits[i] > top[at - 1].weight; at--) top[at] = top[at - 1];
    top[at] = {logits[i], int32_t(i)};
  }
  result->n_top = int32_t(n);
  for (uint32_t i = 0; i < n; i++) {
    result->top_tokens[i] = top[i].token;
    result->top_logprobs[i] = float(double(top[i].weight) - log_total);
  }
}

double weight_of(const Candidate* c, uint64_t n) {
  double total = 0;
  for (uint64_t i = 0; i < n; i++) total += double(c[i].weight);
  return total;
}

// Draws by cumulative weight: the candidate at the share u, in [0, 1), of the total weight; -1 without candidates.
int32_t pick(const Candidate* c, uint64_t n, double u) {
  if (n == 0) return -1;
  const double target = u * weight_of(c, n);
  double seen = 0;
  for (uint64_t i = 0; i < n; i++)
    if ((seen += double(c[i].weight)) > target) return c[i].token;
  return c[n - 1].token;
}

// Sorts the heaviest candidates to the front until they weigh `share` of the total, and returns how many that takes.
uint64_t nucleus(Candidate* c, uint64_t n, double share, double total) {
  double seen = 0;
  uint64_t kept = 0;
  for (uint64_t sorted = 0; sorted < n;) {
    const uint64_t upto = std::min(n, std::max<uint64_t>(64, 4 * sorted));
    if (upto < n) std::nth_element(c + sorted, c + upto, c + n, before);
    std::sort(c + sorted, c + upto, before);
    sorted = upto;
    for (; kept < sorted; seen += double(c[kept++].weight))
      if (kept && seen >= share * total) return kept;
  }
  return kept;
}

// Applies temperature, then top-k, then top-p and min-p to the rest, and draws one token.
int32_t draw(const Kernels& kernels, const float* logits, uint32_t n_vocab, float greatest, const RfStepOutput& o, float* weights,
             Candidate* c) {
  double total = kernels.exp_sum(logits, n_vocab, greatest, 1.0f / o.temperature, weights);
  const double u = uniforms(o).draw;
  const bool top_k = o.top_k > 0 && uint32_t(o.top_k) < n_vocab;
  // The greatest weight is 1. Without top-k, candidates that min-p drops, and those that together weigh less than top-p leaves out,
  // need not be sorted.
  const double light = top_k ? 0 : std::max(double(o.min_p), o.top_p < 1 ? (1 - double(o.top_p)) * total / n_vocab : 0);
  uint64_t n = 0;
  for (uint32_t i = 0; i < n_vocab; i++)
    if (weights[i] > 0 && double(weights[i]) >= light) c[n++] = {weights[i], int32_t(i)};
  if (top_k) {
    if (n > uint32_t(o.top_k)) {
      std::nth_element(c, c + o.top_k, c + n, before);
      n = uint32_t(o.top_k);
    }
    std::sort(c, c + n, before);
    total = weight_of(c, n);
  }
  if (o.top_p < 1) n = nucleus(c, n, double(o.top_p), total);
  if (top_k && o.min_p > 0)
    while (n > 1 && c[n - 1].weight < o.min_p * c[0].weight) n--;
  return pick(c, n, u);
}

}  // namespace

uint64_t sample_scratch_bytes(uint32_t n_vocab) { return uint64_t(n_vocab) * (2 * sizeof(float) + 2 * sizeof(Candidate)) + 256; }

void sample(const Kernels& kernels, const float* logits, uint32_t n_vocab, const StepView& step, uint32_t output, uint8_t* scratch,
            RfStepResult* result) {
  const RfStepOutput& o = step.outputs[output];
  *result = RfStepResult{};
  result->token = -1;
  auto* copy = reinterpret_cast<float*>(scratch);
  float* weights = copy + n_vocab;
  auto* candidates = reinterpret_cast<Candidate*>(weights + n_vocab);
  const float* x = logits;
  if (o.n_penalties || o.n_biases || o.mask_words) {
    std::copy(logits, logits + n_vocab, copy);
    apply_penalties(step, o, copy);
    if (o.mask_words) apply_mask(step.masks + o.mask_start, n_vocab, copy);
    x = copy;
  }
  const int64_t best = kernels.argmax(x, n_vocab);
  if (best < 0 || x[best] == -std::numeric_limits<float>::infinity()) return;
  // With an infinite logit there is no distribution to draw from, so the greatest is chosen.
  const bool greedy = o.temperature < 1e-6f || std::isinf(x[best]) || (o.top_k == 1 && !o.mirostat);
  if (greedy) result->token = int32_t(best);
  else if (needs_chain(o))
    result->token =
        draw_chain(kernels, x, n_vocab, x[best], o, weights, candidates, candidates + n_vocab, &result->surprise);
  else result->token = draw(kernels, x, n_vocab, x[best], o, weights, candidates);
  if (o.n_top >= 0) log_probabilities(kernels, logits, n_vocab, o.n_top, result);
}

}  // namespace rf
