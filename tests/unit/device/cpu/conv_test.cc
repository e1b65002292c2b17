#include <cmath>

#include "gmock/gmock.h"
#include "unit/device/cpu/ops_fixture.h"

namespace darkroom {
namespace {

class ConvTest : public OpsTest {
 protected:
  struct Case {
    int64_t height = 9;
    int64_t width = 11;
    int64_t in = 16;
    int64_t out = 24;
    int64_t kernel = 3;
    int stride = 1;
    ConvPadding padding = ConvPadding::All(1);
    DType compute = DType::kF32;
    DType dtype = DType::kF32;
    bool residual = false;
  };

  struct Operands {
    Operands(std::mt19937& random, const Case& c)
        : out_height((c.height + c.padding.top + c.padding.bottom - c.kernel) / c.stride + 1),
          out_width((c.width + c.padding.left + c.padding.right - c.kernel) / c.stride + 1),
          x(c.dtype, {c.height, c.width, c.in}),
          weight(c.compute, {c.out, c.in, c.kernel, c.kernel}),
          bias(DType::kF32, {c.out}),
          residual(c.dtype, {out_height, out_width, c.out}),
          out(c.dtype, {out_height, out_width, c.out}) {
      x.Fill(random);
      weight.Fill(random, 1.0f / std::sqrt(static_cast<float>(c.in * c.kernel * c.kernel)));
      bias.Fill(random);
      residual.Fill(random);
    }
    int64_t out_height;
    int64_t out_width;
    OwnedTensor x, weight, bias, residual, out;
  };

