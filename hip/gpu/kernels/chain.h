// The full chain of samplers, for outputs that ask for more than temperature, top-k, top-p and min-p in that order: the rules of
// hip/abi.h, as hip/cpu/chain.cpp computes them.
//
// Candidates are never sorted or moved. Each limit ranks candidates by a key, and by id where keys are equal. select.h finds the last
// candidate that the limit keeps (Cut). A thread always visits the same entries of the list, so that it alone changes them.
#pragma once
#include "chance.h"
#include "select.h"

namespace rf {

constexpr float kDropped = -1.0f;         // the weight of an entry that is no candidate any more
constexpr uint32_t kMirostatTop = 100;    // tokens from which Mirostat 1 estimates the exponent of Zipf's law
constexpr double kLn2 = 0.69314718055994531;
constexpr double kLeastTemperature = 1e-6;
static_assert(3 * kMirostatTop <= kBins, "Mirostat 1 keeps three numbers a token in the bins");

RF_DEVICE bool needs_chain(const RfStepOutput& o) {
  const bool shares = o.top_p < 1 || o.min_p > 0;
  return o.mirostat || o.typical_p < 1 || o.top_n_sigma > 0 || o.xtc_probability > 0 || o.dynatemp_range > 0 ||
         (shares && (o.min_keep > 1 || (o.temperature_last && o.temperature != 1)));
}

// In double, and the same in every run: the order of the additions is fixed.
RF_DEVICE double subgroup_sum(double v) {
  RF_UNROLL for (uint32_t mask = 16; mask; mask /= 2) v += bits_double(shuffle_xor(double_bits(v), mask));
  return v;
}
RF_DEVICE double block_sum(double v, SelectShared& s) {
  return subgroup_sum(bits_double(exchange(double_bits(subgroup_sum(v)), s)));
}

// select, in a third of the code: the chain selects in many places, and mostly from few candidates.
template <bool Counting, class Key, class Value>
RF_DEVICE Place select_rolled(uint64_t mark, uint32_t n, SelectShared& s, Key key, Value value) {
  Place place = {0, 0, true};
  bool found = true;
  uint32_t known = 0;
  RF_UNROLL_BY(1) for (uint32_t pass = 0; pass < 3; pass++) {
    const uint32_t shift = pass == 0 ? 32 - kBinBits : pass == 1 ? 32 - 2 * kBinBits : 0;
    place = narrow<Counting>(place, known, shift, mark, n, s, key, value);
    found = found && place.found;
    known = ~0u << shift;
  }
  return {place.key, place.above, found};
}

// The last candidate of a ranking that is kept, by its key and its id.
struct Cut {
  uint32_t key, id;
};
RF_DEVICE bool keeps(const Cut& cut, uint32_t key, uint32_t id) { return key > cut.key || (key == cut.key && id <= cut.id); }

struct Chain {
  const float* x;  // [n_vocab] logits
  const uint32_t n_vocab;
  const float greatest;  // of x
  const RfStepOutput& o;
  SelectShared& s;
  float* weights;  // [n] e^-distance, or kDropped
  uint32_t* ids;   // [n]
  uint32_t n;
  float factor;  // 1 / temperature of the weights

  RF_DEVICE uint32_t draw(float* surprise) {
    const Uniforms u = uniforms(o.seed_lo, o.seed_hi, o.counter);
    const bool last = !o.mirostat && o.temperature_last, dynamic = !o.mirostat && o.dynatemp_range > 0;
    float scale = divide(1.0f, o.temperature);
    if (dynamic && !last) {
      factor = 1.0f;
      collect_all(kInfinity);
      scale = dynamic_factor();
    }
    factor = last ? 1.0f : scale;
    const double farthest = !o.mirostat && o.top_n_sigma > 0 ? farthest_squared() : double(kInfinity);
    if (!o.mirostat && o.top_k > 0 && uint32_t(o.top_k) < n_vocab) collect_top(farthest);
    else collect_all(farthest);
    if (o.mirostat == 1) zipf();
    else if (o.mirostat) keep_surprising();
    else truncate(u.xtc);
    if (last && dynamic) scale = dynamic_factor();
    return pick(scale, u.draw, surprise);
  }

