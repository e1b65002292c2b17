#include <cmath>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "unit/device/cpu/ops_fixture.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;

class LatentsTest : public OpsTest {
 protected:
  static LatentView View(OwnedTensor& latents) {
    return {latents->as<float>(), static_cast<int32_t>(latents->dims[0]),
            static_cast<int32_t>(latents->dims[1]), static_cast<int32_t>(latents->dims[2]), 0};
  }
};

TEST_F(LatentsTest, PatchifyCutsEachSequenceInItsOwnShape) {
  OwnedTensor wide(DType::kF32, {4, 2, 6});
  wide.Fill(random_);
  OwnedTensor tall(DType::kF32, {4, 8, 4});
  tall.Fill(random_);
  const LatentView views[] = {View(wide), View(tall), {}};
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    OwnedBatch batch({3, 8}, 2, 1);
    OwnedTensor tokens(dtype, {13, 16});
    const auto padding = tokens.Rows(11, 13);
    ASSERT_TRUE(
        ops().Patchify({.views = views, .patch = 2, .tokens = *tokens}, *batch, *stream_).ok());
    for (const auto& [latents, first] : {std::pair(&wide, 0), std::pair(&tall, 3)}) {
      const int64_t height = (*latents)->dims[1];
      const int64_t width = (*latents)->dims[2];
      for (int64_t c = 0; c < 4; ++c) {
        for (int64_t y = 0; y < height; ++y) {
          for (int64_t x = 0; x < width; ++x) {
            const int64_t row = first + y / 2 * (width / 2) + x / 2;
            const float value = latents->Get((c * height + y) * width + x);
            EXPECT_EQ(tokens.Get(row * 16 + c * 4 + y % 2 * 2 + x % 2),
                      dtype == DType::kF32 ? value : Bf16Round(value));
          }
        }
      }
    }
    EXPECT_EQ(tokens.Rows(11, 13), padding);
  }
}

TEST_F(LatentsTest, PatchifyRefusesTablesThatDisagree) {
  OwnedTensor latents(DType::kF32, {4, 4, 6});
  LatentView view = View(latents);
  OwnedBatch batch({6});
  OwnedTensor tokens(DType::kF32, {6, 16});
  const auto message = [&] {
    const absl::Status status =
        ops().Patchify({.views = &view, .patch = 2, .tokens = *tokens}, *batch, *stream_);
    return std::string(status.message());
  };
  EXPECT_EQ(message(), "");
  view.height = 8;
  EXPECT_THAT(message(), HasSubstr("make 12 tokens of 16 features, the batch has 6 of 16"));
  view.height = 5;
  EXPECT_THAT(message(), HasSubstr("multiple of the patch"));
  view.height = 4;
  view.channels = 3;
  EXPECT_THAT(message(), HasSubstr("6 tokens of 12 features"));
  view.channels = 4;
  view.data = nullptr;
  EXPECT_THAT(message(), HasSubstr("must be present"));
}

TEST_F(LatentsTest, TimestepEmbeddingIsDiffusers) {
  const float timesteps[] = {0.0f, 1.0f, 999.0f, 0.25f};
  for (const bool flip : {true, false}) {
    for (const float shift : {0.0f, 1.0f}) {
      for (const int64_t dim : {256, 7}) {
        OwnedBatch batch({1, 1, 1, 1}, 0, 2);
        OwnedTensor out(DType::kF32, {6, dim});
        TimestepEmbeddingArgs args;
        args.timesteps = timesteps;
        args.downscale_freq_shift = shift;
        args.flip_sin_to_cos = flip;
        args.out = *out;
        ASSERT_TRUE(ops().TimestepEmbedding(args, *batch, *stream_).ok());
        const int64_t half = dim / 2;
        for (int s = 0; s < 4; ++s) {
          for (int64_t i = 0; i < half; ++i) {
            const double angle = timesteps[s] * std::exp(-std::log(10000.0) * i / (half - shift));
            // At timestep 999 the rounding of the angle itself, which diffusers shares, is 3e-5.
            EXPECT_NEAR(out.Get(s * dim + (flip ? half : 0) + i), std::sin(angle), 1e-4);
            EXPECT_NEAR(out.Get(s * dim + (flip ? 0 : half) + i), std::cos(angle), 1e-4);
          }
          if (dim % 2 != 0) {
            EXPECT_EQ(out.Get(s * dim + dim - 1), 0.0f);
          }
        }
        EXPECT_TRUE(std::isnan(out.Get(4 * dim)));
      }
    }
  }
}

