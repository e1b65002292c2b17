#include "engine/preparation_queue.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(PreparationQueueTest, AFewAtATimeInOrder) {
  PreparationQueue queue;
  for (int i = 0; i < 10; ++i) queue.Add(std::to_string(i));
  EXPECT_THAT(queue.Next(0), SizeIs(kInputsPreparingMax));
  EXPECT_THAT(queue.Next(0), IsEmpty());
  queue.Done();
  EXPECT_THAT(queue.Next(0), ElementsAre(std::to_string(kInputsPreparingMax)));
  EXPECT_THAT(queue.Next(0), IsEmpty());
}

TEST(PreparationQueueTest, WhatCouldNotBeDoneComesFirstAfterAWhile) {
  PreparationQueue queue;
  queue.Add("a");
  queue.Add("b");
  EXPECT_THAT(queue.Next(0), ElementsAre("a", "b"));
  queue.Again("a", 100);
  queue.Done();
  queue.Add("c");
  EXPECT_THAT(queue.Next(100), IsEmpty());
  EXPECT_THAT(queue.Next(100 + kInputsRetryNs - 1), IsEmpty());
  EXPECT_THAT(queue.Next(100 + kInputsRetryNs), ElementsAre("a", "c"));
}

}  // namespace
}  // namespace darkroom::engine
