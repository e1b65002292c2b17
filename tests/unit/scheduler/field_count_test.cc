#include "scheduler/field_count.h"

#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace darkroom::scheduler {
namespace {

struct Nothing {};
struct Inner {
  int a = 0;
  int b = 0;
};
struct Outer {
  Inner inner;
  std::vector<Inner> list;
  std::optional<int> maybe;
  std::string text;
  double number = 1.5;
};

TEST(FieldCountTest, CountsAStructAsOneField) {
  EXPECT_EQ(FieldCount<Nothing>(), 0u);
  EXPECT_EQ(FieldCount<Inner>(), 2u);
  EXPECT_EQ(FieldCount<Outer>(), 5u);
}

}  // namespace
}  // namespace darkroom::scheduler
