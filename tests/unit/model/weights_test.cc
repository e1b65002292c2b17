#include "model/weights.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/limits.h"
#include "testing/temp_folder.h"
#include "testing/tiny_dit_model.h"

namespace darkroom {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kFile[] = "unit/diffusion_pytorch_model.safetensors";
constexpr char kIndex[] = "unit/diffusion_pytorch_model.safetensors.index.json";

// A folder with one component, "unit".
class WeightsTest : public ::testing::Test {
 protected:
  WeightsTest() { folder_.Write("model_index.json", R"({"_class_name": "X"})"); }

  absl::StatusOr<Weights> Open() {
    absl::StatusOr<ModelFolder> folder = ModelFolder::Open(folder_.path());
    if (!folder.ok()) return folder.status();
    return Weights::Open(*folder, "unit");
  }
  std::string OpenProblem() {
    const absl::Status status = Open().status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID") << status;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr(folder_.path())));
    return std::string(status.message());
  }
  void WriteShards(const std::string& index) {
    folder_.Write("unit/one.safetensors", testing::SafetensorsBytes({{"a", {{1}, {1}}}}));
    folder_.Write("unit/two.safetensors", testing::SafetensorsBytes({{"b", {{1}, {2}}}}));
    folder_.Write(kIndex, index);
  }

  testing::TempFolder folder_;
};

TEST_F(WeightsTest, TakesWhatIsExpected) {
  folder_.Write(kFile, testing::SafetensorsBytes({{"a.weight", {{2, 1}, {1, 2}}},
                                                  {"old.bias", {{1}, {3}}},
                                                  {"encoder.x", {{1}, {4}}}}));
  absl::StatusOr<Weights> weights = Open();
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(ToFloat(weights->Take("a.weight", {2, 1})), ElementsAre(1, 2));
  EXPECT_THAT(ToFloat(weights->Take("new.bias", {1}, "old.bias")), ElementsAre(3));
  weights->Ignore({"encoder."});
  EXPECT_TRUE(weights->Check().ok()) << weights->Check();
  EXPECT_EQ(weights->parameters(), 4);
}

TEST_F(WeightsTest, OneErrorListsEverything) {
  folder_.Write(kFile, testing::SafetensorsBytes({{"wrong.shape", {{2, 1}, {1, 2}}},
                                                  {"wrong.rank", {{2}, {1, 2}}},
                                                  {"extra.one", {{1}, {1}}},
                                                  {"extra.two", {{1, 1}, {1}}}}));
  absl::StatusOr<Weights> weights = Open();
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_FALSE(weights->Take("wrong.shape", {1, 2}));
  EXPECT_FALSE(weights->Take("wrong.rank", {2, 1}));
  EXPECT_FALSE(weights->Take("missing.one", {3, 4}));
  EXPECT_FALSE(weights->Take("missing.two", {5}));
  const absl::Status status = weights->Check();
  EXPECT_EQ(ErrorReason(status), "MODEL_INVALID");
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("unit: 2 missing tensors: missing.one [3, 4], missing.two [5]"),
                    HasSubstr("2 misshaped tensors: wrong.shape is F32 [2, 1], expected F32, BF16 "
                              "or F16 [1, 2], wrong.rank is F32 [2]"),
                    HasSubstr("2 unknown tensors: extra.one F32 [1], extra.two F32 [1, 1]")));
}

TEST_F(WeightsTest, LongListsAreCounted) {
  folder_.Write(kFile, testing::SafetensorsBytes({}));
  absl::StatusOr<Weights> weights = Open();
  ASSERT_TRUE(weights.ok()) << weights.status();
  for (int i = 0; i < model_limits::kProblemsListedMax + 44; ++i) {
    weights->Take(absl::StrCat("t", i), {1});
  }
  EXPECT_THAT(std::string(weights->Check().message()),
              AllOf(HasSubstr("300 missing tensors: t0 [1], "), HasSubstr("and 44 more")));
}

TEST_F(WeightsTest, IntegersAreNoWeights) {
  const std::string header = R"({"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}})";
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  folder_.Write(kFile, bytes + header + "xxxx");
  absl::StatusOr<Weights> weights = Open();
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_FALSE(weights->Take("a", {1}));
  EXPECT_THAT(std::string(weights->Check().message()), HasSubstr("a is I32 [1]"));
}

