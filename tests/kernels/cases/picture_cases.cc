#include <algorithm>
#include <cmath>

#include "kernels/cases/support.h"
#include "kernels/ops/conv2d/conv2d.h"
#include "kernels/ops/group_norm/group_norm.h"
#include "kernels/ops/picture/picture.h"

// The autoencoder's ops on pictures.
namespace darkroom::kernels::cases {
namespace {

constexpr DType kF32 = DType::kF32, kBf16 = DType::kBf16;

struct ConvProblem {
  const char* name;
  int32_t height, width, in, out, kernel, stride, pad;
  DType dtype, out_dtype;
  Conv2dKernel expected;
  bool residual = false;
  int32_t pad_after = -1;  // at the bottom and the right; -1: as before
};

struct Convolution {
  explicit Convolution(const ConvProblem& p)
      : x(Random(static_cast<size_t>(p.height * p.width * p.in), 81, p.dtype)),
        weight(Random(static_cast<size_t>(p.out * p.kernel * p.kernel * p.in), 82, p.dtype)),
        bias(Random(static_cast<size_t>(p.out), 83)) {
    const int32_t after = p.pad_after < 0 ? p.pad : p.pad_after;
    args.height = p.height;
    args.width = p.width;
    args.in_channels = p.in;
    args.out_height = (p.height + p.pad + after - p.kernel) / p.stride + 1;
    args.out_width = (p.width + p.pad + after - p.kernel) / p.stride + 1;
    args.out_channels = p.out;
    args.kernel = p.kernel;
    args.stride = p.stride;
    args.pad_top = args.pad_left = p.pad;
    args.x_dtype = args.weight_dtype = p.dtype;
    args.out_dtype = args.residual_dtype = p.out_dtype;
    outputs = static_cast<size_t>(args.out_height) * static_cast<size_t>(args.out_width) *
              static_cast<size_t>(p.out);
    if (p.residual) residual = Random(outputs, 84, p.out_dtype);
  }

  double Exact(int32_t row, int32_t column, int32_t channel) const {
    const Conv2dArgs& a = args;
    double sum = bias[static_cast<size_t>(channel)];
    for (int32_t tap = 0; tap < a.kernel * a.kernel; ++tap) {
      const int32_t y = row * a.stride - a.pad_top + tap / a.kernel;
      const int32_t x_at = column * a.stride - a.pad_left + tap % a.kernel;
      if (y < 0 || y >= a.height || x_at < 0 || x_at >= a.width) continue;
      for (int32_t c = 0; c < a.in_channels; ++c) {
        sum +=
            static_cast<double>(x[static_cast<size_t>((y * a.width + x_at) * a.in_channels + c)]) *
            weight[static_cast<size_t>((channel * a.kernel * a.kernel + tap) * a.in_channels + c)];
      }
    }
    return sum;
  }

