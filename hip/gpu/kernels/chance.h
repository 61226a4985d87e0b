// What the samplers compute with: weights as integers, floats in the order of integers, random numbers, and exact logarithms.
#pragma once
#include "platform.h"

namespace rf {

constexpr float kInfinity = __builtin_inff();

constexpr float kFixedOne = 0x1p42f;  // a weight of 1 as an integer; 2^20 of them fit in 64 bits
RF_DEVICE uint64_t fixed(float weight) { return uint64_t(weight * kFixedOne); }
RF_DEVICE uint64_t fixed(uint32_t bits) { return fixed(bits_float(bits)); }

// The integer from which on a running total has reached a share of `total`.
RF_DEVICE uint64_t mark_at(float share, uint64_t total) {
  const double exact = double(share) * double(total);
  uint64_t mark = uint64_t(exact);
  mark += double(mark) < exact ? 1 : 0;
  return mark < 1 ? 1 : mark > total ? total : mark;
}

// a / b, where the quotient is below 2^32.
RF_DEVICE uint64_t quotient(uint64_t a, uint64_t b) {
  uint64_t q = uint64_t(double(a) / double(b));
  while (q * b > a) q--;
  while ((q + 1) * b <= a) q++;
  return q;
}

// Maps a float to an unsigned number in the same order. +0 and -0 map to the same number, NaN to the greatest.
RF_DEVICE uint32_t ordered(float x) {
  if (x != x) return ~0u;
  const uint32_t bits = float_bits(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
RF_DEVICE float unordered(uint32_t key) { return bits_float(key & 0x80000000u ? key ^ 0x80000000u : ~key); }

// The random numbers of one draw, in [0, 1).
struct Uniforms {
  double draw;
  double xtc;  // whether XTC applies
};
// Philox4x32-10 (Salmon et al. 2011), number `counter` under the seed; or the number that the seed itself is (RF_GIVEN_DRAW of abi.h).
RF_DEVICE Uniforms uniforms(uint32_t seed_lo, uint32_t seed_hi, uint32_t counter) {
  if (counter == ~0u)
    return {double((uint64_t(seed_hi) << 32 | seed_lo) >> 11) * 0x1p-53, double((uint64_t(seed_lo) << 32 | seed_hi) >> 11) * 0x1p-53};
  uint32_t c0 = counter, c1 = 0, c2 = 0, c3 = 0, k0 = seed_lo, k1 = seed_hi;
  for (uint32_t round = 0; round < 10; round++) {
    const uint64_t a = uint64_t(0xD2511F53u) * c0, b = uint64_t(0xCD9E8D57u) * c2;
    c0 = uint32_t(b >> 32) ^ c1 ^ k0;
    c1 = uint32_t(b);
    c2 = uint32_t(a >> 32) ^ c3 ^ k1;
    c3 = uint32_t(a);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {double((uint64_t(c0) << 32 | c1) >> 11) * 0x1p-53, double((uint64_t(c2) << 32 | c3) >> 11) * 0x1p-53};
}
// The integer at fraction u (in [0, 1)) of `mass`, which is at least 1.
RF_DEVICE uint64_t point_into(double u, uint64_t mass) {
  const uint64_t at = uint64_t(u * double(mass));
  return at < mass ? at : mass - 1;
}

RF_DEVICE uint64_t double_bits(double x) {
  uint64_t bits;
  __builtin_memcpy(&bits, &x, 8);
  return bits;
}
RF_DEVICE double bits_double(uint64_t bits) {
  double x;
  __builtin_memcpy(&x, &bits, 8);
  return x;
}

// ln(x) for x ≥ 2^-1022: x = 2^e · m with m in [√½, √2), ln m = 2 artanh((m - 1) / (m + 1)).
RF_DEVICE double log_exact(double x) {
  const uint64_t bits = double_bits(x);
  int32_t e = int32_t(bits >> 52) - 1023;
  double m = bits_double((bits & 0xfffffffffffffull) | 0x3ff0000000000000ull);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    e++;
  }
  const double q = (m - 1) / (m + 1), square = q * q;
  double series = 0;
  for (int32_t i = 21; i > 0; i -= 2) series = series * square + 1.0 / double(i);
  return double(e) * 0.69314718055994531 + 2 * q * series;
}
// e^x; x beyond ±700 is taken as ±700, NaN as 700. e^x = 2^n · e^r with r in [-½ ln 2, ½ ln 2].
RF_DEVICE double exp_exact(double x) {
  x = x < -700 ? -700 : x < 700 ? x : 700;
  const int32_t n = int32_t(x * 1.4426950408889634 + (x < 0 ? -0.5 : 0.5));
  const double r = (x - double(n) * 0.69314718036912382) - double(n) * 1.9082149292705877e-10;
  double series = 1;
  for (int32_t i = 14; i > 0; i--) series = 1 + series * r * (1.0 / double(i));
  return series * bits_double(uint64_t(n + 1023) << 52);
}

}  // namespace rf
