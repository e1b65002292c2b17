#include "model/noise.h"

#include <bit>
#include <cmath>
#include <random>

namespace darkroom {
namespace {

// PyTorch draws 16 uniforms at a time and turns them into 16 normals with Box-Muller, the pair of
// element j being element j + 8. Its logarithm, sine and cosine are Cephes' single-precision ones
// (Moshier, "Methods and Programs for Mathematical Functions"), vectorised, where the compiler
// fused some of the multiplications and additions. The fused ones are written as std::fma below,
// which rounds once with or without hardware for it; all others must not be fused, for which this
// layer is compiled with -ffp-contract=off.
constexpr size_t kGroup = 16;
constexpr size_t kHalfGroup = kGroup / 2;

// Natural logarithm of x in (0, 1].
float Log(float x) {
  constexpr float kSqrtHalf = 0.707106781186547524f;
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kCoefficients[] = {7.0376836292E-2f,  -1.1514610310E-1f, 1.1676998740E-1f,
                                     -1.2420140846E-1f, 1.4249322787E-1f,  -1.6668057665E-1f,
                                     2.0000714765E-1f,  -2.4999993993E-1f, 3.3333331174E-1f};
  // x = mantissa * 2^exponent with the mantissa in [sqrt(1/2), sqrt(2)).
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  float exponent = static_cast<float>(static_cast<int>(bits >> 23) - 126);
  float mantissa = std::bit_cast<float>((bits & 0x007FFFFFu) | 0x3F000000u);
  if (mantissa < kSqrtHalf) {
    exponent -= 1.0f;
    mantissa += mantissa - 1.0f;
  } else {
    mantissa -= 1.0f;
  }
  const float square = mantissa * mantissa;
  float y = kCoefficients[0];
  for (size_t i = 1; i < std::size(kCoefficients); ++i) {
    y = std::fma(y, mantissa, kCoefficients[i]);
  }
  y = y * mantissa;
  y = std::fma(y, square, exponent * kLn2Low);
  y = std::fma(-square, 0.5f, y);
  return std::fma(exponent, kLn2High, mantissa + y);
}

struct SineCosine {
  float sine;
  float cosine;
};

// For x in [0, 2 pi).
SineCosine SinCos(float x) {
  constexpr float kFourOverPi = 1.27323954473516f;
  // The octant, rounded up to even, and the distance from it.
  const int octant = (static_cast<int>(x * kFourOverPi) + 1) & ~1;
  const auto multiple = static_cast<float>(octant);
  x = std::fma(multiple, -0.78515625f, x);
  x = std::fma(multiple, -2.4187564849853515625e-4f, x);
  x = std::fma(multiple, -3.77489497744594108e-8f, x);
  const float square = x * x;

  float even = 2.443315711809948E-005f;
  even = std::fma(even, square, -1.388731625493765E-003f);
  even = std::fma(even, square, 4.166664568298827E-002f);
  even = std::fma(even * square, square, -(square * 0.5f)) + 1.0f;

  float odd = -1.9515295891E-4f;
  odd = std::fma(odd, square, 8.3321608736E-3f);
  odd = std::fma(odd, square, -1.6666654611E-1f);
  odd = std::fma(odd * square, x, x);

  const bool swapped = (octant & 2) != 0;
  const float sine = swapped ? even : odd;
  const float cosine = swapped ? odd : even;
  return {.sine = (octant & 4) != 0 ? -sine : sine,
          .cosine = ((octant + 2) & 4) != 0 ? -cosine : cosine};
}

// 16 uniforms in [0, 1) to 16 normals, in place.
void BoxMuller(float* group) {
  constexpr float kTwoPi = 6.283185307179586f;
  for (size_t i = 0; i < kHalfGroup; ++i) {
    const float radius = std::sqrt(-2.0f * Log(1.0f - group[i]));
    const auto [sine, cosine] = SinCos(kTwoPi * group[i + kHalfGroup]);
    // PyTorch scales by 1 and adds 0 here, which turns -0 into 0.
    group[i] = radius * cosine + 0.0f;
    group[i + kHalfGroup] = radius * sine + 0.0f;
  }
}

void FillUniform(std::mt19937& generator, absl::Span<float> out) {
  for (float& value : out) value = static_cast<float>(generator() & 0xFFFFFFu) * 0x1p-24f;
}

// Fewer than 16: one pair at a time, in double precision.
void FillPairs(std::mt19937& generator, absl::Span<float> out) {
  const auto uniform = [&generator] {
    const uint64_t high = generator();
    const uint64_t low = generator();
    return static_cast<double>(((high << 32) | low) & ((uint64_t{1} << 53) - 1)) * 0x1p-53;
  };
  for (size_t i = 0; i < out.size(); i += 2) {
    const double theta = 2.0 * 3.14159265358979323846 * uniform();
    const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
    out[i] = static_cast<float>(radius * std::cos(theta));
    if (i + 1 < out.size()) out[i + 1] = static_cast<float>(radius * std::sin(theta));
  }
}

float RoundToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  // To nearest, ties to even. Noise is never NaN.
  return std::bit_cast<float>((bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u);
}

}  // namespace

void NoiseGenerator::Fill(absl::Span<float> out) {
  if (out.size() < kGroup) {
    FillPairs(generator_, out);
    return;
  }
  FillUniform(generator_, out);
  const size_t whole = out.size() / kGroup * kGroup;
  for (size_t i = 0; i < whole; i += kGroup) BoxMuller(out.data() + i);
  if (whole < out.size()) {
    // The rest is drawn anew together with as many before it as make 16.
    const absl::Span<float> last = out.last(kGroup);
    FillUniform(generator_, last);
    BoxMuller(last.data());
  }
}

// PyTorch fills buffers of float32 and rounds them; where 16 does not divide the size, the rest was
// never drawn before its group of 16.
void NoiseGenerator::FillBf16(absl::Span<float> out) {
  const size_t whole = out.size() / kGroup * kGroup;
  FillUniform(generator_, out.first(whole));
  for (size_t i = 0; i < whole; i += kGroup) BoxMuller(out.data() + i);
  if (whole < out.size()) {
    const absl::Span<float> last = out.last(kGroup);
    FillUniform(generator_, last);
    BoxMuller(last.data());
  }
  for (float& value : out) value = RoundToBf16(value);
}

}  // namespace darkroom