// One job with guidance and history, one without either, against the update's definition.
TEST_F(LatentsTest, SamplerStepFollowsItsDefinition) {
  constexpr int32_t kModelChannels = 6;
  for (const bool channels_last : {true, false}) {
    for (const DType dtype : {DType::kF32, DType::kBf16}) {
      OwnedTensor output(dtype, {20, 4 * kModelChannels});
      output.Fill(random_);
      OwnedTensor guided(DType::kF32, {4, 4, 6});
      guided.Fill(random_);
      OwnedTensor history(DType::kF32, {4, 4, 6});
      history.Fill(random_);
      OwnedTensor plain(DType::kF32, {3, 2, 2});
      plain.Fill(random_);
      const OwnedTensor guided_before = guided;
      const OwnedTensor history_before = history;
      const OwnedTensor plain_before = plain;
      const SamplerUpdate updates[] = {
          {View(guided), history->as<float>(), 10, 3, 4.5f, 0.9f, -0.3f, 0.2f, 1.1f, -0.7f},
          {View(plain), nullptr, 19, -1, 4.5f, 0.8f, 0.1f, 9.0f, 9.0f, 9.0f}};
      SamplerStepArgs args;
      args.updates = updates;
      args.jobs = 2;
      args.patch = 2;
      args.channels_last = channels_last;
      args.model_channels = kModelChannels;
      args.model_output = *output;
      const absl::Status status = ops().SamplerStep(args, *stream_);
      ASSERT_TRUE(status.ok()) << status;
      const auto model = [&](int64_t row, int64_t c, int64_t y, int64_t x) {
        const int64_t pixel = y % 2 * 2 + x % 2;
        return output.Get(row * 4 * kModelChannels +
                          (channels_last ? pixel * kModelChannels + c : c * 4 + pixel));
      };
      for (int64_t c = 0; c < 4; ++c) {
        for (int64_t y = 0; y < 4; ++y) {
          for (int64_t x = 0; x < 6; ++x) {
            const int64_t token = y / 2 * 3 + x / 2;
            const int64_t at = (c * 4 + y) * 6 + x;
            const double u = model(3 + token, c, y, x);
            const double m = u + 4.5 * (model(10 + token, c, y, x) - u);
            const double before = guided_before.Get(at);
            EXPECT_NEAR(guided.Get(at), before * 0.9 - 0.3 * m + 0.2 * history_before.Get(at),
                        1e-5);
            EXPECT_NEAR(history.Get(at), 1.1 * before - 0.7 * m, 1e-5);
          }
        }
      }
      for (int64_t i = 0; i < 12; ++i) {
        EXPECT_NEAR(plain.Get(i),
                    0.8 * plain_before.Get(i) + 0.1 * model(19, i / 4, i / 2 % 2, i % 2), 1e-6);
      }
    }
  }
}