  std::vector<float> x, weight, bias, residual;
  Conv2dArgs args;
  size_t outputs;
};

void ConvCase(const ConvProblem& p, Check& check) {
  Convolution conv(p);
  const DeviceFloats x(p.dtype, conv.x), weight(p.dtype, conv.weight), bias(kF32, conv.bias);
  // The residual is what is overwritten.
  const DeviceFloats out = p.residual ? DeviceFloats(p.out_dtype, conv.residual)
                                      : DeviceFloats(p.out_dtype, conv.outputs);
  conv.args.x = x.data();
  conv.args.weight = weight.data();
  conv.args.bias = bias.f32();
  conv.args.out = out.data();
  if (p.residual) conv.args.residual = out.data();
  check.That(ChooseConv2dKernel(conv.args) == p.expected, "another kernel was chosen");
  check.Ok(Conv2d(conv.args, nullptr));
  std::vector<double> want;
  for (int32_t row = 0; row < conv.args.out_height; ++row) {
    for (int32_t column = 0; column < conv.args.out_width; ++column) {
      for (int32_t channel = 0; channel < p.out; ++channel) {
        const size_t index = want.size();
        want.push_back(conv.Exact(row, column, channel) +
                       (p.residual ? conv.residual[index] : 0.0f));
      }
    }
  }
  check.Near("out", out.Read(), want, BoundOf(p.out_dtype));
}

void GroupNormCase(int64_t pixels, int32_t channels, int32_t groups, DType dtype, bool silu,
                   Check& check) {
  const auto count = static_cast<size_t>(pixels * channels);
  // A mean far from zero is what a sum of squares would lose.
  const auto x = Random(count, 91, dtype, 1.0f, 30.0f);
  const auto gamma = Random(static_cast<size_t>(channels), 92);
  const auto beta = Random(static_cast<size_t>(channels), 93);
  const DeviceFloats device_x(dtype, x), device_gamma(kF32, gamma), device_beta(kF32, beta);
  const DeviceFloats out(kF32, count);
  GroupNormArgs args;
  args.pixels = pixels;
  args.channels = channels;
  args.groups = groups;
  args.silu = silu;
  args.x = device_x.data();
  args.x_dtype = dtype;
  args.gamma = device_gamma.f32();
  args.beta = device_beta.f32();
  args.out = out.data();
  const DeviceBytes scratch(GroupNormScratchBytes(args));
  args.scratch = static_cast<float*>(scratch.data());
  check.Ok(GroupNorm(args, nullptr));
  std::vector<double> want(count);
  const int32_t width = channels / groups;
  for (int32_t group = 0; group < groups; ++group) {
    const auto each = [&](auto&& visit) {
      for (int64_t pixel = 0; pixel < pixels; ++pixel) {
        for (int32_t c = group * width; c < (group + 1) * width; ++c) {
          visit(static_cast<size_t>(pixel * channels + c), static_cast<size_t>(c));
        }
      }
    };
    double sum = 0, squares = 0;
    const double n = static_cast<double>(pixels) * width;
    each([&](size_t i, size_t) { sum += x[i]; });
    each([&](size_t i, size_t) { squares += (x[i] - sum / n) * (x[i] - sum / n); });
    each([&](size_t i, size_t c) {
      const double value =
          (x[i] - sum / n) / std::sqrt(squares / n + args.epsilon) * gamma[c] + beta[c];
      want[i] = silu ? value / (1 + std::exp(-value)) : value;
    });
  }
  check.Near("out", out.Read(), want, 2e-5);
}

void UpsampleCase(int32_t channels, DType dtype, Check& check) {
  const PictureShape shape{3, 5, channels};
  const auto x = Random(static_cast<size_t>(15 * channels), 95, dtype);
  const DeviceFloats device(dtype, x), out(dtype, x.size() * 4);
  check.Ok(Upsample2x(shape, device.data(), out.data(), dtype, nullptr));
  std::vector<float> want;
  for (int32_t row = 0; row < 6; ++row) {
    for (int32_t column = 0; column < 10; ++column) {
      const auto from = x.begin() + (row / 2 * 5 + column / 2) * channels;
      want.insert(want.end(), from, from + channels);
    }
  }
  check.Same("out", out.Read(), want);
}

void PixelsCase(Check& check) {
  // The middle of the range, where halves are rounded to even, and what lies outside of it.
  std::vector<float> x = {-1.0f, 1.0f, 0.0f, -7.0f, 9.0f, NAN, INFINITY, -INFINITY};
  for (int i = 0; i < 600; ++i) x.push_back(static_cast<float>(i - 300) / 255.0f);
  const DeviceFloats device(kF32, x);
  const DeviceBytes out(x.size());
  check.Ok(ToPixels(device.data(), kF32, static_cast<int64_t>(x.size()),
                    static_cast<uint8_t*>(out.data()), nullptr));
  std::vector<uint8_t> bytes(x.size());
  cudaMemcpy(bytes.data(), out.data(), bytes.size(), cudaMemcpyDeviceToHost);
  for (size_t i = 0; i < x.size(); ++i) {
    const float middle = x[i] / 2.0f + 0.5f;
    const float clamped = middle > 0.0f ? std::min(middle, 1.0f) : 0.0f;
    const auto want = static_cast<uint8_t>(std::nearbyint(clamped * 255.0f));
    check.That(bytes[i] == want, "pixel " + std::to_string(i) + " is " + std::to_string(bytes[i]) +
                                     ", not " + std::to_string(want));
  }
}

}  // namespace

std::vector<Case> PictureCases(Extent extent) {
  constexpr auto kSimt = Conv2dKernel::kSimt, kSm80 = Conv2dKernel::kSm80;
  std::vector<ConvProblem> problems = {
      {"simt f32 3x3", 5, 7, 6, 70, 3, 1, 1, kF32, kF32, kSimt, true},
      {"simt f32 1x1", 9, 8, 20, 3, 1, 1, 0, kF32, kF32, kSimt},
      {"simt bf16 3 channels", 6, 5, 3, 9, 3, 1, 1, kBf16, kBf16, kSimt},
      {"simt f32 5x5 stride 3", 11, 8, 4, 5, 5, 3, 2, kF32, kF32, kSimt},
      {"sm80 3x3", 9, 17, 24, 131, 3, 1, 1, kBf16, kBf16, kSm80, true},
      {"sm80 3x3 down", 10, 8, 16, 8, 3, 2, 0, kBf16, kF32, kSm80, false, 1},
      {"sm80 1x1", 3, 50, 72, 10, 1, 1, 0, kBf16, kF32, kSm80}};
  if (extent == Extent::kFull) {
    problems.push_back({"sm80 wide", 96, 129, 512, 520, 3, 1, 1, kBf16, kF32, kSm80, true});
    problems.push_back({"simt wide", 65, 64, 256, 128, 3, 1, 1, kF32, kF32, kSimt, true});
  }
  std::vector<Case> cases;
  for (const ConvProblem& p : problems) {
    cases.push_back({std::string("conv2d/") + p.name, [p](Check& check) { ConvCase(p, check); }});
  }
  cases.push_back({"group_norm/f32", [](Check& c) { GroupNormCase(300, 12, 4, kF32, false, c); }});
  cases.push_back(
      {"group_norm/bf16 silu", [](Check& c) { GroupNormCase(77, 160, 32, kBf16, true, c); }});
  cases.push_back({"group_norm/one", [](Check& c) { GroupNormCase(1, 6, 1, kF32, true, c); }});
  if (extent == Extent::kFull) {
    cases.push_back(
        {"group_norm/large", [](Check& c) { GroupNormCase(256 * 260, 128, 32, kF32, true, c); }});
  }
  cases.push_back({"picture/upsample f32", [](Check& c) { UpsampleCase(8, kF32, c); }});
  cases.push_back({"picture/upsample bf16 odd", [](Check& c) { UpsampleCase(3, kBf16, c); }});
  cases.push_back({"picture/upsample f32 odd", [](Check& c) { UpsampleCase(3, kF32, c); }});
  cases.push_back({"picture/pixels", PixelsCase});
  return cases;
}

}  // namespace darkroom::kernels::cases
