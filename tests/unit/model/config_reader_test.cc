#include "model/config_reader.h"

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ConfigReaderTest, ReadsAndDefaults) {
  const Json json = Json::parse(
      R"({"_class_name": "X", "_diffusers_version": "1", "i": 3, "n": 2, "b": true, "c": "two",
          "is": [1, 2], "ss": ["x"], "nothing": null, "training": 0.1, "unheard_of": null})");
  ConfigReader reader(json, "x.json");
  EXPECT_EQ(reader.Int("i", 1, 5), 3);
  EXPECT_EQ(reader.Int("absent", 1, 5, 4), 4);
  EXPECT_EQ(reader.Int("nothing", 1, 5, 4), 4);
  EXPECT_EQ(reader.Number("n", 0, 5), 2.0);
  EXPECT_TRUE(reader.Bool("b", false));
  EXPECT_EQ(reader.Choice("c", {"one", "two"}), "two");
  EXPECT_EQ(reader.Choice("d", {"one", "two"}), "one");
  EXPECT_THAT(reader.Ints("is", 1, 2, 2), ElementsAre(1, 2));
  EXPECT_THAT(reader.Strings("ss", 2), ElementsAre("x"));
  reader.OnlyBool("absent_too", false, false);
  reader.OnlyUnset("nothing");
  reader.Ignore({"training"});
  EXPECT_TRUE(reader.Finish().ok()) << reader.Finish();
}

std::string Problems(const char* text, void (*read)(ConfigReader&)) {
  const Json json = Json::parse(text);
  ConfigReader reader(json, "vae/config.json");
  read(reader);
  const absl::Status status = reader.Finish();
  EXPECT_FALSE(status.ok()) << text;
  EXPECT_EQ(ErrorReason(status), "MODEL_INVALID");
  EXPECT_THAT(std::string(status.message()), HasSubstr("vae/config.json: "));
  return std::string(status.message());
}

TEST(ConfigReaderTest, ReportsEveryProblemAtOnce) {
  EXPECT_THAT(Problems(R"({"i": 9, "n": "x", "surprise": 1})",
                       [](ConfigReader& reader) {
                         reader.Int("i", 1, 5);
                         reader.Number("n", 0, 1);
                         reader.Int("absent", 0, 7);
                       }),
              AllOf(HasSubstr("i is 9; it must be an integer from 1 to 5"),
                    HasSubstr("n is \"x\"; it must be a number from 0 to 1"),
                    HasSubstr("absent is missing; it must be 0 to 7"),
                    HasSubstr("surprise is not a known field")));
}

TEST(ConfigReaderTest, ConfigurationsInsideOneAnother) {
  const Json json = Json::parse(R"({"inner": {"i": 3}, "list": [], "nothing": null})");
  ConfigReader reader(json, "x.json");
  const Json* inner = reader.Object("inner");
  ASSERT_NE(inner, nullptr);
  EXPECT_EQ(inner->at("i"), 3);
  for (const char* field : {"list", "nothing", "absent"}) {
    EXPECT_EQ(reader.Object(field), nullptr) << field;
  }
  EXPECT_THAT(std::string(reader.Finish().message()),
              AllOf(HasSubstr("list must be an object"), HasSubstr("nothing is missing"),
                    HasSubstr("absent is missing; it must be an object")));
}

TEST(ConfigReaderTest, TypesAreExact) {
  const auto read_int = [](ConfigReader& reader) {
    const int64_t value = reader.Int("i", -5, 5, 2);
    EXPECT_GE(value, -5);
    EXPECT_LE(value, 5);
  };
  for (const char* text : {R"({"i": 1.0})", R"({"i": true})", R"({"i": "1"})", R"({"i": [1]})",
                           R"({"i": 18446744073709551615})", R"({"i": 9223372036854775808})",
                           R"({"i": -6})", R"({"i": 1e400})"}) {
    if (Json::parse(text, nullptr, false).is_discarded()) continue;
    EXPECT_THAT(Problems(text, read_int), HasSubstr("it must be an integer from -5 to 5"));
  }
  EXPECT_THAT(Problems(R"({"b": 1})", [](ConfigReader& reader) { reader.Bool("b", false); }),
              HasSubstr("must be true or false"));
  EXPECT_THAT(
      Problems(R"({"is": [1, -1]})", [](ConfigReader& reader) { reader.Ints("is", 0, 9, 4); }),
      HasSubstr("list of 1 to 4 integers from 0 to 9"));
  EXPECT_THAT(Problems(R"({"is": []})", [](ConfigReader& reader) { reader.Ints("is", 0, 9, 4); }),
              HasSubstr("list of 1 to 4"));
  EXPECT_THAT(
      Problems(R"({"ss": ["a", 1]})", [](ConfigReader& reader) { reader.Strings("ss", 4); }),
      HasSubstr("list of 1 to 4 strings"));
}

TEST(ConfigReaderTest, UnsupportedMeaningsAreNamed) {
  EXPECT_THAT(Problems(R"({"act": "relu"})",
                       [](ConfigReader& reader) {
                         reader.Choice("act", {"silu", "gelu"});
                       }),
              HasSubstr("act is \"relu\", which is not supported; supported: \"silu\", \"gelu\""));
  EXPECT_THAT(Problems(R"({"clip": true})",
                       [](ConfigReader& reader) { reader.OnlyBool("clip", false, false); }),
              HasSubstr("clip is true, which is not supported; it must be false"));
  EXPECT_THAT(Problems(R"({})", [](ConfigReader& reader) { reader.OnlyBool("clip", false, true); }),
              HasSubstr("clip is absent, which means true, which is not supported"));
  EXPECT_THAT(
      Problems(R"({"mean": [1, 2]})", [](ConfigReader& reader) { reader.OnlyUnset("mean"); }),
      HasSubstr("mean is [1,2], which is not supported; it must be null"));
}

TEST(ConfigReaderTest, ShowsLongValuesShortened) {
  const std::string text = "{\"i\": \"" + std::string(5000, 'x') + "\"}";
  EXPECT_LT(Problems(text.c_str(), [](ConfigReader& reader) { reader.Int("i", 1, 5); }).size(),
            200u);
}

}  // namespace
}  // namespace darkroom
