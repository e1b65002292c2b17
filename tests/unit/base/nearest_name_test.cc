#include "base/nearest_name.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::vector<std::string>& Fruit() {
  static const auto& names =
      *new std::vector<std::string>{"apple", "pineapple", "grape", "pear", "peach", "apple"};
  return names;
}

TEST(NearestNamesTest, NearestFirstAndEachOnce) {
  // Distances: apple 1, grape 3, pear 4.
  EXPECT_THAT(NearestNames("aple", Fruit(), 2), ElementsAre("apple", "grape"));
  EXPECT_THAT(NearestNames("pech", Fruit(), 2), ElementsAre("peach", "pear"));
  EXPECT_THAT(NearestNames("pineaple", Fruit(), 1), ElementsAre("pineapple"));
}

TEST(NearestNamesTest, EqualDistancesKeepTheOrderOfTheList) {
  const std::vector<std::string> names = {"cat", "bat", "rat"};
  EXPECT_THAT(NearestNames("hat", names, 3), ElementsAre("cat", "bat", "rat"));
}

TEST(NearestNamesTest, IgnoresAsciiCase) {
  EXPECT_THAT(NearestNames("PEACH", Fruit(), 1), ElementsAre("peach"));
}

TEST(NearestNamesTest, CountsCodePointsNotBytes) {
  // One code point differs from "käse" (two bytes), two letters from "kasse".
  const std::vector<std::string> names = {"kosses", "käse"};
  EXPECT_THAT(NearestNames("kase", names, 1), ElementsAre("käse"));
}

TEST(NearestNamesTest, NothingWantedOrNothingThere) {
  EXPECT_THAT(NearestNames("x", Fruit(), 0), IsEmpty());
  EXPECT_THAT(NearestNames("x", Fruit(), -1), IsEmpty());
  EXPECT_THAT(NearestNames("x", {}, 3), IsEmpty());
  EXPECT_EQ(NearestNames("", Fruit(), 9).size(), 5u);
}

TEST(NearestNamesTest, TakesAnyBytesOfAnyLength) {
  EXPECT_EQ(NearestNames(std::string(1 << 20, 'x'), Fruit(), 1).size(), 1u);
  EXPECT_EQ(NearestNames("\x80\xff\xc3", Fruit(), 1).size(), 1u);
}

}  // namespace
}  // namespace darkroom
