#include "tenancy/api_key.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace darkroom {
namespace {

const std::string kId(16, 'a');
const std::string kSecret(64, '7');

TEST(ApiKeyTextTest, ReadsWhatItWrites) {
  const ApiKeyText key{kId, kSecret};
  EXPECT_EQ(key.ToString(), "drk_" + kId + "_" + kSecret);
  ApiKeyText read;
  ASSERT_TRUE(ApiKeyText::Parse(key.ToString(), read));
  EXPECT_EQ(read.id, kId);
  EXPECT_EQ(read.secret, kSecret);
}

TEST(ApiKeyTextTest, RefusesEverythingElse) {
  const std::string good = ApiKeyText{kId, kSecret}.ToString();
  ApiKeyText read;
  for (size_t i = 0; i < good.size(); ++i) {
    EXPECT_FALSE(ApiKeyText::Parse(good.substr(0, i), read)) << i;
    std::string changed = good;
    for (const char c : {'\0', 'G', '-', '\xff', ' '}) {
      changed[i] = c;
      EXPECT_FALSE(ApiKeyText::Parse(changed, read)) << i << " " << int{c};
    }
  }
  EXPECT_FALSE(ApiKeyText::Parse(good + "0", read));
}

TEST(NewKeyTest, NeverTheSameTwice) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(seen.insert(*NewKeyId()).second);
    const std::string secret = *NewKeySecret();
    EXPECT_EQ(secret.size(), 64u);
    EXPECT_TRUE(seen.insert(secret).second);
  }
}

TEST(HashKeySecretTest, DependsOnEveryPartAndOnWhereTheyMeet) {
  const std::string hash = HashKeySecret("pepper", "ab", "cd");
  EXPECT_EQ(hash.size(), 32u);
  EXPECT_EQ(hash, HashKeySecret("pepper", "ab", "cd"));
  EXPECT_NE(hash, HashKeySecret("Pepper", "ab", "cd"));
  EXPECT_NE(hash, HashKeySecret("pepper", "abc", "d"));
  EXPECT_NE(hash, HashKeySecret("pepper", "ab", "ce"));
}

TEST(IsOneOfTest, ComparesWhole) {
  EXPECT_TRUE(IsOneOf("abc", {"xyz", "abc"}));
  EXPECT_FALSE(IsOneOf("abc", {"xyz", "abd", "ab", "abcd"}));
  EXPECT_FALSE(IsOneOf("abc", {}));
}

}  // namespace
}  // namespace darkroom
