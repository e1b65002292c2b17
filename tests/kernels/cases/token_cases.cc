#include <cmath>

#include "kernels/cases/support.h"
#include "kernels/ops/gather_rows/gather_rows.h"
#include "kernels/ops/patchify/patchify.h"
#include "kernels/ops/pointwise/pointwise.h"
#include "kernels/ops/qk_norm_rope/qk_norm_rope.h"
#include "kernels/ops/timestep_embedding/timestep_embedding.h"

namespace darkroom::kernels::cases {
namespace {

std::vector<double> Exactly(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

void QkNormRopeCase(DType dtype, int32_t heads, int32_t head_dim, bool normalised, bool turned,
                    Check& check) {
  const Batch batch({{2, 3}, {0, 4}}, 1, 2);
  const int64_t stride = 3 * heads * head_dim + 5;
  const auto rows = static_cast<size_t>(batch.capacity());
  const auto before = Random(rows * static_cast<size_t>(stride), 31, dtype);
  const auto half = static_cast<size_t>(head_dim / 2);
  const auto cos = Random(rows * half, 32), sin = Random(rows * half, 33);
  const auto q_weight = Random(static_cast<size_t>(head_dim), 34);
  const DeviceFloats qkv(dtype, before), device_cos(DType::kF32, cos), device_sin(DType::kF32, sin);
  const DeviceFloats device_weight(DType::kF32, q_weight);
  QkNormRopeArgs args;
  args.batch = batch.device();
  args.qkv = qkv.data();
  args.dtype = dtype;
  args.heads = heads;
  args.head_dim = head_dim;
  args.row_stride = stride;
  if (normalised) args.q_weight = device_weight.f32();  // and k as it is
  if (turned) args.cos = device_cos.f32();
  if (turned) args.sin = device_sin.f32();
  check.Ok(QkNormRope(args, nullptr));

  std::vector<double> want(before.begin(), before.end());
  for (int64_t row = 0; row < batch.live_rows(); ++row) {
    for (int64_t head = 0; head < 2 * heads; ++head) {
      double* x = &want[static_cast<size_t>(row * stride + head * head_dim)];
      double squares = 0;
      for (int i = 0; i < head_dim; ++i) squares += x[i] * x[i];
      const double inverse = 1 / std::sqrt(squares / head_dim + 1e-6f);
      for (int i = 0; normalised && head < heads && i < head_dim; ++i) {
        x[i] *= inverse * q_weight[static_cast<size_t>(i)];
      }
      for (int i = 0; turned && i < head_dim; i += 2) {
        const size_t angle = static_cast<size_t>(row) * half + static_cast<size_t>(i / 2);
        const double first = x[i];
        x[i] = first * cos[angle] - x[i + 1] * sin[angle];
        x[i + 1] = x[i + 1] * cos[angle] + first * sin[angle];
      }
    }
  }
  check.Near("qkv", qkv.Read(), want, BoundOf(dtype));
}

void PatchifyCase(DType dtype, int32_t patch, Check& check) {
  const Batch batch({{0, 6}, {0, 2}}, 0, 3);
  const int32_t channels = 3;
  const std::vector<std::pair<int32_t, int32_t>> sizes = {{2 * patch, 3 * patch},
                                                          {patch, 2 * patch}};
  std::vector<std::vector<float>> latents;
  std::vector<DeviceFloats> device;
  std::vector<LatentView> views;
  for (const auto& [height, width] : sizes) {
    latents.push_back(Random(static_cast<size_t>(channels * height * width), 41 + height, dtype));
    device.emplace_back(DType::kF32, latents.back());
    views.push_back({device.back().f32(), channels, height, width, 0});
  }
  const DeviceTable<LatentView> table(views);
  const int32_t features = channels * patch * patch;
  const DeviceFloats tokens(dtype, static_cast<size_t>(batch.capacity() * features));
  check.Ok(
      Patchify({batch.device(), table.data(), patch, channels, tokens.data(), dtype}, nullptr));
  std::vector<double> want;
  for (size_t s = 0; s < sizes.size(); ++s) {
    const auto [height, width] = sizes[s];
    for (int32_t top = 0; top < height; top += patch) {
      for (int32_t left = 0; left < width; left += patch) {
        for (int32_t f = 0; f < features; ++f) {
          const int32_t y = top + f / patch % patch;
          want.push_back(latents[s][static_cast<size_t>((f / patch / patch * height + y) * width +
                                                        left + f % patch)]);
        }
      }
    }
  }
  auto got = tokens.Read();
  check.That(std::isnan(got[want.size()]), "a padding row was written");
  got.resize(want.size());
  check.Near("tokens", got, want, 0.0);
}

void GatherRowsCase(Check& check) {
  const Batch batch({{4, 3}, {2, 0}, {0, 40}}, 2, 3);
  const int64_t dim = 37;
  const auto first = Random(3 * 37, 51), third = Random(40 * 37, 52);
  const DeviceFloats a(DType::kF32, first), c(DType::kF32, third);
  const DeviceTable<const float*> sources({a.f32(), nullptr, c.f32()});
  const DeviceFloats out(DType::kF32, static_cast<size_t>(batch.capacity() * dim));
  check.Ok(GatherRows({batch.device(), sources.data(), dim, out.f32()}, nullptr));
  const auto all = out.Read();
  const size_t begin = 8 * 37, end = begin + 43 * 37;  // six prefix rows and a gap of two
  for (size_t i = 0; i < all.size(); ++i) {
    if (i < begin || i >= end) check.That(std::isnan(all[i]), "a row outside was written");
  }
  auto want = first;
  want.insert(want.end(), third.begin(), third.end());
  check.Same("rows", {all.begin() + begin, all.begin() + end}, want);
}

void TimestepCase(Check& check) {
  const Batch batch({{0, 1}, {0, 1}, {0, 1}});
  const std::vector<float> timesteps = {0.0f, 999.0f, 431.25f, 0, 0, 0};
  const DeviceFloats device(DType::kF32, timesteps);
  const int64_t dim = 20;
  const DeviceFloats out(DType::kF32, 6 * 20);
  check.Ok(TimestepEmbedding({batch.device(), device.f32(), 1.0f, false, 10000.0f, dim, out.f32()},
                             nullptr));
  std::vector<double> want;
  for (int s = 0; s < 3; ++s) {
    for (int i = 0; i < dim; ++i) {
      const float exponent =
          static_cast<float>(-std::log(10000.0)) * static_cast<float>(i % 10) / (10.0f - 1.0f);
      const double angle =
          static_cast<double>(timesteps[static_cast<size_t>(s)] *
                              static_cast<float>(std::exp(static_cast<double>(exponent))));
      want.push_back(i < 10 ? std::sin(angle) : std::cos(angle));
    }
  }
  auto got = out.Read();
  check.That(std::isnan(got[want.size()]), "a row beyond the live ones was written");
  got.resize(want.size());
  check.Near("embedding", got, want, 1e-6);
}

void PointwiseCase(Check& check) {
  constexpr DType kF32 = DType::kF32, kBf16 = DType::kBf16;
  const auto x = Random(1003 * 6, 61), y = Random(1003 * 2, 62, kBf16);
  const int64_t count = static_cast<int64_t>(x.size());
  const DeviceFloats device_x(kF32, x), device_y(kBf16, y);
  const DeviceFloats sum(kF32, x.size()), silu(kBf16, x.size()), converted(kBf16, x.size());
  const DenseTensor of_x{device_x.data(), kF32, count};
  check.Ok(Add(of_x, {device_y.data(), kBf16, count / 3}, {sum.data(), kF32, count}, nullptr));
  check.Ok(Silu(of_x, {silu.data(), kBf16, count}, nullptr));
  check.Ok(Convert(of_x, {converted.data(), kBf16, count}, nullptr));
  std::vector<double> sums, silus;
  for (size_t i = 0; i < x.size(); ++i) {
    sums.push_back(static_cast<double>(x[i]) + y[i % y.size()]);
    silus.push_back(x[i] / (1 + std::exp(-static_cast<double>(x[i]))));
  }
  check.Near("add", sum.Read(), sums, BoundOf(kF32));
  check.Near("silu", silu.Read(), silus, BoundOf(kBf16));
  check.Near("convert", converted.Read(), Exactly(Random(x.size(), 61, kBf16)), 0.0);
}

}  // namespace

std::vector<Case> TokenCases(Extent) {
  constexpr DType kF32 = DType::kF32, kBf16 = DType::kBf16;
  return {
      {"qk_norm_rope/f32 hd128", [](Check& c) { QkNormRopeCase(kF32, 3, 128, true, true, c); }},
      {"qk_norm_rope/bf16 hd64", [](Check& c) { QkNormRopeCase(kBf16, 2, 64, true, true, c); }},
      {"qk_norm_rope/f32 hd6 turned", [](Check& c) { QkNormRopeCase(kF32, 5, 6, false, true, c); }},
      {"qk_norm_rope/f32 hd7 norm", [](Check& c) { QkNormRopeCase(kF32, 5, 7, true, false, c); }},
      {"patchify/f32 patch 2", [](Check& c) { PatchifyCase(kF32, 2, c); }},
      {"patchify/bf16 patch 3", [](Check& c) { PatchifyCase(kBf16, 3, c); }},
      {"gather_rows", GatherRowsCase},
      {"timestep_embedding", TimestepCase},
      {"pointwise", PointwiseCase},
  };
}

}  // namespace darkroom::kernels::cases
