#include "engine/tenant_book.h"

#include <string>

#include "base/error.h"
#include "gtest/gtest.h"

namespace darkroom::engine {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TenantPolicy Policy(const std::string& name, int generations_max, double per_second = 0,
                    double burst = 1) {
  TenantPolicy policy;
  policy.name = name;
  policy.generations_max = generations_max;
  policy.generations_per_second = per_second;
  policy.generations_burst = burst;
  return policy;
}

TEST(TenantBookTest, NumbersStayAndAreInThePoliciesOrder) {
  TenantBook book({Policy("ada", 5), Policy("grace", 6)}, Policy("", 7));
  EXPECT_EQ(book.IdOf("grace"), 2u);
  EXPECT_EQ(book.IdOf("gone"), 3u);
  EXPECT_EQ(book.IdOf("ada"), 1u);
  EXPECT_EQ(book.IdOf("gone"), 3u);
  EXPECT_EQ(book.PolicyOf(2).generations_max, 6);
  EXPECT_EQ(book.PolicyOf(3).generations_max, 7);
  EXPECT_EQ(book.PolicyOf(3).name, "gone");
}

TEST(TenantBookTest, BoundsWhatEachHas) {
  TenantBook book({Policy("ada", 2)}, Policy("", 1));
  EXPECT_TRUE(book.Enter("ada", 0).ok());
  EXPECT_TRUE(book.Enter("ada", 0).ok());
  const absl::Status full = book.Enter("ada", 0);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(full), "QUEUE_FULL");
  EXPECT_TRUE(full.GetPayload("type.googleapis.com/google.rpc.RetryInfo"));
  EXPECT_EQ(book.live("ada"), 2);
  EXPECT_TRUE(book.Enter("grace", 0).ok()) << "another tenant notices nothing";
  book.Leave("ada");
  EXPECT_TRUE(book.Enter("ada", 0).ok());
  // What a restart has found is there, however many.
  book.EnterAgain("ada");
  EXPECT_EQ(book.live("ada"), 3);
}

TEST(TenantBookTest, BoundsHowFastTheyCome) {
  TenantBook book({Policy("ada", 100, 2, 3)}, Policy("", 1));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(book.Enter("ada", kSecond).ok());
  const absl::Status fast = book.Enter("ada", kSecond);
  EXPECT_EQ(ErrorReason(fast), "TENANT_RATE");
  EXPECT_EQ(std::string(fast.message()),
            "this tenant asks for generations faster than it may: at most 2 per second, and 3 at "
            "once");
  EXPECT_EQ(book.live("ada"), 3) << "what is refused counts for nothing";
  EXPECT_TRUE(book.MayEnter("ada", kSecond + kSecond / 2).ok());
  EXPECT_TRUE(book.MayEnter("ada", kSecond + kSecond / 2).ok()) << "asking takes nothing";
  EXPECT_TRUE(book.Enter("ada", kSecond + kSecond / 2).ok());
  EXPECT_FALSE(book.Enter("ada", kSecond + kSecond / 2).ok());
}

TEST(TenantBookTest, AChangedPolicyHoldsAtOnceAndKeepsWhatWasUsed) {
  TenantBook book({Policy("ada", 5, 1, 1)}, Policy("", 1));
  EXPECT_TRUE(book.Enter("ada", 0).ok());
  EXPECT_EQ(ErrorReason(book.Enter("ada", 0)), "TENANT_RATE");
  book.Set(Policy("ada", 6, 1, 1));
  EXPECT_EQ(ErrorReason(book.Enter("ada", 0)), "TENANT_RATE") << "its rate has not changed";
  book.Set(Policy("ada", 1));
  EXPECT_EQ(ErrorReason(book.Enter("ada", 0)), "QUEUE_FULL");
  const scheduler::TenantId added = book.Set(Policy("grace", 4));
  EXPECT_EQ(added, 2u);
  EXPECT_EQ(book.PolicyOf(added).generations_max, 4);
}

TEST(TenantBookTest, NothingIsTakenFromOneThatIsGone) {
  TenantBook book({Policy("ada", 5)}, Policy("", 1));
  EXPECT_TRUE(book.Enter("ada", 0).ok());
  book.Remove("ada");
  EXPECT_TRUE(book.removed("ada"));
  EXPECT_EQ(ErrorReason(book.Enter("ada", 0)), "TENANT_NOT_FOUND");
  EXPECT_EQ(book.live("ada"), 1);
  book.Leave("ada");
  book.Set(Policy("ada", 5));
  EXPECT_FALSE(book.removed("ada"));
  EXPECT_TRUE(book.Enter("ada", 0).ok());
}

}  // namespace
}  // namespace darkroom::engine
