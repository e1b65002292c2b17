#include "model/step_outputs.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "gtest/gtest.h"
#include "model/limits.h"

namespace darkroom {
namespace {

std::string Bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// http://www.isthe.com/chongo/tech/comp/fnv/ names these.
TEST(StepOutputsTest, HashIsFnv1a64) {
  EXPECT_EQ(HashLatents(""), 0xcbf29ce484222325u);
  EXPECT_EQ(HashLatents("foobar"), 0x85944171f73967e8u);
  EXPECT_NE(HashLatents(Bytes({0.0f})), HashLatents(Bytes({-0.0f}))) << "bits, not values";
}

TEST(StepOutputsTest, OneBadValueAnywhereIsFound) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (size_t at = 0; at < 3; ++at) {
      std::vector<float> values = {1.0f, -3e38f, 0.0f};
      EXPECT_TRUE(AreFinite(Bytes(values)));
      values[at] = bad;
      EXPECT_FALSE(AreFinite(Bytes(values))) << bad << " at " << at;
    }
  }
  EXPECT_EQ(ErrorReason(NotFinite()), "LATENTS_NOT_FINITE");
}

TEST(StepOutputsTest, PayloadIsTheBytesWhateverTheirSize) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{model_limits::kInlineOutputBytesMax},
                            size_t{model_limits::kInlineOutputBytesMax} + 1}) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31);
    const absl::StatusOr<Payload> payload = MakePayload(bytes);
    ASSERT_TRUE(payload.ok()) << payload.status();
    EXPECT_EQ(payload->bytes(), bytes);
  }
}

TEST(StepOutputsTest, CheckpointHoldsLatentsThenHistory) {
  const LatentView shape{.data = nullptr, .channels = 2, .height = 1, .width = 3, .pad = 0};
  const std::string latents = Bytes({1, 2, 3, 4, 5, 6});
  const std::string history = Bytes({6, 5, 4, 3, 2, 1});
  JobOutcome outcome;
  PutCheckpoint(shape, {latents, history}, outcome);
  ASSERT_TRUE(outcome.checkpoint.has_value());
  ASSERT_EQ(outcome.checkpoint_tensors.size(), 2);
  EXPECT_EQ(outcome.checkpoint_tensors[0].bytes(), latents);
  EXPECT_EQ(outcome.checkpoint_tensors[1].bytes(), history);
  EXPECT_EQ(outcome.checkpoint->sampler_state_size(), 1);
  for (const v1::TensorRef* ref :
       {&outcome.checkpoint->latents(), &outcome.checkpoint->sampler_state(0)}) {
    EXPECT_EQ(ref->dtype(), v1::DTYPE_F32);
    EXPECT_EQ(std::vector<int64_t>(ref->shape().begin(), ref->shape().end()),
              (std::vector<int64_t>{2, 1, 3}));
    EXPECT_EQ(ref->size_bytes(), 24);
  }
}

TEST(StepOutputsTest, ShrinksByMeansAndLosesNoChannel) {
  const LatentView shape{.data = nullptr, .channels = 2, .height = 2, .width = 4, .pad = 0};
  const std::vector<float> latents = {1, 3, 10, 20, 5, 7,  30, 40,   //
                                      0, 0, 1,  1,  0, 16, 1,  -3};  //
  EXPECT_EQ(ShrinkLatents(shape, latents.data(), 1), latents);
  EXPECT_EQ(ShrinkLatents(shape, latents.data(), 2), (std::vector<float>{4, 25, 4, 0}));
  // Never less than one latent, and nothing outside the picture is read.
  EXPECT_EQ(ShrinkLatents(shape, latents.data(), 8).size(), 2);
  EXPECT_EQ(ShrinkLatents(shape, latents.data(), 8)[0], (1 + 3 + 10 + 20 + 5 + 7 + 30 + 40) / 8.0f);
}

}  // namespace
}  // namespace darkroom
