#include "model/model_folder.h"

#include "base/error.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "testing/temp_folder.h"
#include "testing/tiny_dit_model.h"

namespace darkroom {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kIndex[] = R"({"_class_name": "DiTPipeline", "vae": ["diffusers", "AutoencoderKL"],
                              "odd": "x", "empty": [null, null]})";

TEST(ModelFolderTest, KnowsFamilyAndComponents) {
  const testing::TempFolder folder;
  folder.Write("model_index.json", kIndex);
  const absl::StatusOr<ModelFolder> opened = ModelFolder::Open(folder.path());
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->family(), "DiTPipeline");
  EXPECT_TRUE(opened->RequireComponent("vae", {"Other", "AutoencoderKL"}).ok());
  EXPECT_THAT(std::string(opened->RequireComponent("vae", {"A", "B"}).message()),
              HasSubstr("vae is a AutoencoderKL, which is not supported; supported: A or B"));
  for (const char* component : {"odd", "empty", "absent"}) {
    EXPECT_EQ(ErrorReason(opened->RequireComponent(component, {"A"})), "MODEL_INVALID");
  }
}

TEST(ModelFolderTest, ANetworkInAFolderOfItsOwn) {
  const testing::TempFolder folder;
  folder.Write("config.json", R"({"_class_name": "CaptionScorer", "size": 3})");
  const auto opened = ModelFolder::Open(folder.path(), ModelFolder::kConfigFile);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->family(), "CaptionScorer");
  EXPECT_EQ(opened->index().at("size"), 3);
  EXPECT_EQ(ErrorReason(ModelFolder::Open(folder.path()).status()), "MODEL_INVALID");
}

TEST(ModelFolderTest, FoldersThatAreNone) {
  const testing::TempFolder folder;
  const auto problem = [&](const std::string& path) {
    const absl::Status status = ModelFolder::Open(path).status();
    EXPECT_EQ(ErrorReason(status), "MODEL_INVALID");
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr(folder.path())));
    return std::string(status.message());
  };
  EXPECT_THAT(problem(folder.Path("nowhere")), HasSubstr("not a folder"));
  EXPECT_THAT(problem(folder.path()), HasSubstr("model_index.json: is missing"));
  folder.Write("model_index.json", "{}");
  EXPECT_THAT(problem(folder.path()), HasSubstr("_class_name is missing"));
  folder.Write("model_index.json", R"({"_class_name": 3})");
  EXPECT_THAT(problem(folder.path()), HasSubstr("_class_name is missing"));
  folder.Write("model_index.json", "");
  EXPECT_THAT(problem(folder.path()), HasSubstr("is empty"));
  folder.Write("model_index.json", "version https://git-lfs.github.com/spec/v1\n");
  EXPECT_THAT(problem(folder.path()), HasSubstr("git lfs pull"));
  EXPECT_THAT(problem(folder.Path("model_index.json")), HasSubstr("not a folder"));
}

std::string DigestOf(const testing::TempFolder& folder) {
  absl::StatusOr<ModelFolder> opened = ModelFolder::Open(folder.path());
  EXPECT_TRUE(opened.ok());
  EXPECT_TRUE(opened->ReadJson("a/config.json").ok());
  auto file = opened->OpenSafetensors("a/x.safetensors");
  EXPECT_TRUE(file.ok());
  size_t read = 0;
  opened->Use(**file, ModelFolder::Hash(**file, [&read](size_t bytes) { read += bytes; }));
  EXPECT_EQ(read, (*file)->bytes().size());
  return opened->Digest();
}

TEST(ModelFolderTest, DigestIsOverNamesAndContents) {
  const testing::TempFolder folder;
  folder.Write("model_index.json", kIndex);
  folder.Write("a/config.json", "{}");
  const std::string tensors = testing::SafetensorsBytes({{"a", {{1}, {1}}}});
  folder.Write("a/x.safetensors", tensors);
  folder.Write("README.md", "not used");
  const std::string digest = DigestOf(folder);

  std::string text;
  for (const auto& [file, content] : std::map<std::string, std::string>{
           {"a/config.json", "{}"}, {"a/x.safetensors", tensors}, {"model_index.json", kIndex}}) {
    text += std::to_string(file.size()) + ":" + file + "64:" + Sha256Hex(content);
  }
  EXPECT_EQ(digest, Sha256Hex(text));

  folder.Write("README.md", "still not used");
  EXPECT_EQ(DigestOf(folder), digest);
  folder.Write("a/config.json", "{ }");
  EXPECT_NE(DigestOf(folder), digest);
  folder.Write("a/config.json", "{}");
  folder.Write("a/x.safetensors", testing::SafetensorsBytes({{"a", {{1}, {2}}}}));
  EXPECT_NE(DigestOf(folder), digest);
}

TEST(ModelFolderTest, LicenseFromFrontMatter) {
  const testing::TempFolder folder;
  folder.Write("model_index.json", kIndex);
  const auto license = [&] { return ModelFolder::Open(folder.path())->License(); };
  EXPECT_EQ(license(), "");
  folder.Write("README.md", "license: not-in-front-matter\n");
  EXPECT_EQ(license(), "");
  folder.Write("README.md", "---\ntags: [x]\nlicense: \"apache-2.0\"\n---\nlicense: no\n");
  EXPECT_EQ(license(), "apache-2.0");
  folder.Write("README.md", "---\nlicense_name: x\n---\nlicense: no\n");
  folder.Write("LICENSE", "---\nlicense: cc-by-nc-4.0\r\n---\n");
  EXPECT_EQ(license(), "cc-by-nc-4.0");
}

}  // namespace
}  // namespace darkroom