  // Logits below the greatest, in units of the temperature.
  RF_DEVICE float distance(uint32_t i) const { return multiply(greatest - x[ids[i]], factor); }
  RF_DEVICE bool alive(uint32_t i) const { return weights[i] >= 0; }
  RF_DEVICE uint64_t one(uint32_t i) const { return alive(i) ? 1 : 0; }
  RF_DEVICE uint64_t mass(uint32_t i) const { return alive(i) ? fixed(weights[i]) : 0; }
  template <class Value>
  RF_DEVICE uint64_t total(Value value) {
    uint64_t sum = 0;
    for (uint32_t i = thread_id(); i < n; i += kSampleThreads) sum += value(i);
    return block_sum(sum, s);
  }
  RF_DEVICE uint64_t total_mass() {
    return total([&](uint32_t i) { return mass(i); });
  }

  // The weight of a token, or kDropped where it is no candidate: its logit is -inf, or farther from the greatest than the limit.
  RF_DEVICE float weight_of(uint32_t token, double farthest) const {
    const float below = greatest - x[token];
    const bool candidate = below < kInfinity && double(below) * double(below) <= farthest;
    return candidate ? exp_float(-multiply(below, factor)) : kDropped;
  }
  RF_DEVICE void collect_all(double farthest) {
    block_sync();
    n = n_vocab;
    for (uint32_t i = thread_id(); i < n; i += kSampleThreads) {
      weights[i] = weight_of(i, farthest);
      ids[i] = i;
    }
    block_sync();
  }
  // Leaves out whole bins beyond top-k.
  RF_DEVICE void collect_top(double farthest) {
    const Place rough = narrow<true>(
        {0, 0, true}, 0, 32 - kBinBits, uint64_t(o.top_k), n_vocab, s,
        [&](uint32_t i) { return float_bits(weight_of(i, farthest)); },
        [&](uint32_t i) { return uint64_t(weight_of(i, farthest) >= 0 ? 1 : 0); });
    const uint32_t least = rough.found ? rough.key : 0;
    if (thread_id() == 0) s.count = 0;
    block_sync();
    for (uint32_t i = thread_id(); i < n_vocab; i += kSampleThreads) {
      const float weight = weight_of(i, farthest);
      if (weight < 0 || float_bits(weight) < least) continue;
      const uint32_t at = atomic_add_shared(&s.count, 1u);
      weights[at] = weight;
      ids[at] = i;
    }
    block_sync();
    n = s.count;
  }

  // The square of the distance, in logits, that top-n-sigma allows.
  RF_DEVICE double farthest_squared() {
    double sum = 0, squares = 0;
    uint64_t count = 0;
    for (uint32_t i = thread_id(); i < n_vocab; i += kSampleThreads) {
      const float below = greatest - x[i];
      if (!(below < kInfinity)) continue;
      sum += double(below);
      squares += double(below) * double(below);
      count++;
    }
    sum = block_sum(sum, s);
    squares = block_sum(squares, s);
    const double all = double(block_sum(count, s)), mean = sum / all, variance = squares / all - mean * mean;
    return double(o.top_n_sigma) * double(o.top_n_sigma) * (variance > 0 ? variance : 0);
  }

