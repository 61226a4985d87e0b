#include "chain.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace rf {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLn2 = 0.69314718055994531;
constexpr uint64_t kMirostatTop = 100;   // tokens from which Mirostat 1 estimates the exponent of Zipf's law
constexpr double kLeastTemperature = 1e-6;

class Chain {
 public:
  Chain(const Kernels& kernels, const float* x, uint32_t n_vocab, float greatest, const RfStepOutput& o, float* weights,
        Candidate* candidates, Candidate* ranking)
      : kernels_(kernels), x_(x), n_vocab_(n_vocab), greatest_(greatest), o_(o), weights_(weights), c_(candidates), r_(ranking) {}

  int32_t draw(float* surprise) {
    const bool last = !o_.mirostat && o_.temperature_last;
    const bool dynamic = !o_.mirostat && o_.dynatemp_range > 0;
    float factor = 1.0f / o_.temperature;
    if (dynamic && !last) {
      collect(1.0f, kInfinity);
      factor = dynamic_factor();
    }
    collect(last ? 1.0f : factor, !o_.mirostat && o_.top_n_sigma > 0 ? farthest_squared() : kInfinity);
    const Uniforms u = uniforms(o_);
    if (o_.mirostat) mirostat();
    else truncate(u.xtc);
    if (last) factor = dynamic ? dynamic_factor() : 1.0f / o_.temperature;
    // Another program's number is meant for that program's order: the most probable token comes first.
    if (o_.counter == RF_GIVEN_DRAW) std::sort(c_, c_ + n_, before);
    return pick(factor, u.draw, surprise);
  }

 private:
  // Logits below the greatest, in units of the temperature.
  float distance(const Candidate& c) const {
    const float below = greatest_ - x_[c.token];
    return below * factor_;
  }

  // Fills c_, in the order of ids, with the tokens whose logits are finite and within a distance of the greatest.
  void collect(float factor, double farthest_squared) {
    factor_ = factor;
    kernels_.exp_sum(x_, n_vocab_, greatest_, factor, weights_);
    n_ = 0;
    for (uint32_t i = 0; i < n_vocab_; i++) {
      const double below = double(greatest_ - x_[i]);
      if (below < kInfinity && below * below <= farthest_squared) c_[n_++] = {weights_[i], int32_t(i)};
    }
  }

  double farthest_squared() const {
    double n = 0, sum = 0, squares = 0;
    for (uint32_t i = 0; i < n_vocab_; i++) {
      const double below = double(greatest_ - x_[i]);
      if (!(below < kInfinity)) continue;
      n++;
      sum += below;
      squares += below * below;
    }
    const double mean = sum / n;
    return double(o_.top_n_sigma) * double(o_.top_n_sigma) * std::max(0.0, squares / n - mean * mean);
  }

  double total() const {
    double sum = 0;
    for (uint64_t i = 0; i < n_; i++) sum += double(c_[i].weight);
    return sum;
  }

  // The mean distance of a token drawn from the candidates. Entropy = ln(total weight) + mean distance.
  double mean_distance() const {
    double sum = 0, all = 0;
    for (uint64_t i = 0; i < n_; i++) {
      sum += double(c_[i].weight) * double(distance(c_[i]));
      all += double(c_[i].weight);
    }
    return sum / all;
  }

  float dynamic_factor() const {
    double temperature = double(o_.temperature);
    if (n_ > 1) {
      const double entropy = std::log(total()) + mean_distance();
      const double share = std::min(1.0, std::max(0.0, entropy / std::log(double(n_))));
      const double low = std::max(0.0, temperature - double(o_.dynatemp_range)), high = temperature + double(o_.dynatemp_range);
      temperature = low + (high - low) * std::pow(share, double(o_.dynatemp_exponent));
    }
    return float(1.0 / std::max(temperature, kLeastTemperature));
  }