  double Error(const Case& c) {
    const Operands t(random_, c);
    auto packed = ops().PackConv(*t.weight, *t.bias, c.stride, c.padding, c.compute);
    EXPECT_TRUE(packed.ok()) << packed.status();
    Conv2dArgs args{.x = *t.x, .weight = packed->get(), .out = *t.out};
    if (c.residual) args.residual = *t.residual;
    const absl::Status status = ops().Conv2d(args, *stream_);
    EXPECT_TRUE(status.ok()) << status;
    RelativeError error;
    for (int64_t y = 0; y < t.out_height; ++y) {
      for (int64_t x = 0; x < t.out_width; ++x) {
        for (int64_t o = 0; o < c.out; ++o) {
          const int64_t at = (y * t.out_width + x) * c.out + o;
          double sum = t.bias.Get(o) + (c.residual ? t.residual.Get(at) : 0.0);
          for (int64_t ky = 0; ky < c.kernel; ++ky) {
            for (int64_t kx = 0; kx < c.kernel; ++kx) {
              const int64_t sy = y * c.stride + ky - c.padding.top;
              const int64_t sx = x * c.stride + kx - c.padding.left;
              if (sy < 0 || sy >= c.height || sx < 0 || sx >= c.width) continue;
              for (int64_t i = 0; i < c.in; ++i) {
                const float value = t.x.Get((sy * c.width + sx) * c.in + i);
                sum += static_cast<double>(c.compute == DType::kBf16 ? Bf16Round(value) : value) *
                       t.weight.Get(((o * c.in + i) * c.kernel + ky) * c.kernel + kx);
              }
            }
          }
          error.Add(t.out.Get(at), sum);
        }
      }
    }
    return error.value();
  }
};

TEST_F(ConvTest, MatchesFloat64) {
  for (const DType compute : ComputeTypes()) {
    EXPECT_LT(Error({.compute = compute}), 2e-6);
    EXPECT_LT(Error({.compute = compute, .residual = true}), 2e-6);
    EXPECT_LT(Error({.kernel = 1, .padding = {}, .compute = compute}), 2e-6);
    EXPECT_LT(Error({.stride = 2, .compute = compute}), 2e-6);
    EXPECT_LT(Error({.kernel = 1, .stride = 2, .padding = {}, .compute = compute}), 2e-6);
    EXPECT_LT(Error({.height = 1, .width = 1, .compute = compute}), 2e-6);
    EXPECT_LT(Error({.height = 2, .width = 40, .in = 3, .out = 5, .compute = compute}), 2e-6);
    EXPECT_LT(Error({.kernel = 5, .padding = ConvPadding::All(3), .compute = compute}), 2e-6);
    // The autoencoder's encoder pads below and to the right alone.
    for (const int64_t size : {8, 9}) {
      EXPECT_LT(Error({.height = size,
                       .width = size + 1,
                       .stride = 2,
                       .padding = {.bottom = 1, .right = 1},
                       .compute = compute}),
                2e-6);
    }
    EXPECT_LT(Error({.kernel = 4, .padding = {3, 0, 1, 2}, .compute = compute}), 2e-6);
    // More columns than one block of depth, and a patch wider than the image.
    EXPECT_LT(Error({.height = 4, .width = 4, .in = 70, .out = 300, .compute = compute}), 2e-6);
    EXPECT_LT(Error({.height = 2,
                     .width = 2,
                     .kernel = 7,
                     .padding = ConvPadding::All(6),
                     .compute = compute}),
              2e-6);
  }
}

TEST_F(ConvTest, ReadsAndWritesBf16) {
  for (const DType compute : ComputeTypes()) {
    EXPECT_LT(Error({.compute = compute, .dtype = DType::kBf16, .residual = true}), 2.5e-3);
  }
}

TEST_F(ConvTest, BitsDoNotDependOnThreads) {
  for (const DType compute : ComputeTypes()) {
    const Case c{.height = 37, .width = 41, .in = 33, .out = 70, .compute = compute};
    const Operands t(random_, c);
    std::vector<uint8_t> expected;
    for (const int threads : {1, 2, 3}) {
      auto packed = OpsWith(threads).PackConv(*t.weight, *t.bias, 1, ConvPadding::All(1), compute);
      ASSERT_TRUE(packed.ok());
      const Conv2dArgs args{.x = *t.x, .weight = packed->get(), .out = *t.out};
      ASSERT_TRUE(OpsWith(threads).Conv2d(args, *stream_).ok());
      if (expected.empty()) expected = t.out.Rows(0, t.out_height);
      EXPECT_EQ(t.out.Rows(0, t.out_height), expected);
    }
  }
}

TEST_F(ConvTest, RefusesWhatDoesNotFit) {
  const Operands t(random_, {});
  auto packed = ops().PackConv(*t.weight, *t.bias, 2, ConvPadding::All(1), DType::kF32);
  ASSERT_TRUE(packed.ok());
  Conv2dArgs args{.x = *t.x, .weight = packed->get(), .out = *t.out};
  EXPECT_EQ(ops().Conv2d(args, *stream_).message(),
            "Conv2d: out is [9, 11, 24], must be [5, 6, 24]");
  args.x = *t.out;
  EXPECT_EQ(ops().Conv2d(args, *stream_).message(), "Conv2d: x has 24 channels, weight takes 16");
  args.weight = nullptr;
  EXPECT_EQ(ops().Conv2d(args, *stream_).message(), "Conv2d: weight is missing");
  EXPECT_FALSE(ops().PackConv(*t.weight, *t.bias, 0, ConvPadding::All(1), DType::kF32).ok());
  EXPECT_FALSE(ops().PackConv(*t.weight, *t.bias, 1, ConvPadding{0, -1, 0, 0}, DType::kF32).ok());
  auto unpadded = ops().PackConv(*t.weight, *t.bias, 1, ConvPadding(), DType::kF32);
  ASSERT_TRUE(unpadded.ok());
  OwnedTensor small(DType::kF32, {2, 2, 16});
  args.weight = unpadded->get();
  args.x = *small;
  EXPECT_EQ(ops().Conv2d(args, *stream_).message(), "Conv2d: x is smaller than the kernel");
}

}  // namespace
}  // namespace darkroom