  // The mean distance of a token drawn from the candidates. Entropy = ln(total weight) + mean distance.
  RF_DEVICE double mean_distance(uint64_t mass) {
    const uint64_t sum = total([&](uint32_t i) { return alive(i) ? fixed(multiply(weights[i], distance(i))) : 0; });
    return double(sum) / double(mass);
  }
  RF_DEVICE float dynamic_factor() {
    const uint64_t mass = total_mass(), count = total([&](uint32_t i) { return one(i); });
    const double mean = mean_distance(mass);
    double temperature = double(o.temperature);
    if (count > 1) {
      const double entropy = log_exact(double(mass) / kFixedOne) + mean;
      const double share = entropy / log_exact(double(count)), exponent = double(o.dynatemp_exponent);
      const double power = exponent <= 0 || share >= 1 ? 1.0 : share <= 0 ? 0.0 : exp_exact(exponent * log_exact(share));
      const double reach = double(o.dynatemp_range);
      const double low = temperature > reach ? temperature - reach : 0, high = temperature + reach;
      temperature = low + (high - low) * power;
    }
    return float(1.0 / (temperature > kLeastTemperature ? temperature : kLeastTemperature));
  }

  // Where the running total of values over the ranking by key reaches the mark. Everything is kept where it does not.
  template <bool Counting, class Key, class Value>
  RF_DEVICE Cut cut_at(uint64_t mark, Key key, Value value) {
    const Place place = select_rolled<Counting>(mark, n, s, key, value);
    const Place id = select_rolled<Counting>(
        mark - place.above, n, s, [&](uint32_t i) { return ~ids[i]; },
        [&](uint32_t i) { return key(i) == place.key ? value(i) : 0; });
    return place.found && id.found ? Cut{place.key, ~id.key} : Cut{0, ~0u};
  }
  template <class Key>
  RF_DEVICE Cut cut_at_count(uint64_t count, Key key) {
    return cut_at<true>(count, key, [&](uint32_t i) { return one(i); });
  }
  template <class Key>
  RF_DEVICE void keep(Cut cut, Key key, bool kept = true) {
    for (uint32_t i = thread_id(); i < n; i += kSampleThreads)
      if (alive(i) && keeps(cut, key(i), ids[i]) != kept) weights[i] = kDropped;
    block_sync();
  }
  // The same, and at least min_keep candidates.
  template <class Key>
  RF_DEVICE void keep_enough(Cut cut, Key key) {
    if (o.min_keep > 1) {
      const Cut least = cut_at_count(o.min_keep, key);
      if (keeps(least, cut.key, cut.id)) cut = least;
    }
    keep(cut, key);
  }

  RF_DEVICE void truncate(double chance) {
    const auto heaviest = [&](uint32_t i) { return float_bits(weights[i]); };
    const auto weight = [&](uint32_t i) { return mass(i); };
    if (o.top_k > 0 && uint32_t(o.top_k) < n) keep(cut_at_count(uint64_t(o.top_k), heaviest), heaviest);
    if (o.typical_p < 1) {
      const uint64_t mass = total_mass();
      const float center = float(mean_distance(mass));
      const auto typical = [&](uint32_t i) { return ~float_bits(__builtin_fabsf(distance(i) - center)); };
      keep_enough(cut_at<false>(mark_at(o.typical_p, mass), typical, weight), typical);
    }
    if (o.top_p < 1) keep_enough(cut_at<false>(mark_at(o.top_p, total_mass()), heaviest, weight), heaviest);
    if (o.min_p > 0) {
      uint64_t peak = 0;
      for (uint32_t i = thread_id(); i < n; i += kSampleThreads) {
        const uint64_t bits = alive(i) ? float_bits(weights[i]) : 0;
        peak = bits > peak ? bits : peak;
      }
      peak = block_max(peak, s);
      keep_enough({float_bits(multiply(o.min_p, bits_float(uint32_t(peak)))), ~0u}, heaviest);
    }
    if (chance < double(o.xtc_probability)) {
      const double least = double(o.xtc_threshold) * (double(total_mass()) / kFixedOne);
      const uint64_t above = total([&](uint32_t i) { return uint64_t(alive(i) && double(weights[i]) >= least ? 1 : 0); });
      const uint64_t left = total([&](uint32_t i) { return one(i); }) - (above - 1);
      if (above > 1 && left >= o.min_keep) keep(cut_at_count(above - 1, heaviest), heaviest, false);
    }
  }

