#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "darkroom/pipeline.h"
#include "device/cpu/cpu_ops.h"
#include "golden/golden_fixture.h"
#include "gtest/gtest.h"
#include "testing/pipeline_driver.h"

// What bf16 costs: latents of a bf16 run against those of diffusers in float32, beside what
// diffusers' own bf16 run differs by. Ours keeps sums, norms and the residual stream in float32.
namespace darkroom::golden {
namespace {

double RootMeanSquare(const float* a, const float* b, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return std::sqrt(sum / static_cast<double>(count));
}

class FluxBf16GoldenTest : public ::testing::TestWithParam<const char*> {};

TEST_P(FluxBf16GoldenTest, ErrorIsAtMostThatOfDiffusers) {
  const Fixture fixture(absl::StrCat("flux_", GetParam(), "/goldens.json"));
  const auto ops = CreateCpuOps(2);
  auto pipeline =
      LoadPipeline(absl::StrCat(fixture.folder(), "/model"),
                   LoadOptions{.name = "models/tiny", .precision = DType::kBf16, .slots = 1}, *ops);
  ASSERT_TRUE(pipeline.ok()) << pipeline.status();
  const Json& entry = fixture.json().at("cases").at(0);
  ASSERT_EQ(entry.at("name"), "text");
  v1::OpenSlot open =
      testing::OpenRequest(0, entry.at("width").get<int>(), entry.at("steps").get<int>(),
                           entry.at("guidance_scale").get<double>(), entry.at("seed").get<int>(),
                           entry.at("prompt").get<std::string>());
  open.set_sampler("flow_match_euler");
  open.set_max_sequence_length(entry.at("max_sequence_length").get<int>());
  open.set_noise_dtype(v1::DTYPE_BF16);
  const testing::PipelineResult ours = testing::RunAlone(**pipeline, open);

  const std::vector<float> exact = fixture.Floats("bf16.f32_latents_after");
  const std::vector<float> theirs = fixture.Floats("bf16.latents_after");
  ASSERT_EQ(ours.latents.size(), entry.at("steps").get<size_t>());
  const size_t count = exact.size() / ours.latents.size();
  for (size_t step = 0; step < ours.latents.size(); ++step) {
    ASSERT_EQ(ours.latents[step].size(), count * sizeof(float));
    std::vector<float> now(count);
    std::memcpy(now.data(), ours.latents[step].data(), count * sizeof(float));
    const double our_error = RootMeanSquare(now.data(), &exact[step * count], count);
    const double their_error = RootMeanSquare(&theirs[step * count], &exact[step * count], count);
    std::printf("%s step %zu: rms error of bf16 %.4f, diffusers' %.4f\n", GetParam(), step,
                our_error, their_error);
    EXPECT_GT(our_error, 0) << "this was no bf16";
    EXPECT_LE(our_error, 1.1 * their_error);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, FluxBf16GoldenTest,
                         ::testing::Values("dev", "schnell", "sharded"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace darkroom::golden
