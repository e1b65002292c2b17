#include "main/cli/machine.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace darkroom::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(MachineTest, VectorInstructionSets) {
  EXPECT_THAT(VectorInstructionSets("fpu sse4_2 avx avx2 avx512f avx512_vnni amx_bf16x"),
              ElementsAre("avx2", "avx512f", "avx512_vnni"));
  EXPECT_THAT(VectorInstructionSets(""), IsEmpty());
}

TEST(MachineTest, TellsWhatIsMissingAndHowToMendIt) {
  const auto findings = InspectMachine(::testing::TempDir());
  ASSERT_EQ(findings.size(), 6);
  for (const Finding& finding : findings) {
    EXPECT_FALSE(finding.subject.empty());
    EXPECT_FALSE(finding.text.empty());
    EXPECT_EQ(finding.fix.empty(), finding.level == Finding::Level::kOk) << finding.subject;
  }
  EXPECT_EQ(findings[5].subject, "darkroom-worker");
  EXPECT_EQ(findings[5].level, Finding::Level::kMissing);
}

}  // namespace
}  // namespace darkroom::cli
