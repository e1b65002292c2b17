#pragma once

namespace darkroom::cpu {

// Elementary functions over a vector type V (simd_generic.h). The polynomials are fitted at
// Chebyshev nodes; errors are checked against float64 in simd_math_test.cc.

// 2^x, relative error below 5e-7. Exactly 0 below -126 (no denormals, and a masked score of minus
// infinity weighs nothing); at most 2^127.
template <class V>
inline typename V::Reg Exp2(typename V::Reg x) {
  const auto low = V::Broadcast(-126.0f);
  // The constants come first so that a NaN goes through.
  const auto clamped = V::Max(low, V::Min(V::Broadcast(127.0f), x));
  const auto n = V::Round(clamped);
  const auto f = V::Sub(clamped, n);
  auto p = V::Broadcast(1.54697322e-4f);
  p = V::Fma(p, f, V::Broadcast(1.34004327e-3f));
  p = V::Fma(p, f, V::Broadcast(9.61802527e-3f));
  p = V::Fma(p, f, V::Broadcast(5.55032715e-2f));
  p = V::Fma(p, f, V::Broadcast(2.40226507e-1f));
  p = V::Fma(p, f, V::Broadcast(6.93147182e-1f));
  p = V::Fma(p, f, V::Broadcast(1.0f));
  return V::SelectLess(x, low, V::Zero(), V::ScaleByPowerOf2(p, n));
}

inline constexpr float kLog2E = 1.44269504f;

// x / (1 + e^-x)
template <class V>
inline typename V::Reg Silu(typename V::Reg x) {
  const auto e = Exp2<V>(V::Mul(x, V::Broadcast(-kLog2E)));
  return V::Div(x, V::Add(V::Broadcast(1.0f), e));
}

// x / (1 + e^(-1.702 x))
template <class V>
inline typename V::Reg QuickGelu(typename V::Reg x) {
  const auto e = Exp2<V>(V::Mul(x, V::Broadcast(-1.702f * kLog2E)));
  return V::Div(x, V::Add(V::Broadcast(1.0f), e));
}

// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), written as x * sigmoid of twice the argument.
template <class V>
inline typename V::Reg GeluTanh(typename V::Reg x) {
  const auto cubic = V::Fma(V::Mul(x, x), V::Broadcast(0.044715f), V::Broadcast(1.0f));
  // -2 sqrt(2/pi) log2(e)
  const auto argument = V::Mul(V::Mul(x, cubic), V::Broadcast(-2.30220819f));
  return V::Div(x, V::Add(V::Broadcast(1.0f), Exp2<V>(argument)));
}

// x Phi(x). The complementary error function of z = |x|/sqrt(2) is t exp(P(t) - z^2) with
// t = 1/(1 + z/2): good to 1e-6 relative in the tail too, which 1 + erf(x) is not.
template <class V>
inline typename V::Reg Gelu(typename V::Reg x) {
  const auto one = V::Broadcast(1.0f);
  const auto magnitude = V::Max(x, V::Sub(V::Zero(), x));
  const auto z = V::Min(V::Mul(magnitude, V::Broadcast(0.707106781f)), V::Broadcast(9.4f));
  const auto t = V::Div(one, V::Fma(z, V::Broadcast(0.5f), one));
  // t covers [1/5.7, 1]; u is t stretched over [-1, 1].
  const auto u = V::Mul(V::Sub(t, V::Broadcast(0.587719298f)), V::Broadcast(2.42553191f));
  auto p = V::Broadcast(4.80238523e-05f);
  p = V::Fma(p, u, V::Broadcast(7.24440542e-05f));
  p = V::Fma(p, u, V::Broadcast(-0.00048649963f));
  p = V::Fma(p, u, V::Broadcast(-0.000250302663f));
  p = V::Fma(p, u, V::Broadcast(0.0034991682f));
  p = V::Fma(p, u, V::Broadcast(-0.000831847661f));
  p = V::Fma(p, u, V::Broadcast(-0.0285882428f));
  p = V::Fma(p, u, V::Broadcast(0.0145055857f));
  p = V::Fma(p, u, V::Broadcast(0.564622164f));
  p = V::Fma(p, u, V::Broadcast(-0.55259043f));
  const auto exponent = V::Mul(V::Sub(p, V::Mul(z, z)), V::Broadcast(kLog2E));
  const auto tail = V::Mul(V::Mul(t, Exp2<V>(exponent)), V::Broadcast(0.5f));
  return V::Mul(x, V::SelectLess(x, V::Zero(), tail, V::Sub(one, tail)));
}

}  // namespace darkroom::cpu
