#include "gateway/class_names.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::ElementsAre;

class ClassNamesTest : public ::testing::Test {
 protected:
  bool Is(std::string_view prompt) { return IsClassName(prompt, pointers_); }

  const std::vector<std::string> names_ = {"tench, Tinca tinca", "great white shark , ", "crane",
                                           "crane"};
  const std::vector<const std::string*> pointers_ = {&names_[0], &names_[1], &names_[2],
                                                     &names_[3]};
};

TEST_F(ClassNamesTest, EverySynonymAndTheWholeString) {
  for (const char* prompt : {"tench", "TINCA TINCA", "tench, tinca tinca", "  crane ",
                             "great white shark", "great white shark ,"}) {
    EXPECT_TRUE(Is(prompt)) << prompt;
  }
  for (const char* prompt : {"", " ", ",", "tenc", "tench,", "tench Tinca tinca", "white"}) {
    EXPECT_FALSE(Is(prompt)) << prompt;
  }
}

TEST_F(ClassNamesTest, NearestCountsSynonymsOneByOne) {
  EXPECT_THAT(NearestClassNames("tinca tinka", pointers_, 1), ElementsAre("Tinca tinca"));
  EXPECT_THAT(NearestClassNames("cranes", pointers_, 2), ElementsAre("crane", "tench"));
}

}  // namespace
}  // namespace darkroom