// Inpainting and a preview, with history, against the definition.
TEST_F(LatentsTest, SamplerStepKeepsWhatTheMaskHidesAndGivesAPreview) {
  for (const bool noisy : {true, false}) {
    OwnedTensor output(DType::kF32, {4, 12});
    output.Fill(random_);
    OwnedTensor latents(DType::kF32, {3, 4, 4});
    latents.Fill(random_);
    OwnedTensor history = latents, known = latents, noise = latents;
    history.Fill(random_);
    known.Fill(random_);
    noise.Fill(random_);
    OwnedTensor denoised(DType::kF32, {3, 4, 4});
    OwnedTensor mask(DType::kF32, {4, 4});
    for (int i = 0; i < 16; ++i) mask.Set(i, i < 6 ? 0.0f : i < 12 ? 1.0f : 0.3f);
    const OwnedTensor before = latents;
    const OwnedTensor history_before = history;
    SamplerUpdate update{View(latents), history->as<float>(), 0, -1, 1.0f, 0.9f, -0.3f, 0.2f, 1.1f,
                         -0.7f};
    update.mask = mask->as<float>();
    update.known = known->as<float>();
    update.noise = noisy ? noise->as<float>() : nullptr;
    update.known_weight = 0.6f;
    update.noise_weight = 0.4f;
    update.denoised = denoised->as<float>();
    update.denoised_sample = 1.0f;
    update.denoised_model = -0.8f;
    SamplerStepArgs args;
    args.updates = &update;
    args.jobs = 1;
    args.channels_last = false;
    args.model_channels = 3;
    args.model_output = *output;
    ASSERT_TRUE(ops().SamplerStep(args, *stream_).ok());
    for (int64_t i = 0; i < 48; ++i) {
      const int64_t c = i / 16;
      const int64_t y = i / 4 % 4;
      const int64_t x = i % 4;
      const double m = output.Get((y / 2 * 2 + x / 2) * 12 + c * 4 + y % 2 * 2 + x % 2);
      const double next = 0.9 * before.Get(i) - 0.3 * m + 0.2 * history_before.Get(i);
      const double keep = 0.6 * known.Get(i) + (noisy ? 0.4 * noise.Get(i) : 0.0);
      const double painted = mask.Get(i % 16);
      EXPECT_NEAR(latents.Get(i), painted * next + (1.0 - painted) * keep, 1e-6);
      EXPECT_NEAR(history.Get(i), 1.1 * before.Get(i) - 0.7 * m, 1e-6);
      EXPECT_NEAR(denoised.Get(i), before.Get(i) - 0.8 * m, 1e-6);
    }
    update.known = nullptr;
    EXPECT_THAT(std::string(ops().SamplerStep(args, *stream_).message()),
                HasSubstr("has a mask, but no known latents"));
  }
}

TEST_F(LatentsTest, GatherRowsPutsEachSequenceInItsPlace) {
  OwnedTensor first(DType::kF32, {3, 20});
  first.Fill(random_);
  OwnedTensor third(DType::kF32, {5, 20});
  third.Fill(random_);
  const float* sources[] = {first->as<float>(), nullptr, third->as<float>(), nullptr};
  OwnedBatch batch({3, 0, 5}, 4, 1);
  OwnedTensor out(DType::kF32, {12, 20});
  const auto padding = out.Rows(8, 12);
  const GatherRowsArgs args{.sources = sources, .out = *out};
  ASSERT_TRUE(ops().GatherRows(args, *batch, *stream_).ok());
  EXPECT_EQ(out.Rows(0, 3), first.Rows(0, 3));
  EXPECT_EQ(out.Rows(3, 8), third.Rows(0, 5));
  EXPECT_EQ(out.Rows(8, 12), padding);
  sources[2] = nullptr;
  EXPECT_THAT(std::string(ops().GatherRows(args, *batch, *stream_).message()),
              HasSubstr("sources[2] is missing"));
}

TEST_F(LatentsTest, SamplerStepRefusesRowsBeyondTheOutput) {
  OwnedTensor output(DType::kF32, {8, 16});
  OwnedTensor latents(DType::kF32, {4, 4, 4});
  SamplerUpdate update{View(latents), nullptr, 4, 0, 1.0f, 1.0f, 0.0f, 0.0f, 0.0f, 0.0f};
  SamplerStepArgs args;
  args.updates = &update;
  args.jobs = 1;
  args.model_channels = 4;
  args.model_output = *output;
  output.Fill(random_);
  latents.Fill(random_);
  ASSERT_TRUE(ops().SamplerStep(args, *stream_).ok());
  const auto message = [&] { return std::string(ops().SamplerStep(args, *stream_).message()); };
  update.conditional_row = 5;
  EXPECT_THAT(message(), HasSubstr("has 4 tokens from row 5 and row 0"));
  update.conditional_row = 0;
  update.unconditional_row = 5;
  EXPECT_THAT(message(), HasSubstr("has 4 tokens from row 0 and row 5"));
  update.unconditional_row = -2;
  EXPECT_THAT(message(), HasSubstr("row -2"));
  update.unconditional_row = -1;
  update.latents.channels = 5;
  EXPECT_THAT(message(), HasSubstr("have 5 channels, the model gives 4"));
  args.model_channels = 3;
  EXPECT_THAT(message(), HasSubstr("model_output is [8, 16], must be [8, 12]"));
}

}  // namespace
}  // namespace darkroom
