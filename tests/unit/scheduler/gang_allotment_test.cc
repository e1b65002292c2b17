#include "scheduler/gang_allotment.h"

#include <vector>

#include "gtest/gtest.h"

namespace darkroom::scheduler {
namespace {

constexpr RankState kIdle = RankState::kIdle;
constexpr RankState kBusy = RankState::kBusy;
constexpr RankState kAbsent = RankState::kAbsent;

// A job whose steps take 800 ms alone, and half as long on twice as many up to 8.
GangAsk Wide(int32_t need) {
  GangAsk ask;
  ask.need = need;
  ask.steps_left = 10;
  ask.step_ns = {800, 400, 200, 100};
  return ask;
}

// One that gains nothing by company.
GangAsk Narrow() {
  GangAsk ask;
  ask.step_ns = {100, 100, 100, 100};
  return ask;
}

void ExpectBlock(const GangBlock& block, int32_t begin, int32_t degree) {
  EXPECT_EQ(block.begin, begin);
  EXPECT_EQ(block.degree, degree);
}

TEST(GangAllotmentTest, LogarithmsOfDegrees) {
  EXPECT_EQ(DegreeIndex(1), 0);
  EXPECT_EQ(DegreeIndex(64), kDegreeSteps - 1);
}

TEST(GangAllotmentTest, WhatIsLeftGoesToWhoGainsMost) {
  const std::vector<RankState> ranks(8, kIdle);
  ExpectBlock(AllotGang(ranks, {Wide(1)})[0], 0, 8);
  const auto blocks = AllotGang(ranks, {Narrow(), Wide(2)});
  ExpectBlock(blocks[0], 0, 1);
  ExpectBlock(blocks[1], 4, 4);
}

TEST(GangAllotmentTest, FirstComeNeedsComeFirst) {
  const std::vector<RankState> ranks(8, kIdle);
  const auto blocks = AllotGang(ranks, {Wide(4), Wide(4), Wide(4)});
  ExpectBlock(blocks[0], 0, 4);
  ExpectBlock(blocks[1], 4, 4);
  EXPECT_EQ(blocks[2].degree, 0);
}

TEST(GangAllotmentTest, MakesDoWithLessButNotWithTooLittle) {
  const std::vector<RankState> ranks = {kIdle, kIdle, kAbsent, kIdle};
  EXPECT_EQ(AllotGang(ranks, {Wide(4)})[0].degree, 2);
  GangAsk coarse = Wide(4);
  coarse.least = 4;
  EXPECT_EQ(AllotGang(ranks, {coarse})[0].degree, 0);
}

TEST(GangAllotmentTest, StaysAtItsSlotAndLeavesLargeBlocksWhole) {
  std::vector<RankState> ranks(8, kIdle);
  GangAsk there = Narrow();
  there.at = 6;
  ExpectBlock(AllotGang(ranks, {there})[0], 6, 1);
  // Beside a block that is broken already, not in the half that is whole.
  ranks[1] = kAbsent;
  ExpectBlock(AllotGang(ranks, {Narrow()})[0], 0, 1);
  // Elsewhere than where another has its slot.
  GangAsk other = Narrow();
  other.at = 0;
  other.moves = false;
  const auto blocks = AllotGang(ranks, {Narrow(), other});
  EXPECT_NE(blocks[0].begin, 0);
  ExpectBlock(blocks[1], 0, 1);
}

TEST(GangAllotmentTest, PrefersWhatIsIdleNow) {
  const std::vector<RankState> ranks = {kBusy, kBusy, kIdle, kBusy};
  ExpectBlock(AllotGang(ranks, {Narrow()})[0], 2, 1);
  GangAsk fixed = Narrow();
  fixed.at = 1;
  fixed.moves = false;
  ExpectBlock(AllotGang(ranks, {fixed})[0], 1, 1);
}

TEST(GangAllotmentTest, WhoHasIdleRanksDoesNotLeaveThemForBusyOnes) {
  // Either might have the two that are busy; then the other would have both that are idle.
  const std::vector<RankState> ranks = {kBusy, kBusy, kIdle, kIdle};
  const auto blocks = AllotGang(ranks, {Wide(1), Wide(1)});
  ExpectBlock(blocks[0], 2, 1);
  ExpectBlock(blocks[1], 3, 1);
  // One alone is widened where it is.
  ExpectBlock(AllotGang(ranks, {Wide(1)})[0], 0, 4);
  // Who waits for a busy one anyway may go.
  const std::vector<RankState> busy = {kBusy, kAbsent, kBusy, kBusy};
  GangAsk there = Wide(1);
  there.at = 0;
  ExpectBlock(AllotGang(busy, {there})[0], 2, 2);
}

}  // namespace
}  // namespace darkroom::scheduler
