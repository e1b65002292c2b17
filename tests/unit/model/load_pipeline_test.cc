#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/numerics.h"
#include "darkroom/pipeline.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/reference_ops.h"
#include "testing/tiny_dit_model.h"

namespace darkroom {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kTransformer[] = "transformer/diffusion_pytorch_model.safetensors";
constexpr char kVae[] = "vae/diffusion_pytorch_model.safetensors";

class LoadPipelineTest : public ::testing::Test {
 protected:
  LoadPipelineTest() : model_(testing::TinyDitModel().Build()) { model_.Write(folder_); }

  absl::StatusOr<std::unique_ptr<Pipeline>> Load(LoadOptions options = {}) {
    if (options.name.empty()) options.name = "models/tiny";
    return LoadPipeline(folder_.path(), options, ops_);
  }
  // The message of the error that loading must end with.
  std::string Problem(const LoadOptions& options = {}) {
    const absl::Status status = Load(options).status();
    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(ErrorReason(status).empty()) << status;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr(folder_.path())));
    return std::string(status.message());
  }

  testing::ReferenceOps ops_;
  testing::TempFolder folder_;
  testing::TinyDitModel model_;
};

TEST_F(LoadPipelineTest, DescribesTheModel) {
  folder_.Write("README.md", "---\nlicense: mit\n---\n");
  std::vector<std::pair<int64_t, int64_t>> progress;
  const auto pipeline = Load({.slots = 3, .progress = [&](int64_t done, int64_t total) {
                                progress.emplace_back(done, total);
                              }});
  ASSERT_TRUE(pipeline.ok()) << pipeline.status();
  const v1::Model& model = (*pipeline)->model();
  EXPECT_EQ(model.name(), "models/tiny");
  EXPECT_EQ(model.state(), v1::Model::STATE_READY);
  EXPECT_EQ(model.family(), "DiTPipeline");
  EXPECT_THAT(model.tasks(), ElementsAre(v1::TASK_TEXT_TO_IMAGE));
  EXPECT_EQ(model.digest().size(), 64u);
  EXPECT_EQ(model.license(), "mit");
  EXPECT_THAT(model.classes(), ElementsAre("tench", "Tinca tinca", "goldfish", "white shark", "hen",
                                           "Great Grey Owl"));
  int64_t parameters = 0;
  for (const auto* tensors : {&model_.transformer, &model_.vae}) {
    for (const auto& [name, tensor] : *tensors) parameters += tensor.second.size();
  }
  EXPECT_EQ(model.parameters(), parameters);

  EXPECT_EQ(model.limits().size_multiple_of(), 4);
  EXPECT_EQ(model.limits().size_min(), 4);
  EXPECT_EQ(model.limits().size_max(), 128);
  EXPECT_TRUE(model.limits().square_only());
  EXPECT_EQ(model.limits().steps_max(), 1000);
  EXPECT_EQ(model.limits().images_max(), 16);
  EXPECT_EQ((*pipeline)->token_pixels(), 4);
  EXPECT_EQ(model.defaults().width(), 16);
  EXPECT_EQ(model.defaults().height(), 16);
  EXPECT_EQ(model.defaults().steps(), 50);
  EXPECT_EQ(model.defaults().guidance_scale(), 4.0);
  EXPECT_EQ(model.defaults().sampler(), "ddim");

  const v1::Numerics& numerics = (*pipeline)->numerics();
  EXPECT_EQ(numerics.model_digest(), model.digest());
  EXPECT_EQ(numerics.precision(), "f32");
  EXPECT_EQ(model.precision(), "f32");
  EXPECT_EQ(numerics.backend(), "cpu");
  EXPECT_EQ(numerics.isa(), "reference");
  EXPECT_EQ(numerics.version(), kNumericsVersion);
  EXPECT_THAT(numerics.libraries(), ElementsAre("reference"));
  EXPECT_EQ(numerics.acceleration(), "exact");
  EXPECT_EQ(model.numerics_id(), NumericsId(numerics));

  // At least the beginning and the end: how often in between is a matter of time.
  ASSERT_GE(progress.size(), 2u);
  EXPECT_EQ(progress.front().first, 0);
  EXPECT_EQ(progress.back().first, progress.back().second);
  EXPECT_EQ(progress.back().second,
            static_cast<int64_t>(folder_.Read(kTransformer).size() + folder_.Read(kVae).size()));
}