  static float weight(const Candidate& c) { return c.weight; }
  // Fills r_ with the keys, in the place of weights, of the candidates that weigh at least `least`.
  template <class Key>
  void rank(Key key, double least = 0) {
    ranked_ = 0;
    for (uint64_t i = 0; i < n_; i++)
      if (double(c_[i].weight) >= least) r_[ranked_++] = {key(c_[i]), c_[i].token};
  }
  // Of the ranking: number `count`, and the one at which the running total of weights reaches the mark.
  Candidate at_count(uint64_t count) {
    std::nth_element(r_, r_ + count - 1, r_ + ranked_, before);
    return r_[count - 1];
  }
  Candidate at_mass(double mark) {
    double seen = 0;
    for (uint64_t sorted = 0; sorted < ranked_;) {
      const uint64_t upto = std::min(ranked_, std::max<uint64_t>(64, 4 * sorted));
      if (upto < ranked_) std::nth_element(r_ + sorted, r_ + upto, r_ + ranked_, before);
      std::sort(r_ + sorted, r_ + upto, before);
      for (; sorted < upto; sorted++)
        if ((seen += double(weights_[r_[sorted].token])) >= mark) return r_[sorted];
    }
    return r_[ranked_ - 1];
  }
  // The last of the ranking that is kept: the given one, or number min_keep.
  Candidate loosened(const Candidate& cut) {
    if (o_.min_keep < 2) return cut;
    const Candidate least = at_count(std::min<uint64_t>(o_.min_keep, n_));
    return before(cut, least) ? least : cut;
  }
  template <class Kept>
  void keep(Kept kept) {
    n_ = uint64_t(std::remove_if(c_, c_ + n_, [&](const Candidate& c) { return !kept(c); }) - c_);
  }

  void keep_heaviest(uint64_t count) {
    if (count >= n_) return;
    rank(weight);
    const Candidate cut = at_count(count);
    keep([&](const Candidate& c) { return !before(cut, c); });
  }

  void truncate(double chance) {
    if (o_.top_k > 0) keep_heaviest(uint64_t(o_.top_k));
    if (o_.typical_p < 1) {
      const float center = float(mean_distance());
      const auto key = [&](const Candidate& c) {
        const float d = distance(c);
        return -std::fabs(d - center);
      };
      const double mark = double(o_.typical_p) * total();
      rank(key);
      const Candidate cut = loosened(at_mass(mark));
      keep([&](const Candidate& c) { return !before(cut, {key(c), c.token}); });
    }
    if (o_.top_p < 1) {
      const double all = total(), mark = double(o_.top_p) * all;
      // Tokens that together weigh less than top-p leaves out need no rank.
      rank(weight, o_.min_keep < 2 ? (1 - double(o_.top_p)) * all / double(n_) : 0);
      const Candidate cut = loosened(at_mass(mark));
      keep([&](const Candidate& c) { return !before(cut, c); });
    }
    if (o_.min_p > 0) {
      rank(weight);
      const Candidate cut = loosened({o_.min_p * at_count(1).weight, std::numeric_limits<int32_t>::max()});
      keep([&](const Candidate& c) { return !before(cut, c); });
    }
    if (chance < double(o_.xtc_probability)) {
      const double least = double(o_.xtc_threshold) * total();
      uint64_t above = 0;
      for (uint64_t i = 0; i < n_; i++) above += double(c_[i].weight) >= least;
      if (above < 2 || n_ - (above - 1) < o_.min_keep) return;
      rank(weight);
      const Candidate cut = at_count(above - 1);
      keep([&](const Candidate& c) { return before(cut, c); });
    }
  }

