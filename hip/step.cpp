#include "step.h"

#include "error.h"

namespace rf {

namespace {

// A section of the step buffer: count records of words_each words at word offset `at`.
const uint32_t* section(const uint32_t* words, uint64_t n_words, uint32_t at, uint64_t count, uint64_t words_each,
                        const char* name) {
  const uint64_t needed = count * words_each;  // both are below 2^32 here
  if (needed && (at < sizeof(RfStepHeader) / 4 || at > n_words || needed > n_words - at))
    fail(RF_INVALID_STEP, "section %s (%llu words at %u) is outside the step buffer of %llu words", name,
         (unsigned long long)needed, at, (unsigned long long)n_words);
  return words + (needed ? at : 0);
}

// Checks every field of one output that the sampler uses.
void check_output(const Plan& plan, const StepView& s, uint32_t i) {
  const RfStepOutput& o = s.outputs[i];
  if (o.row >= s.n_tokens) fail(RF_INVALID_STEP, "output %u is of row %u, and the step has %u rows", i, o.row, s.n_tokens);
  if (!plan.sample_width) return;
  const auto range = [&](const char* name, float value, float low, float high) {
    if (!(value >= low && value <= high))
      fail(RF_INVALID_STEP, "output %u has %s %g; it must be %g … %g", i, name, double(value), double(low), double(high));
  };
  range("temperature", o.temperature, 0, 1e6f);
  range("top_p", o.top_p, 0, 1);
  range("min_p", o.min_p, 0, 1);
  range("repeat_penalty", o.repeat_penalty, 1e-6f, 1e6f);
  range("frequency_penalty", o.frequency_penalty, -1e6f, 1e6f);
  range("presence_penalty", o.presence_penalty, -1e6f, 1e6f);
  range("typical_p", o.typical_p, 0, 1);
  range("top_n_sigma", o.top_n_sigma, 0, 1e6f);
  range("xtc_probability", o.xtc_probability, 0, 1);
  range("xtc_threshold", o.xtc_threshold, 0, 1);
  range("dynatemp_range", o.dynatemp_range, 0, 1e6f);
  range("dynatemp_exponent", o.dynatemp_exponent, 0, 1e3f);
  range("mirostat_mu", o.mirostat_mu, -1e6f, 1e6f);
  if (o.mirostat > 2) fail(RF_INVALID_STEP, "output %u has mirostat %u; it must be 0, 1 or 2", i, o.mirostat);
  if (o.temperature_last > 1)
    fail(RF_INVALID_STEP, "output %u has temperature_last %u; it must be 0 or 1", i, o.temperature_last);
  if (o.top_k < 0) fail(RF_INVALID_STEP, "output %u has top_k %d; it must be 0 or more", i, o.top_k);
  if (o.n_top < -1 || o.n_top > RF_MAX_TOP_LOGPROBS)
    fail(RF_INVALID_STEP, "output %u has n_top %d; it must be -1 … %d", i, o.n_top, RF_MAX_TOP_LOGPROBS);
  const uint32_t n_pairs = s.header->n_pairs, mask_words = (plan.sample_width + 31) / 32;
  if (uint64_t(o.penalty_start) + o.n_penalties > n_pairs || uint64_t(o.bias_start) + o.n_biases > n_pairs)
    fail(RF_INVALID_STEP, "output %u has penalties or biases beyond the %u pairs of the step", i, n_pairs);
  if (o.mask_words && (o.mask_words < mask_words || uint64_t(o.mask_start) + o.mask_words > s.header->n_mask_words))
    fail(RF_INVALID_STEP, "output %u has a mask of %u words at %u; it needs %u words inside the mask section", i, o.mask_words,
         o.mask_start, mask_words);
  const auto known = [&](const RfPair& pair) {
    if (uint32_t(pair.token) >= plan.sample_width)
      fail(RF_INVALID_STEP, "output %u has a pair for token %d, which is not in the vocabulary of %u", i, pair.token,
           plan.sample_width);
  };
  for (uint32_t p = 0; p < o.n_penalties; p++) {
    known(s.pairs[o.penalty_start + p]);
    if (s.pairs[o.penalty_start + p].value.count < 0)
      fail(RF_INVALID_STEP, "output %u has a penalty pair with a negative count", i);
  }
  for (uint32_t p = 0; p < o.n_biases; p++) {
    known(s.pairs[o.bias_start + p]);
    const float bias = s.pairs[o.bias_start + p].value.bias;
    if (bias != bias) fail(RF_INVALID_STEP, "output %u has a bias that is NaN", i);
  }
}

}  // namespace

StepView validate_step(const Plan& plan, const uint32_t* words, uint64_t n_words, uint64_t max_results) {
  if (n_words < sizeof(RfStepHeader) / 4)
    fail(RF_INVALID_STEP, "the step buffer has %llu words, which is shorter than its header", (unsigned long long)n_words);
  const auto* h = reinterpret_cast<const RfStepHeader*>(words);
  if (h->version != RF_ABI_VERSION)
    fail(RF_INVALID_STEP, "the step buffer has version %u; this library reads version %d", h->version, RF_ABI_VERSION);
  const RfContextDesc& d = plan.desc;
  if (h->n_tokens > d.max_tokens || h->n_seqs > d.max_seqs || h->n_outputs > d.max_outputs || h->n_outputs > max_results)
    fail(RF_INVALID_STEP, "the step has %u tokens, %u sequences and %u outputs; the context was opened for %u, %u and %u",
         h->n_tokens, h->n_seqs, h->n_outputs, d.max_tokens, d.max_seqs, d.max_outputs);
  StepView s{};
  s.header = h;
  s.n_words = n_words;
  s.n_tokens = h->n_tokens;
  s.n_seqs = h->n_seqs;
  s.n_outputs = h->n_outputs;
  s.tokens = reinterpret_cast<const int32_t*>(section(words, n_words, h->off_tokens, h->n_tokens, 1, "tokens"));
  s.seqs = reinterpret_cast<const RfStepSeq*>(section(words, n_words, h->off_seqs, h->n_seqs, sizeof(RfStepSeq) / 4, "seqs"));
  s.outputs = reinterpret_cast<const RfStepOutput*>(
      section(words, n_words, h->off_outputs, h->n_outputs, sizeof(RfStepOutput) / 4, "outputs"));
  s.blocks = reinterpret_cast<const int32_t*>(section(words, n_words, h->off_blocks, h->n_block_ids, 1, "blocks"));
  s.pairs = reinterpret_cast<const RfPair*>(section(words, n_words, h->off_pairs, h->n_pairs, sizeof(RfPair) / 4, "pairs"));
  s.masks = section(words, n_words, h->off_masks, h->n_mask_words, 1, "masks");

  if (plan.n_vocab)
    for (uint32_t i = 0; i < s.n_tokens; i++)
      if (uint32_t(s.tokens[i]) >= plan.n_vocab)
        fail(RF_INVALID_STEP, "token %d of row %u is not in the vocabulary of %u", s.tokens[i], i, plan.n_vocab);
  for (uint32_t i = 0; i < h->n_block_ids; i++)
    if (uint32_t(s.blocks[i]) >= d.n_blocks)
      fail(RF_INVALID_STEP, "block id %d does not exist; the cache has %u blocks", s.blocks[i], d.n_blocks);
  uint32_t next_row = 0;
  for (uint32_t i = 0; i < s.n_seqs; i++) {
    const RfStepSeq& q = s.seqs[i];
    if (q.row_start != next_row || !q.n_rows || q.n_rows > s.n_tokens - next_row)
      fail(RF_INVALID_STEP,
           "sequence %u starts at row %u and has %u rows; sequences must cover the %u rows of the step one after another", i,
           q.row_start, q.n_rows, s.n_tokens);
    next_row += q.n_rows;
    if (q.kv_len < q.n_rows)
      fail(RF_INVALID_STEP, "sequence %u appends %u tokens, but its kv_len is only %u", i, q.n_rows, q.kv_len);
    if (!plan.caches.empty()) {
      const uint64_t n = (uint64_t(q.kv_len) + d.block_size - 1) / d.block_size;
      if (q.block_start > h->n_block_ids || n > h->n_block_ids - q.block_start)
        fail(RF_INVALID_STEP, "sequence %u needs %llu blocks, and its table ends before that", i, (unsigned long long)n);
    }
  }
  if (next_row != s.n_tokens) fail(RF_INVALID_STEP, "the sequences cover only %u of the %u rows", next_row, s.n_tokens);
  for (uint32_t i = 0; i < s.n_outputs; i++) check_output(plan, s, i);
  return s;
}

}  // namespace rf
