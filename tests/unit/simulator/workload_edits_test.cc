#include "simulator/workload_edits.h"

#include <cmath>

#include "base/error.h"
#include "gtest/gtest.h"
#include "simulator/metrics.h"
#include "simulator/policies.h"
#include "simulator/simulation.h"

namespace darkroom::simulator {
namespace {

TEST(WorkloadEditsTest, WorkFollowsTheMask) {
  EXPECT_DOUBLE_EQ(EditWork(1.0), 1.0);
  // Keys and values of all tokens, and the text's rows, are left when next to nothing is edited.
  EXPECT_NEAR(EditWork(0.0), 0.218, 0.001);
  EXPECT_NEAR(EditWork(0.5), (EditWork(0.0) + 1.0) / 2, 1e-9);
}

TEST(WorkloadEditsTest, OffersWhatWasAskedFor) {
  EditsWorkloadOptions options;
  options.pictures = 20'000;
  options.mask_mean = 0.11;
  const auto workload = MakeEditsWorkload(options, 3);
  ASSERT_TRUE(workload.ok());
  double edits = 0;
  double small = 0;
  double rows = 0;
  double units = 0;
  for (const WorkJob& job : workload->jobs) {
    units += static_cast<double>(job.milli_units) / 1000 * job.steps;
    if (job.milli_units == 3635) continue;
    ++edits;
    small += job.shape == 10 ? 1 : 0;
    const double work = static_cast<double>(job.milli_units) / 3635;
    rows += (work - EditWork(0)) / (1 - EditWork(0));
  }
  EXPECT_NEAR(edits / 20'000, 0.7, 0.02);
  EXPECT_NEAR(rows / edits, 0.11, 0.01);
  EXPECT_GT(small / edits, 0.5);
  const double span_s = static_cast<double>(workload->jobs.back().arrival_ns) / 1e9;
  EXPECT_NEAR(units * 0.03813 * 1.43 / (8 * span_s), 0.9, 0.02);
}

TEST(WorkloadEditsTest, RefusesWhatIsOutOfRange) {
  const auto reason = [](auto change) {
    EditsWorkloadOptions options;
    change(options);
    return ErrorReason(MakeEditsWorkload(options, 1).status());
  };
  EXPECT_EQ(reason([](auto& o) { o.gpus = 0; }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.load = -1; }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.deadline_slack = std::nan(""); }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.edit_share = 1.1; }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.mask_mean = 0; }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.mask_mean = 1; }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.pictures = 0; }), "WORKLOAD_INVALID");
}

TEST(WorkloadEditsTest, ARoutedEditStaysWithItsWorkerUntilThatIsLost) {
  EditsWorkloadOptions options;
  options.pictures = 300;
  options.gpus = 2;
  const auto workload = MakeEditsWorkload(options, 1);
  ASSERT_TRUE(workload.ok());
  auto policy = MakePolicy("flashps", {});
  ASSERT_TRUE(policy.ok());
  SimulationOptions simulation;
  // Both are away for a while: what comes then waits for the first that is back.
  const int64_t middle_ns = workload->jobs[150].arrival_ns;
  simulation.outages = {{0, middle_ns, middle_ns + 30'000'000'000},
                        {1, middle_ns + 1'000'000'000, middle_ns + 20'000'000'000}};
  const SimulationResult result = Simulate(*workload, **policy, simulation);
  for (size_t i = 0; i < workload->jobs.size(); ++i) {
    EXPECT_GE(result.states[i].finished_ns, 0) << "job " << i << " never ended";
  }
}

}  // namespace
}  // namespace darkroom::simulator