TEST_F(LoadPipelineTest, FilesThatAnotherWorkerReadAreNotReadAgain) {
  PackedModel first;
  const auto pipeline = Load({.packed_out = &first});
  ASSERT_TRUE(pipeline.ok()) << pipeline.status();
  ASSERT_EQ(first.files.size(), 2u);
  EXPECT_EQ(first.files[0].file, kTransformer);
  EXPECT_EQ(first.key, absl::StrCat((*pipeline)->model().digest(), " f32"));

  int64_t read = -1;
  const auto count = [&](int64_t, int64_t total) { read = total; };
  PackedModel second;
  const auto again = Load({.packed = &first, .packed_out = &second, .progress = count});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(read, 0);
  EXPECT_EQ((*again)->model().digest(), (*pipeline)->model().digest());
  EXPECT_EQ(second.key, "") << "what is taken from another worker is not handed out again";

  // Another file under the same name is another model, and packed anew.
  model_.transformer["pos_embed.proj.bias"].second[0] += 1;
  folder_.Write(kTransformer, testing::SafetensorsBytes(model_.transformer));
  const auto changed = Load({.packed = &first, .packed_out = &second, .progress = count});
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_GT(read, 0);
  EXPECT_NE((*changed)->model().digest(), (*pipeline)->model().digest());
  EXPECT_EQ(second.key, absl::StrCat((*changed)->model().digest(), " f32"));
}

TEST_F(LoadPipelineTest, EveryFileThatDecidesBitsIsInTheDigest) {
  const std::string digest = (*Load())->model().digest();
  EXPECT_EQ((*Load())->model().digest(), digest);
  model_.scheduler_config["beta_end"] = 0.021;
  model_.Write(folder_);
  EXPECT_NE((*Load())->model().digest(), digest);
  model_.scheduler_config["beta_end"] = 0.02;
  model_.vae.at("decoder.conv_out.bias").second[0] += 1;
  model_.Write(folder_);
  EXPECT_NE((*Load())->model().digest(), digest);
}

TEST_F(LoadPipelineTest, HalfCopiedFolders) {
  for (const char* file : {"model_index.json", "transformer/config.json", "vae/config.json",
                           "scheduler/scheduler_config.json", kTransformer, kVae}) {
    const std::string content = folder_.Read(file);
    std::filesystem::remove(folder_.Path(file));
    EXPECT_THAT(Problem(), AllOf(HasSubstr(file), HasSubstr("is missing")));
    for (const size_t size : {size_t{0}, size_t{1}, content.size() / 2, content.size() - 1}) {
      folder_.Write(file, content.substr(0, size));
      EXPECT_THAT(Problem(), HasSubstr(file)) << size;
    }
    folder_.Write(file, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    EXPECT_THAT(Problem(), AllOf(HasSubstr(file), HasSubstr("git lfs pull")));
    folder_.Write(file, content);
  }
  EXPECT_TRUE(Load().ok());
}

TEST_F(LoadPipelineTest, WeightsTruncatedAnywhereNearTheHeaderNameTheFile) {
  const std::string content = folder_.Read(kVae);
  uint64_t header = 0;
  std::memcpy(&header, content.data(), sizeof(header));
  // Every byte of the header is tried in safetensors_test.cc; here its ends and the data's.
  for (const uint64_t size : {uint64_t{7}, uint64_t{8}, uint64_t{9}, header + 7, header + 8,
                              header + 9, content.size() - 4}) {
    folder_.Write(kVae, content.substr(0, size));
    EXPECT_THAT(Problem(), AllOf(HasSubstr(kVae), HasSubstr("cut short"))) << size;
  }
}

TEST_F(LoadPipelineTest, OneErrorListsTheTensorsOfBothComponents) {
  model_.transformer.erase("transformer_blocks.1.attn1.to_k.bias");
  model_.transformer.erase("proj_out_2.weight");
  model_.transformer["transformer_blocks.2.ff.net.2.bias"] = {{16}, std::vector<float>(16)};
  model_.vae["decoder.conv_out.weight"] = {{3, 8, 1, 1}, std::vector<float>(24)};
  model_.vae.erase("decoder.mid_block.attentions.0.to_q.weight");
  model_.Write(folder_);
  const absl::Status status = Load().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(status), "MODEL_INVALID");
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("transformer: 2 missing tensors: "),
                    HasSubstr("transformer_blocks.1.attn1.to_k.bias [16]"),
                    HasSubstr("proj_out_2.weight [32, 16]"),
                    HasSubstr("1 unknown tensor: transformer_blocks.2.ff.net.2.bias F32 [16]"),
                    HasSubstr("vae: 1 missing tensor: "
                              "decoder.mid_block.attentions.0.to_q.weight [16, 16]"),
                    HasSubstr("1 misshaped tensor: decoder.conv_out.weight is F32 [3, 8, 1, 1], "
                              "expected F32, BF16 or F16 [3, 8, 3, 3]")));
}

