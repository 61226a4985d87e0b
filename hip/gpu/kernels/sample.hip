// rf_sample: one token (and log-probabilities) from a row of logits and its RfStepOutput, by the rules of hip/cpu/sample.cpp.
//
// Nothing is sorted. Candidates are ranked by weight, heaviest first, equal weights by id. top-k, top-p and min-p each keep a
// prefix of the ranking, given by a weight and the number of its equals (Kept). The draw is the place in the ranking where the
// running total passes a random fraction of the kept total. select.h finds such places by the bits of the weights. Weights are
// added as integers (fixed), so that the order does not matter, exactly enough to draw the same token as the CPU.
#include "chain.h"
#include "step.h"

namespace rf {

namespace {

constexpr float kGreedyBelow = 1e-6f;  // a temperature

struct Best {
  uint32_t token;  // first token with the greatest logit
  float logit;     // NaN if any logit is NaN
};
RF_DEVICE Best argmax(const float* x, uint32_t n, SelectShared& s) {
  constexpr uint32_t Ahead = 8;   // loads of four logits that a thread has in flight
  uint32_t greatest = 0, at = 0;  // 0 is below every key
  const auto take = [&](uint32_t bits, uint32_t i) {
    const uint32_t key = ordered(bits_float(bits));
    at = greatest < key ? i : at;  // a thread's indices ascend: the first of its greatest stays
    greatest = greatest < key ? key : greatest;
  };
  const uint32_t quads = uint64_t(x) % 16 ? 0 : n / 4;
  for (uint32_t first = thread_id(); first < quads; first += Ahead * kSampleThreads) {
    Word4 v[Ahead];
    RF_UNROLL for (uint32_t k = 0; k < Ahead; k++) {
      const uint32_t i = first + k * kSampleThreads;  // past the end the last quadruple again, which changes nothing
      v[k] = load<Word4>(x + 4 * uint64_t(i < quads ? i : quads - 1));
    }
    RF_UNROLL for (uint32_t k = 0; k < Ahead; k++) {
      const uint32_t i = first + k * kSampleThreads, from = 4 * (i < quads ? i : quads - 1);
      take(v[k].x, from);
      take(v[k].y, from + 1);
      take(v[k].z, from + 2);
      take(v[k].w, from + 3);
    }
  }
  for (uint32_t i = 4 * quads + thread_id(); i < n; i += kSampleThreads) take(float_bits(x[i]), i);
  const uint64_t best = block_max(uint64_t(greatest) << 32 | uint32_t(~at), s);
  return {~uint32_t(best), unordered(uint32_t(best >> 32))};
}

// Calls apply(pair) for all pairs. Pairs of the same token are applied in order: owner [n_vocab] detects whether a token occurs
// twice.
template <class Apply>
RF_DEVICE void each_pair(const RfPair* pairs, uint32_t n, uint32_t* owner, SelectShared& s, Apply apply) {
  for (uint32_t i = thread_id(); i < n; i += kSampleThreads) owner[pairs[i].token] = i;
  block_sync();
  uint64_t repeated = 0;
  for (uint32_t i = thread_id(); i < n; i += kSampleThreads) repeated |= owner[pairs[i].token] != i ? 1 : 0;
  repeated = block_max(repeated, s);
  const uint32_t step = repeated ? 1 : kSampleThreads;
  if (!repeated || thread_id() == 0)
    for (uint32_t i = thread_id(); i < n; i += step) apply(pairs[i]);
  block_sync();
}

// x [n_vocab] = the logits after penalties, biases and mask.
RF_DEVICE void adjust(const SampleArgs& a, const RfStepOutput& o, const float* logits, float* x, uint32_t* owner, SelectShared& s) {
  RF_UNROLL_BY(8) for (uint32_t i = thread_id(); i < a.n_vocab; i += kSampleThreads) x[i] = logits[i];
  block_sync();
  each_pair(pairs(a.step) + o.penalty_start, o.n_penalties, owner, s, [&](const RfPair& pair) {
    float logit = x[pair.token];
    logit = logit > 0 ? divide(logit, o.repeat_penalty) : logit * o.repeat_penalty;  // Keskar et al. 2019
    logit = logit - multiply(o.frequency_penalty, float(pair.value.count));
    x[pair.token] = pair.value.count > 0 ? logit - o.presence_penalty : logit;
  });
  each_pair(pairs(a.step) + o.bias_start, o.n_biases, owner, s, [&](const RfPair& pair) { x[pair.token] += pair.value.bias; });
  if (o.mask_words) {
    const uint32_t* mask = a.step + header(a.step).off_masks + o.mask_start;
    for (uint32_t i = thread_id(); i < a.n_vocab; i += kSampleThreads)
      if (!(mask[i / 32] >> (i % 32) & 1)) x[i] = -kInfinity;
    block_sync();
  }
}

struct List {  // candidates in any order
  const float* weights;
  const uint32_t* ids;
  uint32_t n;
};
// All candidates heavier than the weight `bits`, and the first `equals` candidates of exactly that weight.
struct Kept {
  uint32_t bits;
  uint64_t equals;
};
RF_DEVICE uint64_t mass_of(const List& list, const Kept& kept, SelectShared& s) {
  uint64_t heavier = 0, equals = 0;
  for (uint32_t i = thread_id(); i < list.n; i += kSampleThreads) {
    const uint32_t bits = float_bits(list.weights[i]);
    heavier += bits > kept.bits ? fixed(bits) : 0;
    equals += bits == kept.bits ? 1 : 0;
  }
  heavier = block_sum(heavier, s);
  equals = block_sum(equals, s);
  return heavier + fixed(kept.bits) * (equals < kept.equals ? equals : kept.equals);
}
RF_DEVICE Place select_mass(const List& list, uint64_t mark, SelectShared& s) {
  return select<false>(
      mark, list.n, s, [&](uint32_t i) { return float_bits(list.weights[i]); }, [&](uint32_t i) { return fixed(list.weights[i]); });
}

// The token at running total `mass` of the ranking.
RF_DEVICE uint32_t token_at(const List& list, uint64_t mass, SelectShared& s) {
  const Place place = select_mass(list, mass + 1, s);
  const uint64_t skipped = quotient(mass - place.above, fixed(place.key));
  // Ids ascend among equals: the ranking by ~id.
  const Place id = select<true>(
      skipped + 1, list.n, s, [&](uint32_t i) { return ~list.ids[i]; },
      [&](uint32_t i) { return uint64_t(float_bits(list.weights[i]) == place.key ? 1 : 0); });
  return ~id.key;
}

// Temperature, then top-k, top-p and min-p, then one draw. weights, list_weights, list_ids: [n_vocab]; x may be weights.
RF_DEVICE uint32_t draw(const float* x, uint32_t n, float greatest, const RfStepOutput& o, float* weights, float* list_weights,
                        uint32_t* list_ids, SelectShared& s) {
  const float factor = divide(1.0f, o.temperature);
  uint64_t total = 0;
  RF_UNROLL_BY(4) for (uint32_t i = thread_id(); i < n; i += kSampleThreads) {
    const float weight = exp_float((x[i] - greatest) * factor);
    weights[i] = weight;
    total += fixed(weight);
  }
  total = block_sum(total, s);  // its barriers also make the weights visible
  const double u = uniforms(o.seed_lo, o.seed_hi, o.counter).draw;
  const bool top_k = o.top_k > 0 && uint32_t(o.top_k) < n, top_p = o.top_p < 1.0f;
  const uint32_t min_p = o.min_p > 0 ? float_bits(o.min_p) : 1;  // the heaviest weighs 1; nothing keeps a weight of 0
  if (!top_k && !top_p) {
    const auto value = [&](uint32_t i) { return float_bits(weights[i]) >= min_p ? fixed(weights[i]) : 0; };
    uint64_t mass = 0;
    for (uint32_t i = thread_id(); i < n; i += kSampleThreads) mass += value(i);
    return find_in_order(point_into(u, block_sum(mass, s)), n, s, value);
  }

  // Drop candidates that cannot be kept: whole bins beyond top-k, weights below min-p, and weights so light that all of them
  // together weigh less than top-p drops.
  uint32_t least = 1;
  if (top_k) {
    const Place rough = narrow<true>(
        {0, 0, true}, 0, 32 - kBinBits, uint64_t(o.top_k), n, s, [&](uint32_t i) { return float_bits(weights[i]); },
        [&](uint32_t i) { return uint64_t(weights[i] > 0 ? 1 : 0); });
    least = rough.key > least ? rough.key : least;
  } else {
    const float light = float((1.0 - double(o.top_p)) * double(total) / kFixedOne / double(n)) * 0.999f;
    least = float_bits(light) > min_p ? float_bits(light) : min_p;
  }
  if (thread_id() == 0) s.count = 0;
  block_sync();
  for (uint32_t i = thread_id(); i < n; i += kSampleThreads) {
    if (float_bits(weights[i]) < least) continue;
    const uint32_t at = atomic_add_shared(&s.count, 1u);
    list_weights[at] = weights[i];
    list_ids[at] = i;
  }
  block_sync();
  const List list = {list_weights, list_ids, s.count};

  Kept kept = {1, ~0u};
  if (top_k) {
    const Place last = select<true>(
        uint64_t(o.top_k), list.n, s, [&](uint32_t i) { return float_bits(list.weights[i]); },
        [&](uint32_t) { return uint64_t(1); });
    if (last.found) kept = {last.key, uint64_t(o.top_k) - last.above};
    total = mass_of(list, kept, s);
  }
  if (top_p) {
    const uint64_t mark = mark_at(o.top_p, total);
    const Place last = select_mass(list, mark, s);
    if (last.found) kept = {last.key, quotient(mark - last.above + fixed(last.key) - 1, fixed(last.key))};
  }
  if (min_p > kept.bits) kept = {min_p, ~0u};
  return token_at(list, point_into(u, mass_of(list, kept, s)), s);
}

// Log-probabilities of the unadjusted logits: of `token`, and the n_top greatest.
RF_DEVICE void log_probabilities(const float* logits, uint32_t n, uint32_t n_top, Best best, uint32_t token, SelectShared& s,
                                 uint32_t* keys, uint32_t* ids, RfStepResult* result) {
  uint64_t total = 0;
  RF_UNROLL_BY(4) for (uint32_t i = thread_id(); i < n; i += kSampleThreads) total += fixed(exp_float(logits[i] - best.logit));
  total = block_sum(total, s);
  const bool infinite = best.logit == kInfinity;  // then there is no distribution
  const double log_total = infinite ? double(__builtin_nanf("")) : log_exact(double(total) / kFixedOne) + double(best.logit);
  if (thread_id() == 0) result->logprob = float(double(logits[token]) - log_total);
  n_top = n_top < n ? n_top : n;
  if (n_top == 0) return;

  const Place last =
      select<true>(n_top, n, s, [&](uint32_t i) { return ordered(logits[i]); }, [&](uint32_t) { return uint64_t(1); });
  if (thread_id() == 0) s.count = 0;
  block_sync();
  for (uint32_t i = thread_id(); i < n; i += kSampleThreads) {
    const uint32_t key = ordered(logits[i]);
    if (key <= last.key) continue;
    const uint32_t at = atomic_add_shared(&s.count, 1u);
    keys[at] = key;
    ids[at] = i;
  }
  // Entries equal to the last one, by ascending id: rarely more than one.
  uint32_t from = 0;
  for (uint32_t at = uint32_t(last.above); at < RF_MAX_TOP_LOGPROBS; at++) {
    if (at >= n_top) break;
    uint64_t first = 0;
    for (uint32_t i = thread_id(); i < n; i += kSampleThreads)
      if (i >= from && ordered(logits[i]) == last.key) {
        first = uint32_t(~i);
        break;
      }
    const uint32_t id = ~uint32_t(block_max(first, s));
    if (thread_id() == 0) {
      keys[at] = last.key;
      ids[at] = id;
    }
    from = id + 1;
  }
  block_sync();
  // The rank of an entry is the number of entries before it.
  if (thread_id() < n_top) {
    const uint32_t key = keys[thread_id()], id = ids[thread_id()];
    uint32_t rank = 0;
    for (uint32_t i = 0; i < n_top; i++) rank += keys[i] > key || (keys[i] == key && ids[i] < id) ? 1 : 0;
    result->top_tokens[rank] = int32_t(id);
    result->top_logprobs[rank] = float(double(logits[id]) - log_total);
  }
  if (thread_id() == 0) result->n_top = int32_t(n_top);
}

}  // namespace

RF_KERNEL(kSampleThreads) rf_sample(SampleArgs a) {
  RF_SHARED SelectShared s;
  RF_SHARED uint32_t top_keys[RF_MAX_TOP_LOGPROBS], top_ids[RF_MAX_TOP_LOGPROBS];
  const uint32_t output = block_x();
  begin_kernel();
  if (output >= header(a.step).n_outputs) return;
  const RfStepOutput& o = outputs(a.step)[output];
  const float* logits = a.logits + uint64_t(output) * a.width;
  const uint32_t n = a.n_vocab;
  float* weights = a.scratch + uint64_t(output) * a.scratch_floats;
  float* list_weights = weights + n;
  uint32_t* list_ids = reinterpret_cast<uint32_t*>(list_weights + n);
  RfStepResult* result = a.results + output;
  if (thread_id() < sizeof(RfStepResult) / 4) reinterpret_cast<uint32_t*>(result)[thread_id()] = 0;
  block_sync();

  const bool adjusted = o.n_penalties || o.n_biases || o.mask_words;
  if (adjusted) adjust(a, o, logits, weights, list_ids, s);
  const float* x = adjusted ? weights : logits;
  const Best best = argmax(x, n, s);
  if (best.logit != best.logit || best.logit == -kInfinity) {
    if (thread_id() == 0) result->token = -1;
    return;
  }
  const bool greedy = o.temperature < kGreedyBelow || best.logit == kInfinity || (o.top_k == 1 && !o.mirostat);
  uint32_t token = best.token;
  if (!greedy && needs_chain(o))
    token = Chain{x, n, best.logit, o, s, list_weights, list_ids, 0, 1.0f}.draw(&result->surprise);
  else if (!greedy) token = draw(x, n, best.logit, o, weights, list_weights, list_ids, s);
  if (thread_id() == 0) result->token = int32_t(token);
  if (o.n_top < 0) return;
  const Best raw = adjusted ? argmax(logits, n, s) : best;
  if (raw.logit == raw.logit) log_probabilities(logits, n, uint32_t(o.n_top), raw, token, s, top_keys, top_ids, result);
}

}  // namespace rf
