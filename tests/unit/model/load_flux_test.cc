#include <memory>
#include <string>

#include "base/error.h"
#include "darkroom/pipeline.h"
#include "device/cpu/cpu_ops.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/flux_fixture.h"
#include "testing/pipeline_driver.h"

namespace darkroom {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LoadFluxTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Pipeline>> Load(const testing::FluxFixture& model,
                                                 DType precision = DType::kF32) {
    return LoadPipeline(model.path(),
                        LoadOptions{.name = "models/flux", .precision = precision, .slots = 2},
                        *ops_);
  }
  std::string Problem(const testing::FluxFixture& model) {
    const absl::Status status = Load(model).status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << status;
    return std::string(status.message());
  }

  std::unique_ptr<Ops> ops_ = CreateCpuOps(2);
};

TEST_F(LoadFluxTest, DescribesAModelWithDistilledGuidance) {
  const auto pipeline = Load(testing::FluxFixture("dev"));
  ASSERT_TRUE(pipeline.ok()) << pipeline.status();
  const v1::Model& model = (*pipeline)->model();
  EXPECT_EQ(model.family(), "FluxPipeline");
  EXPECT_THAT(model.tasks(),
              ElementsAre(v1::TASK_TEXT_TO_IMAGE, v1::TASK_IMAGE_TO_IMAGE, v1::TASK_INPAINT));
  EXPECT_THAT(model.samplers(), ElementsAre("flow_match_euler", "flow_match_heun"));
  EXPECT_EQ(model.guidance(), v1::Model::GUIDANCE_DISTILLED);
  EXPECT_EQ(model.classes_size(), 0);
  EXPECT_EQ(model.limits().sequence_length_max(), 512);
  EXPECT_FALSE(model.limits().square_only());
  EXPECT_EQ(model.limits().size_multiple_of(), 4);
  EXPECT_EQ(model.defaults().width(), 32);
  EXPECT_EQ(model.defaults().steps(), 28);
  EXPECT_EQ(model.defaults().guidance_scale(), 3.5);
  EXPECT_EQ(model.defaults().true_cfg_scale(), 1);
  EXPECT_EQ(model.defaults().strength(), 0.6);
  EXPECT_GT(model.parameters(), 100'000);
  EXPECT_EQ(model.digest().size(), 64u);
  // Token ids depend on it.
  EXPECT_THAT((*pipeline)->numerics().libraries(),
              ::testing::Contains(::testing::StartsWith("icu ")));
}

TEST_F(LoadFluxTest, DescribesAModelWithoutGuidance) {
  const auto pipeline = Load(testing::FluxFixture("schnell"));
  ASSERT_TRUE(pipeline.ok()) << pipeline.status();
  const v1::Model& model = (*pipeline)->model();
  EXPECT_EQ(model.guidance(), v1::Model::GUIDANCE_NONE);
  EXPECT_EQ(model.defaults().steps(), 4);
  EXPECT_EQ(model.defaults().guidance_scale(), 1);
}

TEST_F(LoadFluxTest, TheDigestCoversEveryComponent) {
  const testing::FluxFixture model("dev");
  const auto before = Load(model);
  ASSERT_TRUE(before.ok()) << before.status();
  const std::pair<const char*, const char*> edits[] = {
      {"text_encoder/config.json", "pad_token_id"},
      {"text_encoder_2/config.json", "pad_token_id"},
      {"tokenizer_2/tokenizer_config.json", "sp_model_kwargs_note"},
      {"scheduler/scheduler_config.json", "_diffusers_version"}};
  std::string last = (*before)->model().digest();
  for (const auto& [file, field] : edits) {
    model.Edit(file, [field = field](nlohmann::json& json) { json[field] = 7; });
    const auto after = Load(model);
    ASSERT_TRUE(after.ok()) << file << ": " << after.status();
    EXPECT_NE((*after)->model().digest(), last) << file;
    last = (*after)->model().digest();
  }
}

TEST_F(LoadFluxTest, SizeWhereTheAutoencoderDoesNotSay) {
  const testing::FluxFixture model("dev");
  model.Edit("vae/config.json", [](nlohmann::json& json) { json.erase("sample_size"); });
  const auto pipeline = Load(model);
  ASSERT_TRUE(pipeline.ok()) << pipeline.status();
  EXPECT_EQ((*pipeline)->model().defaults().width(), 1024);
}

TEST_F(LoadFluxTest, SizesAreWholeTokens) {
  const testing::FluxFixture model("dev");
  model.Edit("vae/config.json", [](nlohmann::json& json) { json["sample_size"] = 39; });
  const auto pipeline = Load(model);
  ASSERT_TRUE(pipeline.ok()) << pipeline.status();
  EXPECT_EQ((*pipeline)->model().defaults().width(), 36);
}

TEST_F(LoadFluxTest, RefusesEncodersOfOtherWidths) {
  const testing::FluxFixture model("dev");
  model.CopyFrom("sharded", "text_encoder_2");
  model.CopyFrom("sharded", "tokenizer_2");
  EXPECT_THAT(Problem(model),
              AllOf(HasSubstr("text_encoder_2/config.json: d_model is 16"),
                    HasSubstr("transformer/config.json has joint_attention_dim 24")));
  model.CopyFrom("schnell", "text_encoder");
  model.CopyFrom("schnell", "tokenizer");
  EXPECT_THAT(
      Problem(model),
      AllOf(HasSubstr("d_model is 16"), HasSubstr("text_encoder/config.json: hidden_size is 24"),
            HasSubstr("transformer/config.json has pooled_projection_dim 16")));
}

TEST_F(LoadFluxTest, RefusesAnAutoencoderOfOtherChannels) {
  const testing::FluxFixture model("dev");
  model.CopyFrom("sharded", "vae");
  EXPECT_THAT(Problem(model), AllOf(HasSubstr("in_channels is 16"), HasSubstr("4 latent channels"),
                                    HasSubstr("latent_channels 8")));
}

TEST_F(LoadFluxTest, ListsTheProblemsOfAllFilesAtOnce) {
  const testing::FluxFixture model("dev");
  for (const char* component : {"transformer", "text_encoder", "text_encoder_2"}) {
    const std::string field = std::string(component) == "transformer"    ? "num_layers"
                              : std::string(component) == "text_encoder" ? "num_hidden_layers"
                                                                         : "num_layers";
    model.Edit(std::string(component) + "/config.json",
               [&field](nlohmann::json& json) { json[field] = 3; });
  }
  EXPECT_THAT(Problem(model), AllOf(HasSubstr("transformer_blocks.2."),
                                    HasSubstr("encoder.layers.2."), HasSubstr("encoder.block.2.")));
}

TEST_F(LoadFluxTest, NamesMissingComponents) {
  for (const char* component : {"tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2",
                                "transformer", "vae", "scheduler"}) {
    const testing::FluxFixture model("dev");
    model.Edit("model_index.json", [&](nlohmann::json& json) { json.erase(component); });
    EXPECT_THAT(Problem(model), HasSubstr(component));
  }
}

TEST_F(LoadFluxTest, RefusesOtherEncoders) {
  const testing::FluxFixture model("dev");
  model.Edit("model_index.json", [](nlohmann::json& json) {
    json["text_encoder_2"] = {"transformers", "UMT5EncoderModel"};
  });
  EXPECT_THAT(Problem(model), AllOf(HasSubstr("UMT5EncoderModel"), HasSubstr("T5EncoderModel")));
}

// A second worker takes what the first packed.
TEST_F(LoadFluxTest, PackedWeightsAreShared) {
  const testing::FluxFixture model("dev");
  PackedModel packed;
  LoadOptions options{.name = "models/flux", .slots = 1, .packed_out = &packed};
  const auto first = LoadPipeline(model.path(), options, *ops_);
  ASSERT_TRUE(first.ok()) << first.status();
  // Every file of the four components, and something to share.
  EXPECT_EQ(packed.files.size(), 4u);
  EXPECT_FALSE(packed.weights.segments.empty());

  const std::unique_ptr<Ops> other_ops = CreateCpuOps(2);
  PackedModel packed_again;
  options.packed = &packed;
  options.packed_out = &packed_again;
  int64_t read = -1;
  options.progress = [&read](int64_t, int64_t total) { read = total; };
  const auto second = LoadPipeline(model.path(), options, *other_ops);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(read, 0);
  EXPECT_EQ((*second)->model().digest(), (*first)->model().digest());
  v1::OpenSlot open = testing::OpenRequest(0, 32, 2, 3.5, 1, "a red apple");
  open.set_sampler("flow_match_euler");
  EXPECT_EQ(testing::RunAlone(**second, open), testing::RunAlone(**first, open));
}

TEST_F(LoadFluxTest, RunsInBf16) {
  const auto pipeline = Load(testing::FluxFixture("sharded"), DType::kBf16);
  ASSERT_TRUE(pipeline.ok()) << pipeline.status();
  v1::OpenSlot open = testing::OpenRequest(0, 32, 2, 3.5, 1, "a red apple");
  open.set_sampler("flow_match_euler");
  const testing::PipelineResult result = testing::RunAlone(**pipeline, open);
  EXPECT_EQ(result.latents.size(), 2u);
  EXPECT_EQ(result.pixels.size(), 32u * 32 * 3);
}

TEST_F(LoadFluxTest, APromptThatIsTooLongFailsItsJobAlone) {
  const auto pipeline = Load(testing::FluxFixture("dev"));
  ASSERT_TRUE(pipeline.ok()) << pipeline.status();
  v1::OpenSlot open = testing::OpenRequest(0, 32, 2, 3.5, 1, "a red apple");
  open.set_sampler("flow_match_euler");
  const testing::PipelineResult alone = testing::RunAlone(**pipeline, open);
  std::string long_prompt;
  for (int i = 0; i < 600; ++i) long_prompt += "apple ";
  v1::OpenSlot other = open;
  other.set_slot(1);
  other.set_prompt(long_prompt);
  ASSERT_TRUE((*pipeline)->Open(open, {}, {}).ok());
  ASSERT_TRUE((*pipeline)->Open(other, {}, {}).ok());
  const std::vector<JobOutcome> outcomes = testing::DenoiseJobs(**pipeline, {{1, 0}, {0, 0}});
  EXPECT_EQ(ErrorReason(outcomes[0].status), "PROMPT_TOO_LONG") << outcomes[0].status;
  EXPECT_EQ(testing::LatentsOf(outcomes[1]), alone.latents[0]);
}

}  // namespace
}  // namespace darkroom