TEST_F(LoadPipelineTest, WithoutAttentionBias) {
  model_.transformer_config["attention_bias"] = false;
  for (int block = 0; block < 2; ++block) {
    for (const char* name : {"to_q", "to_k", "to_v"}) {
      model_.transformer.erase(
          absl::StrCat("transformer_blocks.", block, ".attn1.", name, ".bias"));
    }
  }
  model_.Write(folder_);
  EXPECT_TRUE(Load().ok()) << Load().status();
}

TEST_F(LoadPipelineTest, OtherFamiliesAndClasses) {
  model_.index["_class_name"] = "PixArtAlphaPipeline";
  model_.Write(folder_);
  EXPECT_THAT(Problem(), HasSubstr("_class_name is PixArtAlphaPipeline, which is not supported"));
  model_.index["_class_name"] = "DiTPipeline";
  model_.index["scheduler"][1] = "DPMSolverMultistepScheduler";
  model_.Write(folder_);
  EXPECT_THAT(Problem(), HasSubstr("scheduler is a DPMSolverMultistepScheduler"));
  model_.index["scheduler"][1] = "DDIMScheduler";
  model_.index.erase("id2label");
  model_.Write(folder_);
  EXPECT_THAT(Problem(), HasSubstr("id2label"));
}

TEST_F(LoadPipelineTest, ComponentsMustFitEachOther) {
  model_.channels = 8;
  testing::TinyDitModel other = testing::TinyDitModel();
  other.channels = 8;
  other.Build();
  folder_.Write("vae/config.json", other.vae_config.dump());
  folder_.Write(kVae, testing::SafetensorsBytes(other.vae));
  EXPECT_THAT(Problem(), HasSubstr("in_channels is 4, but vae/config.json has latent_channels 8"));
}

TEST_F(LoadPipelineTest, Options) {
  EXPECT_THAT(Problem({.slots = 0}), HasSubstr("slots is 0; it must be 1 to"));
  EXPECT_THAT(Problem({.slots = 1 << 20}), HasSubstr("slots is 1048576"));
  EXPECT_THAT(Problem({.step_tokens_max = -1}), HasSubstr("must not be negative"));
  EXPECT_THAT(Problem({.precision = DType::kF16}), HasSubstr("precision must be f32 or bf16"));
  EXPECT_THAT(Problem({.precision = DType::kBf16}), HasSubstr("does not compute bf16"));
  // 16 tokens, twice.
  EXPECT_THAT(Problem({.step_tokens_max = 31}),
              HasSubstr("16 x 16 pixels, takes 32 tokens with guidance"));
  const auto smallest = Load({.step_tokens_max = 32});
  ASSERT_TRUE(smallest.ok()) << smallest.status();
  EXPECT_EQ((*smallest)->model().limits().size_max(), 16);
  const auto larger = Load({.step_tokens_max = 100});
  ASSERT_TRUE(larger.ok());
  EXPECT_EQ((*larger)->model().limits().size_max(), 28);
}

TEST_F(LoadPipelineTest, HugeModelsAreRefusedBeforeAnythingIsAllocated) {
  // 1024 latents of patch 1: two sequences of a million tokens.
  model_.transformer_config["sample_size"] = 1024;
  model_.transformer_config["patch_size"] = 1;
  model_.transformer["pos_embed.proj.weight"] = {{16, 4, 1, 1}, std::vector<float>(64)};
  model_.transformer["proj_out_2.weight"] = {{8, 16}, std::vector<float>(128)};
  model_.transformer["proj_out_2.bias"] = {{8}, std::vector<float>(8)};
  model_.vae_channels = {8, 8, 8, 8, 8};
  model_.vae_config["block_out_channels"] = {8, 8, 8, 16};
  model_.vae_config["up_block_types"] = std::vector<std::string>(4, "UpDecoderBlock2D");
  model_.vae_config["down_block_types"] = std::vector<std::string>(4, "DownEncoderBlock2D");
  testing::TinyDitModel deep;
  deep.vae_channels = {8, 8, 8, 16};
  model_.vae = deep.Build().vae;
  model_.Write(folder_);
  const absl::Status status = Load().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(ErrorReason(status), "MODEL_TOO_LARGE");
  EXPECT_EQ(ops_.allocations(), 0);
}

}  // namespace
}  // namespace darkroom
