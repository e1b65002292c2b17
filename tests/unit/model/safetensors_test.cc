#include "model/safetensors.h"

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

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string File(const std::string& header, const std::string& data = "") {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + header + data;
}

std::string Valid() {
  return testing::SafetensorsBytes(
      {{"a.weight", {{2, 3}, {1, 2, 3, 4, 5, 6}}}, {"b", {{2}, {7, 8}}}, {"none", {{0}, {}}}});
}

std::string Problem(const std::string& bytes) {
  const auto entries = ParseSafetensors(bytes, "x.safetensors");
  if (entries.ok()) return "";
  EXPECT_EQ(ErrorReason(entries.status()), "MODEL_INVALID");
  EXPECT_THAT(std::string(entries.status().message()), HasSubstr("x.safetensors"));
  return std::string(entries.status().message());
}

TEST(SafetensorsTest, ReadsWhatIsThere) {
  const auto entries = ParseSafetensors(Valid(), "x");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 3u);
  const SafetensorsEntry& weight = entries->at("a.weight");
  EXPECT_EQ(weight.dtype, DType::kF32);
  EXPECT_THAT(weight.shape, ElementsAre(2, 3));
  EXPECT_EQ(weight.elements, 6u);
  EXPECT_EQ(weight.size_bytes, 24u);
  EXPECT_EQ(Valid().substr(weight.offset_bytes, 4), std::string("\0\0\x80\x3f", 4));
  EXPECT_EQ(entries->at("none").size_bytes, 0u);
}

TEST(SafetensorsTest, EveryTruncationIsAnError) {
  const std::string valid = Valid();
  ASSERT_EQ(Problem(valid), "");
  for (size_t size = 0; size < valid.size(); ++size) {
    EXPECT_THAT(Problem(valid.substr(0, size)), HasSubstr("x.safetensors")) << size;
  }
}

TEST(SafetensorsTest, ChangedBytesAreReadOrRefusedWithinTheFile) {
  const std::string valid = Valid();
  for (size_t at = 0; at < valid.size(); ++at) {
    for (const int change : {0x01, 0x10, 0x80, 0xff}) {
      std::string changed = valid;
      changed[at] = static_cast<char>(changed[at] ^ change);
      const auto entries = ParseSafetensors(changed, "x");
      if (!entries.ok()) continue;
      for (const auto& [name, entry] : *entries) {
        EXPECT_LE(entry.offset_bytes + entry.size_bytes, changed.size()) << at << " " << name;
      }
    }
  }
}

