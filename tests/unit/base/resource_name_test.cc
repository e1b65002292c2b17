#include "base/resource_name.h"

#include <string>

#include "base/error.h"
#include "gtest/gtest.h"

namespace darkroom {
namespace {

TEST(ResourceNameTest, ParsesWhatItWrites) {
  const GenerationName name{"local", NewGenerationId(1'700'000'000'000, 1, 2)};
  const auto parsed = GenerationName::Parse(name.ToString(), "name");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->tenant, name.tenant);
  EXPECT_EQ(parsed->generation, name.generation);
}

TEST(ResourceNameTest, RefusesPathsAndOddities) {
  for (const std::string bad :
       {"", "tenants", "tenants/a/generations/", "tenants//generations/x",
        "tenants/../generations/x", "tenants/a/generations/x/y", "tenants/a/models/x",
        "tenants/a/generations/..", "tenants/A/generations/x", "/tenants/a/generations/x"}) {
    const auto parsed = GenerationName::Parse(bad, "name");
    EXPECT_EQ(ErrorReason(parsed.status()), "RESOURCE_NAME_INVALID") << bad;
  }
  EXPECT_FALSE(GenerationName::Parse(std::string("tenants/a/generations/x\0y", 24), "name").ok());
  EXPECT_FALSE(GenerationName::Parse("tenants/a/generations/" + std::string(64, 'x'), "name").ok());
}

TEST(ResourceNameTest, IdsSortByTime) {
  EXPECT_LT(NewGenerationId(1, ~0ull, ~0ull), NewGenerationId(2, 0, 0));
  EXPECT_TRUE(IsValidId(NewGenerationId(1'800'000'000'000, ~0ull, ~0ull)));
  EXPECT_NE(NewGenerationId(1, 0, 1), NewGenerationId(1, 0, 2));
}

}  // namespace
}  // namespace darkroom
