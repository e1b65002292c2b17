#include "model/autoencoders/autoencoder_kl_layers.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/reference_ops.h"
#include "testing/temp_folder.h"
#include "testing/tiny_dit_model.h"

namespace darkroom::kl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Whole halves are compared with diffusers' in tests/golden.
class AutoencoderKlLayersTest : public ::testing::Test {
 protected:
  AutoencoderKlLayersTest() : stream_(ops_.CreateStream()) {
    folder_.Write("model_index.json", R"({"_class_name": "X"})");
  }
  Weights Open(const testing::TensorMap& tensors) {
    folder_.Write("vae/diffusion_pytorch_model.safetensors", testing::SafetensorsBytes(tensors));
    absl::StatusOr<ModelFolder> folder = ModelFolder::Open(folder_.path());
    return *Weights::Open(*folder, "vae");
  }
  static std::vector<float> Values(const Tensor& tensor) {
    return {tensor.as<float>(), tensor.as<float>() + tensor.size()};
  }

  testing::TempFolder folder_;
  testing::ReferenceOps ops_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(AutoencoderKlLayersTest, AConvolutionKeepsTheSize) {
  Weights weights = Open(
      {{"conv.weight", {{1, 1, 3, 3}, {0, 0, 0, 0, 1, 2, 0, 0, 0}}}, {"conv.bias", {{1}, {10}}}});
  Conv conv;
  conv.Take(weights, "conv", 1, 1, 3);
  ASSERT_TRUE(weights.Check().ok()) << weights.Check();
  ASSERT_TRUE(conv.Load(ops_).ok());
  EXPECT_EQ(conv.out_channels(), 1);

  const Canvas sizes(nullptr, 16, 4, 1);
  std::vector<char> memory(sizes.bytes());
  Canvas canvas(memory.data(), 16, 4, 1);
  std::vector<char> staging;
  ASSERT_TRUE(canvas.Begin(ops_, *stream_, staging).ok());
  canvas.Start(2, 2, 1);
  float* pixels = canvas.picture().as<float>();
  for (int i = 0; i < 4; ++i) pixels[i] = static_cast<float>(i + 1);
  // Each pixel and twice its right neighbour, zeros beyond the edge.
  ASSERT_TRUE(canvas.Apply(conv).ok());
  EXPECT_THAT(Values(canvas.picture()), ElementsAre(15, 12, 21, 14));
  ASSERT_TRUE(canvas.Upsample().ok());
  EXPECT_EQ(canvas.picture().dim(0), 4);
  EXPECT_EQ(canvas.picture().dim(1), 4);
  const std::vector<float> doubled = Values(canvas.picture());
  EXPECT_THAT(std::vector<float>(doubled.begin(), doubled.begin() + 4),
              ElementsAre(15, 15, 12, 12));
  EXPECT_EQ(doubled[15], 14);
}

TEST_F(AutoencoderKlLayersTest, AResnetHasAShortcutWhereChannelsChange) {
  Weights weights = Open({{"x", {{1}, {0}}}});
  Resnet same;
  same.Take(weights, "same", 4, 4);
  EXPECT_EQ(same.shortcut, nullptr);
  Resnet other;
  other.Take(weights, "other", 4, 8);
  ASSERT_NE(other.shortcut, nullptr);
  const std::string missing(weights.Check().message());
  EXPECT_THAT(missing, HasSubstr("other.conv_shortcut.weight"));
  EXPECT_THAT(missing, ::testing::Not(HasSubstr("same.conv_shortcut")));
}

TEST_F(AutoencoderKlLayersTest, AttentionIsFoundUnderItsOldNames) {
  testing::TensorMap tensors = {{"attn.group_norm.weight", {{2}, {1, 1}}},
                                {"attn.group_norm.bias", {{2}, {0, 0}}}};
  for (const char* name : {"query", "key", "value", "proj_attn"}) {
    tensors[std::string("attn.") + name + ".weight"] = {{2, 2}, {1, 0, 0, 1}};
    tensors[std::string("attn.") + name + ".bias"] = {{2}, {0, 0}};
  }
  Weights weights = Open(tensors);
  Attention attention;
  attention.Take(weights, "attn.", 2);
  ASSERT_TRUE(weights.Check().ok()) << weights.Check();
  ASSERT_TRUE(attention.Load(ops_, *stream_).ok());
  EXPECT_EQ(attention.qkv->out_features(), 6);
}

TEST_F(AutoencoderKlLayersTest, AMidBlockMayDoWithoutAttention) {
  Weights weights = Open({{"x", {{1}, {0}}}});
  AutoencoderKlConfig config;
  config.block_channels = {4, 8};
  config.norm_groups = 4;
  MidBlock with;
  with.Take(weights, "mid", config);
  EXPECT_NE(with.attention, nullptr);
  config.mid_attention = false;
  MidBlock without;
  without.Take(weights, "mid", config);
  EXPECT_EQ(without.attention, nullptr);
}

}  // namespace
}  // namespace darkroom::kl
