#include "model/class_names.h"

#include "base/error.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace darkroom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<ClassNames> Parse(const char* labels) {
  Json index = Json::object();
  index["id2label"] = Json::parse(labels);
  return ClassNames::Parse(index, 1000);
}

TEST(ClassNamesTest, EverySynonymNamesTheClass) {
  const auto names =
      Parse(R"({"0": "tench, Tinca tinca", "7": "cock", "500": " cliff dwelling "})");
  ASSERT_TRUE(names.ok()) << names.status();
  EXPECT_THAT(names->names(), ElementsAre("tench", "Tinca tinca", "cock", "cliff dwelling"));
  for (const char* prompt :
       {"tench", "Tinca tinca", "TENCH", " tinca TINCA\n", "tench, Tinca tinca"}) {
    EXPECT_EQ(names->Find(prompt).value_or(-1), 0) << prompt;
  }
  EXPECT_EQ(names->Find("cock").value_or(-1), 7);
  EXPECT_EQ(names->Find("Cliff Dwelling").value_or(-1), 500);
}

TEST(ClassNamesTest, TheLastOfEqualNamesWins) {
  // ImageNet has two cranes, of which diffusers takes the machine.
  const auto names = Parse(R"({"134": "crane", "517": "crane"})");
  ASSERT_TRUE(names.ok());
  EXPECT_THAT(names->names(), ElementsAre("crane"));
  EXPECT_EQ(names->Find("crane").value_or(-1), 517);
}

TEST(ClassNamesTest, ExactCaseComesFirst) {
  const auto names = Parse(R"({"1": "Turkey", "2": "turkey"})");
  ASSERT_TRUE(names.ok());
  EXPECT_EQ(names->Find("Turkey").value_or(-1), 1);
  EXPECT_EQ(names->Find("turkey").value_or(-1), 2);
}

TEST(ClassNamesTest, UnknownNamesGetTheNearest) {
  const auto names = Parse(R"({"0": "goldfish", "1": "white shark", "2": "hen", "3": "hyena"})");
  ASSERT_TRUE(names.ok());
  const absl::Status status = names->Find("goldfsh").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(status), "CLASS_UNKNOWN");
  EXPECT_THAT(std::string(status.message()), HasSubstr("nearest: \"goldfish\", \""));
  EXPECT_NE(status.GetPayload("type.googleapis.com/google.rpc.BadRequest"), absl::nullopt);
  // What was asked is the client's and stays out of messages, which are logged.
  EXPECT_THAT(std::string(status.message()), ::testing::Not(HasSubstr("goldfsh")));
}

TEST(ClassNamesTest, IdsAndNothingAreNoNames) {
  const auto names = Parse(R"({"0": "goldfish", "1": "a, ,b"})");
  ASSERT_TRUE(names.ok());
  for (const char* prompt : {"0", "1", "", " ", ",", "\xff\xfe"}) {
    EXPECT_EQ(ErrorReason(names->Find(prompt).status()), "CLASS_UNKNOWN") << prompt;
  }
}

TEST(ClassNamesTest, RefusesBrokenLabels) {
  for (const char* labels :
       {"{}", "[]", "null", R"({"-1": "a"})", R"({"1000": "a"})", R"({"x": "a"})", R"({"01": "a"})",
        R"({"1.0": "a"})", R"({" 1": "a"})", R"({"1": 5})", R"({"1": ""})", R"({"1": "  "})"}) {
    EXPECT_EQ(ErrorReason(Parse(labels).status()), "MODEL_INVALID") << labels;
  }
  EXPECT_EQ(ErrorReason(ClassNames::Parse(Json::object(), 10).status()), "MODEL_INVALID");
}

}  // namespace
}  // namespace darkroom
