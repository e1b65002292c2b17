#include "engine/budget_book.h"

#include <vector>

#include "absl/strings/cord.h"
#include "base/error.h"
#include "darkroom/v1/generation.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom::engine {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kSecond = 1'000'000'000;
constexpr double kEpsilon = 0.1;

// Two seconds of encoding and decoding, and a second for every step.
BudgetBook::Cost Job(scheduler::JobId id, int32_t steps) {
  return {.job = id, .nanos = (2 + steps) * kSecond, .steps = steps, .step_ns = kSecond};
}

int32_t OfferedSteps(const absl::Status& status) {
  v1::AdmissionOffer offer;
  const auto payload = status.GetPayload("type.googleapis.com/darkroom.v1.AdmissionOffer");
  if (!payload || !offer.ParseFromString(std::string(*payload))) return -1;
  return offer.steps_max();
}

TEST(BudgetBookTest, WithoutABudgetNothingIsRefused) {
  BudgetBook book;
  book.SetBudget(1, std::nullopt);
  const std::vector<BudgetBook::Cost> jobs = {Job(1, 100'000)};
  EXPECT_TRUE(book.Reserve(1, jobs, kEpsilon).ok());
  EXPECT_TRUE(book.Reserve(1, {}, kEpsilon).ok());
  EXPECT_GT(book.escrow().AccountOf(1).reserved_ns, 100'000 * kSecond);
}

TEST(BudgetBookTest, TheRefusalTellsWhatIsLeftAndWhatFits) {
  BudgetBook book;
  book.SetBudget(1, 20.0);
  // With their error 13.2 s and a little for rounding.
  const std::vector<BudgetBook::Cost> first = {Job(1, 10)};
  ASSERT_TRUE(book.Reserve(1, first, kEpsilon).ok());
  const std::vector<BudgetBook::Cost> second = {Job(2, 10)};
  const absl::Status refused = book.Reserve(1, second, kEpsilon);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(refused), "BUDGET_EXHAUSTED");
  EXPECT_THAT(std::string(refused.message()), HasSubstr("up to 13.200 s of accelerator time"));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("6.800 s of the tenant's budget are left"));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("at most 4 steps fit"));
  // What is offered is taken, and one more is not.
  ASSERT_EQ(OfferedSteps(refused), 4);
  const std::vector<BudgetBook::Cost> more = {Job(2, 5)};
  EXPECT_FALSE(book.Reserve(1, more, kEpsilon).ok());
  const std::vector<BudgetBook::Cost> offered = {Job(2, 4)};
  EXPECT_TRUE(book.Reserve(1, offered, kEpsilon).ok());
  EXPECT_THAT(book.escrow().BrokenInvariants(), IsEmpty());
}

TEST(BudgetBookTest, ABudgetThatNothingFitsOffersNothing) {
  BudgetBook book;
  book.SetBudget(1, 0.0);
  const std::vector<BudgetBook::Cost> jobs = {Job(1, 10)};
  const absl::Status refused = book.Reserve(1, jobs, kEpsilon);
  EXPECT_EQ(ErrorReason(refused), "BUDGET_EXHAUSTED");
  EXPECT_EQ(OfferedSteps(refused), 0);
  EXPECT_THAT(std::string(refused.message()), ::testing::Not(HasSubstr("steps fit")));
}

TEST(BudgetBookTest, AGenerationIsReservedWholeOrNotAtAll) {
  BudgetBook book;
  book.SetBudget(1, 30.0);
  const std::vector<BudgetBook::Cost> three = {Job(1, 10), Job(2, 10), Job(3, 10)};
  const absl::Status refused = book.Reserve(1, three, kEpsilon);
  EXPECT_EQ(OfferedSteps(refused), 7) << "of each";
  EXPECT_EQ(book.escrow().reservations(), 0u);
  EXPECT_EQ(book.escrow().AccountOf(1).reserved_ns, 0);
  const std::vector<BudgetBook::Cost> fewer = {Job(1, 7), Job(2, 7), Job(3, 7)};
  EXPECT_TRUE(book.Reserve(1, fewer, kEpsilon).ok());
  EXPECT_EQ(book.escrow().reservations(), 3u);
}

TEST(BudgetBookTest, WhatIsDoneAgainAndWhatIsTooMuchIsTheHouses) {
  BudgetBook book;
  book.SetBudget(1, 20.0);
  const std::vector<BudgetBook::Cost> jobs = {Job(1, 10)};
  ASSERT_TRUE(book.Reserve(1, jobs, 0).ok());
  book.Charge(1, 5 * kSecond, false);
  book.Charge(1, 3 * kSecond, true);
  EXPECT_EQ(book.escrow().AccountOf(1).charged_ns, 5 * kSecond);
  EXPECT_EQ(book.escrow().house_ns(), 3 * kSecond);
  book.Charge(1, 100 * kSecond, false);
  const int64_t worst_ns = book.escrow().AccountOf(1).charged_ns;
  EXPECT_NEAR(static_cast<double>(worst_ns), 12e9, 1e6);
  EXPECT_EQ(book.escrow().house_ns(), 108 * kSecond - worst_ns);
  book.Release(1, false);
  EXPECT_EQ(book.escrow().AccountOf(1).charged_ns, worst_ns);
  book.Charge(1, kSecond, false);
  EXPECT_EQ(book.escrow().AccountOf(1).charged_ns, worst_ns) << "it is gone";
}

TEST(BudgetBookTest, OurFaultIsRefunded) {
  BudgetBook book;
  book.SetBudget(1, 20.0);
  const std::vector<BudgetBook::Cost> jobs = {Job(1, 10)};
  ASSERT_TRUE(book.Reserve(1, jobs, kEpsilon).ok());
  book.Charge(1, 5 * kSecond, false);
  book.Release(1, true);
  EXPECT_EQ(book.escrow().Left(1), 20 * kSecond);
  EXPECT_EQ(book.escrow().house_ns(), 5 * kSecond);
}

}  // namespace
}  // namespace darkroom::engine