TEST_F(WeightsTest, WidensHalvesExactly) {
  // bf16 1, -2.5; f16 1, -2.5, the smallest subnormal, the largest, infinity.
  const std::string header = R"({"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},)"
                             R"("h":{"dtype":"F16","shape":[5],"data_offsets":[4,14]}})";
  const uint64_t length = header.size();
  const uint16_t halves[] = {0x3f80, 0xc020, 0x3c00, 0xc100, 0x0001, 0x7bff, 0x7c00};
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  // An odd header length leaves the tensors unaligned, which must not matter.
  folder_.Write(
      kFile, bytes + header + std::string(reinterpret_cast<const char*>(halves), sizeof(halves)));
  absl::StatusOr<Weights> weights = Open();
  ASSERT_TRUE(weights.ok()) << weights.status();
  const Tensor b = weights->Take("b", {2});
  EXPECT_THAT(ToFloat(b), ElementsAre(1.0f, -2.5f));
  const Tensor h = weights->Take("h", {5});
  EXPECT_THAT(ToFloat(h), ElementsAre(1.0f, -2.5f, 0x1p-24f, 65504.0f, INFINITY));
  EXPECT_EQ(ToFloat({b, h}).size(), 7u);
}

TEST_F(WeightsTest, Shards) {
  WriteShards(R"({"metadata": {"total_size": 8},
                  "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})");
  absl::StatusOr<Weights> weights = Open();
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->files().size(), 2u);
  EXPECT_THAT(ToFloat(weights->Take("a", {1})), ElementsAre(1));
  EXPECT_THAT(ToFloat(weights->Take("b", {1})), ElementsAre(2));
  EXPECT_TRUE(weights->Check().ok());
}

TEST_F(WeightsTest, ShardsThatDoNotFitTheirIndex) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "3.safetensors",
                          "d": "4.safetensors"}})",
       "2 of 4 shards are missing: 3.safetensors, 4.safetensors"},
      {R"({"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}})",
       "unit/one.safetensors: has no tensor \"b\""},
      {R"({"weight_map": {"a": "one.safetensors"}})", ""},
      {R"({"weight_map": {}})", "weight_map is missing or empty"},
      {R"({})", "weight_map is missing or empty"},
      {R"({"weight_map": {"a": "../unit/one.safetensors"}})", "not NAME.safetensors"},
      {R"({"weight_map": {"a": "/etc/passwd"}})", "not NAME.safetensors"},
      {R"({"weight_map": {"a": "one.bin"}})", "not NAME.safetensors"},
      {R"({"weight_map": {"a": ".safetensors"}})", "not NAME.safetensors"},
      {R"({"weight_map": {"a": 1}})", "not NAME.safetensors"},
      {R"({"weight_map": {"a": "one.safetensors", "a": "two.safetensors"}})", "occurs twice"},
      {R"(version https://git-lfs.github.com/spec/v1)", "git lfs pull"},
      {"", "is empty"},
  };
  for (const auto& [index, problem] : cases) {
    WriteShards(index);
    if (*problem == '\0') {
      EXPECT_TRUE(Open().ok()) << index;
    } else {
      EXPECT_THAT(OpenProblem(), HasSubstr(problem)) << index;
    }
  }
  // A tensor in two shards.
  WriteShards(R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})");
  folder_.Write("unit/two.safetensors",
                testing::SafetensorsBytes({{"a", {{1}, {1}}}, {"b", {{1}, {2}}}}));
  EXPECT_THAT(OpenProblem(), HasSubstr("has 2 tensors, of which the index knows 1"));
}

TEST_F(WeightsTest, PickleIsNeverLoaded) {
  folder_.Write("unit/diffusion_pytorch_model.bin", "\x80\x02");
  EXPECT_THAT(OpenProblem(), AllOf(HasSubstr("diffusion_pytorch_model.bin, which is pickle"),
                                   HasSubstr("safe_serialization=True")));
}

TEST_F(WeightsTest, SaysWhatIsThereInstead) {
  EXPECT_THAT(OpenProblem(), HasSubstr("unit/diffusion_pytorch_model.safetensors: is missing"));
  folder_.Write("unit/diffusion_pytorch_model.fp16.safetensors", "x");
  EXPECT_THAT(OpenProblem(),
              HasSubstr("the folder has diffusion_pytorch_model.fp16.safetensors: rename"));
}

}  // namespace
}  // namespace darkroom