TEST(SafetensorsTest, LyingHeaders) {
  const std::string four(4, 'x');
  const std::string eight(8, 'x');
  EXPECT_THAT(Problem(""), HasSubstr("cut short"));
  EXPECT_THAT(Problem("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
              HasSubstr("git lfs pull"));
  EXPECT_THAT(Problem(File("")), HasSubstr("empty header"));
  EXPECT_THAT(Problem(File(" {}")), HasSubstr("does not begin with '{'"));
  EXPECT_THAT(Problem(File("{")), HasSubstr("not valid JSON"));
  EXPECT_THAT(Problem(File("{}", "x")), HasSubstr("1 bytes follow"));
  EXPECT_THAT(Problem(File(R"({"a":1})")), HasSubstr("must be an object"));
  EXPECT_THAT(Problem(File(R"({"a":{"shape":[],"data_offsets":[0,4]}})", four)),
              HasSubstr("no dtype"));
  EXPECT_THAT(Problem(File(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", four)),
              HasSubstr("no shape"));
  EXPECT_THAT(Problem(File(R"({"a":{"dtype":"F32","shape":[1]}})", four)),
              HasSubstr("no pair of data_offsets"));
  EXPECT_THAT(Problem(File(R"({"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}})", four)),
              HasSubstr("unknown dtype \"F99\""));
  EXPECT_THAT(
      Problem(File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", four)),
      HasSubstr("unknown field \"x\""));
  EXPECT_THAT(Problem(File(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", four)),
              HasSubstr("no non-negative integer"));
  EXPECT_THAT(Problem(File(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", four)),
              HasSubstr("no non-negative integer"));
  EXPECT_THAT(Problem(File(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", four)),
              HasSubstr("takes 8 bytes by its dtype F32 and shape [2], but 4"));
  EXPECT_THAT(Problem(File(R"({"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}})", "x")),
              HasSubstr("does not fill whole bytes"));
  EXPECT_THAT(Problem(File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", four)),
              HasSubstr("no range"));
  EXPECT_THAT(Problem(File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", eight)),
              HasSubstr("overlap or leave a gap"));
  EXPECT_THAT(Problem(File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                           R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                           eight)),
              HasSubstr("overlap or leave a gap"));
  EXPECT_THAT(Problem(File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "xx")),
              HasSubstr("describes 4 bytes of tensors, 2 are there"));
  EXPECT_THAT(Problem(File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                           R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                           eight)),
              HasSubstr("key \"a\" occurs twice"));
  EXPECT_THAT(Problem(File(R"({"__metadata__":[]})")), HasSubstr("__metadata__"));
  EXPECT_THAT(Problem(File(R"({"__metadata__":{"format":1}})")), HasSubstr("must be a string"));
}

TEST(SafetensorsTest, ArithmeticDoesNotOverflow) {
  for (const char* shape : {"[4611686018427387904,4]", "[9223372036854775807,9223372036854775807]",
                            "[18446744073709551615]", "[4294967296,4294967296,4294967296]"}) {
    EXPECT_NE(Problem(File(absl::StrCat(R"({"a":{"dtype":"F32","shape":)", shape,
                                        R"(,"data_offsets":[0,4]}})"),
                           "xxxx")),
              "")
        << shape;
  }
  // Nothing times anything is nothing.
  EXPECT_EQ(Problem(File(R"({"a":{"dtype":"F32","shape":[0,9223372036854775807],)"
                         R"("data_offsets":[0,0]}})")),
            "");
  EXPECT_NE(Problem(File(R"({"a":{"dtype":"F32","shape":[1],)"
                         R"("data_offsets":[18446744073709551612,18446744073709551616]}})")),
            "");
}

TEST(SafetensorsTest, HeaderLengthIsBounded) {
  std::string huge = File("{}");
  for (const uint64_t length :
       {uint64_t{model_limits::kSafetensorsHeaderBytesMax} + 1, UINT64_MAX, UINT64_MAX - 8}) {
    std::memcpy(huge.data(), &length, sizeof(length));
    EXPECT_THAT(Problem(huge), HasSubstr("at most")) << length;
  }
}

TEST(SafetensorsTest, MapsAFileAndShowsItsTensors) {
  const testing::TempFolder folder;
  folder.Write("a.safetensors", Valid());
  auto file = SafetensorsFile::Open(folder.Path("a.safetensors"), "a.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->bytes(), Valid());
  const Tensor view = (*file)->View((*file)->entries().at("b"));
  EXPECT_EQ(view.rank, 1);
  EXPECT_EQ(view.dim(0), 2);
  float values[2];
  std::memcpy(values, view.data, sizeof(values));
  EXPECT_THAT(values, ElementsAre(7, 8));
}

TEST(SafetensorsTest, FilesThatAreNone) {
  const testing::TempFolder folder;
  folder.Write("empty.safetensors", "");
  const auto open = [&](const std::string& file) {
    return std::string(SafetensorsFile::Open(folder.Path(file), file).status().message());
  };
  EXPECT_THAT(open("empty.safetensors"), HasSubstr("is empty; copy the file again"));
  EXPECT_THAT(open("missing.safetensors"), HasSubstr("cannot be opened"));
  EXPECT_THAT(open("."), HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace darkroom
