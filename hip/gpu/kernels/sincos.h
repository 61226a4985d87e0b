// cos and sin in double precision without a math library.
#pragma once
#include "platform.h"

namespace rf {

struct CosSin {
  double cos, sin;
};

// Accurate to about 1e-11 for angles of up to 2^30 quarter turns. Cody and Waite 1980: the multiple of π/2 is subtracted in three
// parts, with fused multiply-adds, which round each difference only once. Then Taylor series on |r| ≤ π/4.
RF_DEVICE CosSin cos_sin(double angle) {
  constexpr double two_over_pi = 0x1.45f306dc9c883p-1;
  constexpr double pi2_high = 0x1.921fb54442d18p+0, pi2_mid = 0x1.1a62633145c07p-54, pi2_low = -0x1.f1976b7ed8fbcp-110;
  constexpr double to_integer = 6755399441055744.0;  // 1.5 · 2^52: adding it rounds to the nearest integer
  const double turns = (angle * two_over_pi + to_integer) - to_integer;
  double r = __builtin_fma(-turns, pi2_high, angle);
  r = __builtin_fma(-turns, pi2_mid, r);
  r = __builtin_fma(-turns, pi2_low, r);
  const double x = r * r;
  double s = -1.0 / 39916800;
  s = __builtin_fma(s, x, 1.0 / 362880);
  s = __builtin_fma(s, x, -1.0 / 5040);
  s = __builtin_fma(s, x, 1.0 / 120);
  s = __builtin_fma(s, x, -1.0 / 6);
  s = __builtin_fma(s * x, r, r);
  double c = 1.0 / 479001600;
  c = __builtin_fma(c, x, -1.0 / 3628800);
  c = __builtin_fma(c, x, 1.0 / 40320);
  c = __builtin_fma(c, x, -1.0 / 720);
  c = __builtin_fma(c, x, 1.0 / 24);
  c = __builtin_fma(c, x, -0.5);
  c = __builtin_fma(c, x, 1.0);
  const int32_t quarter = int32_t(turns);
  const double cos = quarter & 1 ? s : c, sin = quarter & 1 ? c : s;
  return {(quarter + 1) & 2 ? -cos : cos, quarter & 2 ? -sin : sin};
}

}  // namespace rf