  // Basu et al. 2021, algorithms 1 and 2; -log2(p) = (distance + ln(total)) / ln 2.
  void mirostat() {
    const double mu = double(o_.mirostat_mu);
    if (o_.mirostat == 2) {
      const float farthest = float(std::max(0.0, mu * kLn2 - std::log(total())));
      keep([&](const Candidate& c) { return distance(c) <= farthest; });
      return;
    }
    const uint64_t top = std::min(n_, kMirostatTop);
    if (top < 2) return;
    rank([&](const Candidate& c) { return -distance(c); });
    at_count(top);
    std::sort(r_, r_ + top, before);
    double products = 0, squares = 0;
    for (uint64_t i = 0; i + 1 < top; i++) {
      const double t = std::log(double(i + 2) / double(i + 1));
      products += t * (double(r_[i].weight) - double(r_[i + 1].weight));
      squares += t * t;
    }
    const double s = products / squares, epsilon = s - 1, n = double(n_vocab_);
    const double shrink = std::fabs(epsilon) < 1e-9 ? 1 / std::log(n) : epsilon / (1 - std::exp(-epsilon * std::log(n)));
    const double k = std::exp((std::log(shrink) + mu * kLn2) / s);
    keep_heaviest(k < double(n_) ? std::max<uint64_t>(1, uint64_t(k)) : n_);
  }
  // Draws from what is left: the first token, by id, at which the running total of weights exceeds the share u of all.
  int32_t pick(float factor, double u, float* surprise) {
    float peak = x_[c_[0].token];
    for (uint64_t i = 1; i < n_; i++) peak = std::max(peak, x_[c_[i].token]);
    for (uint64_t i = 0; i < n_; i++) weights_[i] = x_[c_[i].token];
    kernels_.exp_sum(weights_, n_, peak, factor, weights_);
    double sum = 0;
    for (uint64_t i = 0; i < n_; i++) sum += double(weights_[i]);
    const double target = u * sum;
    double seen = 0;
    uint64_t at = 0;
    for (uint64_t i = 0; i < n_; i++) {
      if (!(weights_[i] > 0)) continue;
      at = i;
      if ((seen += double(weights_[i])) > target) break;
    }
    if (o_.mirostat) *surprise = float(std::log2(sum / double(weights_[at])));
    return c_[at].token;
  }

  const Kernels& kernels_;
  const float* x_;
  const uint32_t n_vocab_;
  const float greatest_;
  const RfStepOutput& o_;
  float* weights_;   // [n_vocab], by token
  Candidate* c_;     // [n_], by ascending token until the draw
  Candidate* r_;     // [ranked_], a ranking of the candidates by some key
  uint64_t n_ = 0, ranked_ = 0;
  float factor_ = 1;  // 1 / temperature of the weights
};

}  // namespace

// Philox4x32-10 (Salmon et al. 2011), number `counter` under the seed; or the number that the seed itself is.
Uniforms uniforms(const RfStepOutput& o) {
  const auto unit = [](uint32_t high, uint32_t low) { return double((uint64_t(high) << 32 | low) >> 11) * 0x1p-53; };
  if (o.counter == RF_GIVEN_DRAW) return {unit(o.seed_hi, o.seed_lo), unit(o.seed_lo, o.seed_hi)};
  uint32_t c[4] = {o.counter, 0, 0, 0}, k[2] = {o.seed_lo, o.seed_hi};
  for (int round = 0; round < 10; round++) {
    const uint64_t a = uint64_t(0xD2511F53u) * c[0], b = uint64_t(0xCD9E8D57u) * c[2];
    const uint32_t next[4] = {uint32_t(b >> 32) ^ c[1] ^ k[0], uint32_t(b), uint32_t(a >> 32) ^ c[3] ^ k[1], uint32_t(a)};
    std::copy(next, next + 4, c);
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return {unit(c[0], c[1]), unit(c[2], c[3])};
}

bool needs_chain(const RfStepOutput& o) {
  const bool shares = o.top_p < 1 || o.min_p > 0;
  return o.mirostat || o.typical_p < 1 || o.top_n_sigma > 0 || o.xtc_probability > 0 || o.dynatemp_range > 0 ||
         (shares && (o.min_keep > 1 || (o.temperature_last && o.temperature != 1)));
}

int32_t draw_chain(const Kernels& kernels, const float* x, uint32_t n_vocab, float greatest, const RfStepOutput& o, float* weights,
                   Candidate* candidates, Candidate* ranking, float* surprise) {
  return Chain(kernels, x, n_vocab, greatest, o, weights, candidates, ranking).draw(surprise);
}

}  // namespace rf
