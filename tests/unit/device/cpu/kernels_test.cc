#include "device/cpu/kernels.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "device/cpu/gemm_layout.h"
#include "gtest/gtest.h"

namespace darkroom::cpu {
namespace {

// Every level that this machine (as capped) can run.
std::vector<SimdLevel> Levels() {
  std::vector<SimdLevel> levels = {SimdLevel::kGeneric};
  if (DetectIsa().simd != SimdLevel::kGeneric) levels.push_back(SimdLevel::kAvx2);
  if (DetectIsa().simd >= SimdLevel::kAvx512) levels.push_back(SimdLevel::kAvx512);
  return levels;
}

using EpilogueKernel = void (*)(const EpilogueRow&);

// The largest relative error of an activation against float64 over [-span, span].
template <typename Reference>
double WorstError(EpilogueKernel kernel, float span, double floor, Reference reference) {
  constexpr int kCount = 20000;
  std::vector<float> x(RoundUp(kCount, 16));
  const std::vector<float> bias(x.size(), 0.0f);
  std::vector<float> y(kCount);
  for (int i = 0; i < kCount; ++i) x[i] = span * (2.0f * i / (kCount - 1) - 1.0f);
  EpilogueRow row{};
  row.sums = x.data();
  row.bias = bias.data();
  row.out = y.data();
  row.n = kCount;
  kernel(row);
  double worst = 0.0;
  for (int i = 0; i < kCount; ++i) {
    const double expected = reference(static_cast<double>(x[i]));
    if (std::abs(expected) < floor) continue;
    worst = std::max(worst, std::abs(y[i] - expected) / std::abs(expected));
  }
  return worst;
}

TEST(KernelsTest, ActivationsAreAccurateInTheirTails) {
  for (const SimdLevel level : Levels()) {
    const Kernels& kernels = KernelsFor(level);
    // The argument's rounding grows with it: 2^-24 of 80 is 5e-6.
    EXPECT_LT(WorstError(kernels.epilogue_silu, 80.0f, 1e-30,
                         [](double x) { return x / (1.0 + std::exp(-x)); }),
              1e-5);
    EXPECT_LT(WorstError(kernels.epilogue_silu, 5.0f, 1e-30,
                         [](double x) { return x / (1.0 + std::exp(-x)); }),
              1e-6);
    EXPECT_LT(WorstError(kernels.epilogue_gelu, 12.0f, 1e-10,
                         [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }),
              1e-5);
    EXPECT_LT(WorstError(kernels.epilogue_gelu, 3.0f, 1e-30,
                         [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }),
              2e-6);
    // x / (1 + e^-2u) is tanh's form without its cancellation.
    EXPECT_LT(WorstError(kernels.epilogue_gelu_tanh, 6.0f, 1e-30,
                         [](double x) {
                           const double u = std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x);
                           return x / (1.0 + std::exp(-2.0 * u));
                         }),
              1e-5);
  }
}

TEST(KernelsTest, ActivationsPassNaNAndInfinity) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const SimdLevel level : Levels()) {
    const Kernels& kernels = KernelsFor(level);
    for (const EpilogueKernel kernel : {kernels.epilogue, kernels.epilogue_silu,
                                        kernels.epilogue_gelu, kernels.epilogue_gelu_tanh}) {
      std::vector<float> x(16, 1.0f);
      x[0] = NAN;
      x[1] = kInfinity;
      x[2] = 3e38f;
      const std::vector<float> bias(16, 0.0f);
      std::vector<float> y(3);
      EpilogueRow row{};
      row.sums = x.data();
      row.bias = bias.data();
      row.out = y.data();
      row.n = 3;
      kernel(row);
      EXPECT_TRUE(std::isnan(y[0]));
      EXPECT_EQ(y[1], kInfinity);
      EXPECT_EQ(y[2], 3e38f);
    }
  }
}

TEST(KernelsTest, NarrowingRoundsToNearestEven) {
  const auto bits = [](uint32_t value) {
    float f;
    std::memcpy(&f, &value, sizeof(f));
    return f;
  };
  const std::vector<float> from = {
      1.0f,
      bits(0x3f808000),  // halfway, to even: down
      bits(0x3f818000),  // halfway, to even: up
      bits(0x3f808001),  // above halfway
      bits(0x7f7fffff),  // overflows to infinity
      bits(0xff800000),  // minus infinity
      bits(0x7f800001),  // a NaN whose top bits alone would be infinity
      bits(0x80000000),  // minus zero
      bits(0x00018000),  // denormal, halfway
  };
  const std::vector<uint16_t> expected = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0x7f80,
                                          0xff80, 0x7fc0, 0x8000, 0x0002};
  for (const SimdLevel level : Levels()) {
    // Whole vectors and their rest.
    for (int repeat : {1, 5}) {
      std::vector<float> many;
      std::vector<uint16_t> many_expected;
      for (int i = 0; i < repeat; ++i) {
        many.insert(many.end(), from.begin(), from.end());
        many_expected.insert(many_expected.end(), expected.begin(), expected.end());
      }
      std::vector<uint16_t> to(many.size() + 1, 0xabcd);
      many_expected.push_back(0xabcd);
      KernelsFor(level).convert_row(many.data(), DType::kF32, to.data(), DType::kBf16,
                                    static_cast<int64_t>(many.size()));
      EXPECT_EQ(to, many_expected);
    }
  }
}

// AVX2 and AVX-512 products are the same chain of fused multiply-adds.
TEST(KernelsTest, EveryFusedLevelGivesTheSameProduct) {
  const auto levels = Levels();
  if (levels.size() < 3) GTEST_SKIP() << "this machine has one fused level";
  constexpr int kRows = 50;
  constexpr int64_t kDepth = 300;
  constexpr int64_t kColumns = 64;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> a(RowBlockFloats(kDepth));
  for (float& value : a) value = normal(random);
  std::vector<float> weight(kColumns * kDepth);
  for (float& value : weight) value = normal(random);
  std::vector<std::vector<float>> results;
  for (const SimdLevel level : {SimdLevel::kAvx2, SimdLevel::kAvx512}) {
    const Kernels& kernels = KernelsFor(level);
    const int64_t width = kernels.panel_width;
    std::vector<float> panels(kColumns * kDepth);
    for (int64_t c = 0; c < kColumns; ++c) {
      for (int64_t k = 0; k < kDepth; ++k) {
        panels[PanelOffset(k, c, kDepth, kColumns, width)] = weight[c * kDepth + k];
      }
    }
    std::vector<float> sums(kRows * kColumns);
    kernels.gemm_tile(a.data(), kRows, kDepth, panels.data(), kColumns / width, sums.data(),
                      kColumns);
    results.push_back(sums);
  }
  EXPECT_EQ(results[0], results[1]);
}

}  // namespace
}  // namespace darkroom::cpu