  // Mirostat 2: the tokens whose surprise, (distance + ln(total weight)) / ln 2, is at most mu.
  RF_DEVICE void keep_surprising() {
    const double log_total = log_exact(double(total_mass()) / kFixedOne), most = double(o.mirostat_mu) * kLn2 - log_total;
    const float farthest = most > 0 ? float(most) : 0;
    const auto nearest = [&](uint32_t i) { return ~float_bits(distance(i)); };
    keep({~float_bits(farthest), ~0u}, nearest);
  }

  // Mirostat 1: the k most probable tokens, for the exponent of Zipf's law that the first ones show.
  RF_DEVICE void zipf() {
    const auto nearest = [&](uint32_t i) { return ~float_bits(distance(i)); };
    const Cut cut = cut_at_count(kMirostatTop, nearest);
    uint32_t *keys = s.bins.counts, *tokens = keys + kMirostatTop, *sorted = tokens + kMirostatTop;
    if (thread_id() == 0) s.count = 0;
    block_sync();
    for (uint32_t i = thread_id(); i < n; i += kSampleThreads) {
      if (!alive(i) || !keeps(cut, nearest(i), ids[i])) continue;
      const uint32_t at = atomic_add_shared(&s.count, 1u);
      keys[at] = nearest(i);
      tokens[at] = ids[i];
    }
    block_sync();
    const uint32_t top = s.count, t = thread_id();
    if (t < top) {
      uint32_t rank = 0;
      for (uint32_t i = 0; i < top; i++) rank += keys[i] > keys[t] || (keys[i] == keys[t] && tokens[i] < tokens[t]) ? 1 : 0;
      sorted[rank] = keys[t];
    }
    block_sync();
    double products = 0, squares = 0;
    if (t + 1 < top) {
      const double step = log_exact(double(t + 2) / double(t + 1));
      products = step * (double(bits_float(~sorted[t + 1])) - double(bits_float(~sorted[t])));
      squares = step * step;
    }
    products = block_sum(products, s);
    squares = block_sum(squares, s);
    const uint64_t count = total([&](uint32_t i) { return one(i); });
    if (top < 2) return;
    const double exponent = products / squares, epsilon = exponent - 1, log_vocab = log_exact(double(n_vocab));
    const bool harmonic = epsilon < 1e-9 && epsilon > -1e-9;
    const double shrink = harmonic ? 1 / log_vocab : epsilon / (1 - exp_exact(-epsilon * log_vocab));
    const double k = exp_exact((log_exact(shrink) + double(o.mirostat_mu) * kLn2) / exponent);
    if (!(k < double(count))) return;
    const auto heaviest = [&](uint32_t i) { return float_bits(weights[i]); };
    keep(cut_at_count(k < 1 ? 1 : uint64_t(k), heaviest), heaviest);
  }

  // Draws from what is left: the first token, by id, at which the running total of weights exceeds the share u of all.
  RF_DEVICE uint32_t pick(float scale, double u, float* surprise) {
    uint64_t greatest_left = 0;
    for (uint32_t i = thread_id(); i < n; i += kSampleThreads) {
      const uint64_t key = alive(i) ? ordered(x[ids[i]]) : 0;
      greatest_left = key > greatest_left ? key : greatest_left;
    }
    const float peak = unordered(uint32_t(block_max(greatest_left, s)));
    for (uint32_t i = thread_id(); i < n; i += kSampleThreads)
      if (alive(i)) weights[i] = exp_float(multiply(x[ids[i]] - peak, scale));
    block_sync();
    const uint64_t mass_left = total_mass();
    const Place place = select_rolled<false>(
        point_into(u, mass_left) + 1, n, s, [&](uint32_t i) { return ~ids[i]; }, [&](uint32_t i) { return mass(i); });
    const uint32_t token = ~place.key;
    if (o.mirostat && thread_id() == 0) {
      const double weight = double(exp_float(multiply(x[token] - peak, scale)));
      *surprise = float((log_exact(double(mass_left) / kFixedOne) - log_exact(weight)) / kLn2);
    }
    return token;
  }
};

}  // namespace rf
