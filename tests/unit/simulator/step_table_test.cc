#include "simulator/step_table.h"

#include "base/error.h"
#include "gtest/gtest.h"

namespace darkroom::simulator {
namespace {

TEST(StepTableTest, InterpolatesWhatWasMeasured) {
  const StepTable table = StepTable::MeasuredH200();
  EXPECT_EQ(table.Nanos(1), 167'000'000);  // launch-bound
  EXPECT_EQ(table.Nanos(1000), 167'000'000);
  EXPECT_EQ(table.Nanos(1500), 175'000'000);
  EXPECT_EQ(table.Nanos(16'000), 832'000'000);
  EXPECT_NEAR(static_cast<double>(table.Nanos(24'000)), 832e6 + 407e6, 1e3);
  EXPECT_NEAR(static_cast<double>(StepTable::WithoutLaunchCost().Nanos(4560)), 3e6 + 4.56 * 52e6,
              1e5);
}

TEST(StepTableTest, ReadsAFileAndNamesTheLineThatIsWrong) {
  const auto table =
      StepTable::Parse("degree,units,seconds\n# on two\n1,1,0.2\n1,4,0.5\n2,1,0.15\n2,4,0.3\n");
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->degrees(), (std::vector<int>{1, 2}));
  EXPECT_EQ(table->Nanos(4000, 2), 300'000'000);
  EXPECT_EQ(table->Nanos(4000, 4), 300'000'000);  // nobody measured 4
  for (const char* bad : {"1,1", "1,1,0", "1,1,-0.2", "1,1,nan", "1,0,0.2", "1,inf,0.2", "3,1,0.2",
                          "0,1,0.2", "1,2,0.3\n1,1,0.4", "1,2,0.3\n1,3,0.2", "2,1,0.2", "x"}) {
    const auto broken = StepTable::Parse(bad);
    ASSERT_FALSE(broken.ok()) << bad;
    EXPECT_EQ(ErrorReason(broken.status()), "STEP_TABLE_INVALID");
  }
}

}  // namespace
}  // namespace darkroom::simulator
