#include "model/parked_memory.h"

#include "base/error.h"
#include "gtest/gtest.h"
#include "testing/reference_ops.h"

namespace darkroom {
namespace {

TEST(ParkedMemoryTest, ASlotKeepsItsMemoryUntilAnotherNeedsTheRoom) {
  testing::ReferenceOps ops;
  ParkedMemory memory(ops, 3, 1000);
  const auto first = memory.Hold(0, 600);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(ErrorReason(memory.Hold(1, 600).status()), "PARKED_FULL");
  EXPECT_EQ(memory.bytes(), 600u);
  memory.StepDone(0);
  EXPECT_EQ(*memory.Hold(0, 500), *first) << "the same, for its next step";
  memory.StepDone(0);
  EXPECT_TRUE(memory.Hold(1, 600).ok());
  EXPECT_EQ(memory.buffer(0), nullptr);
  EXPECT_EQ(memory.bytes(), 600u);
}

TEST(ParkedMemoryTest, IsBoundedToTheByteAndFreed) {
  testing::ReferenceOps ops;
  ParkedMemory memory(ops, 2, 1000);
  EXPECT_EQ(ErrorReason(memory.Hold(0, 1001).status()), "PARKED_FULL");
  EXPECT_TRUE(memory.Hold(0, 1000).ok());
  memory.Free(0);
  memory.Free(1);
  EXPECT_EQ(memory.bytes(), 0u);
  EXPECT_TRUE(memory.Hold(1, 400).ok());
  // A larger one instead of the smaller.
  EXPECT_TRUE(memory.Hold(1, 1000).ok());
  EXPECT_EQ(memory.bytes(), 1000u);
}

TEST(ParkedMemoryTest, WithoutMemoryNothingIsHeld) {
  testing::ReferenceOps ops;
  ParkedMemory memory(ops, 1, 1000);
  ops.FailNextAllocation();
  EXPECT_EQ(ErrorReason(memory.Hold(0, 100).status()), "OUT_OF_MEMORY");
  EXPECT_EQ(memory.bytes(), 0u);
  EXPECT_TRUE(memory.Hold(0, 100).ok());
}

}  // namespace
}  // namespace darkroom
