#include "simulator/simulation.h"

#include <string>

#include "gtest/gtest.h"
#include "simulator/metrics.h"
#include "simulator/policies.h"
#include "simulator/random.h"

namespace darkroom::simulator {
namespace {

Workload Mix(int jobs, uint64_t seed) {
  Random random(seed);
  Workload workload;
  workload.gpus = 3;
  workload.tenants = 4;
  int64_t at_ns = 0;
  for (int i = 0; i < jobs; ++i) {
    at_ns += static_cast<int64_t>(random.Exponential(4e8));
    WorkJob job;
    job.request = static_cast<uint32_t>(i);
    job.tenant = static_cast<uint32_t>(random.Below(4));
    job.model = static_cast<uint32_t>(random.Below(2));
    job.milli_units = random.Chance(0.5) ? 1000 : 4560;
    job.shape = job.milli_units == 1000 ? 512 : 1024;
    job.steps = 5 + static_cast<int32_t>(random.Below(30));
    job.arrival_ns = at_ns;
    job.solo_ns = workload.table.Nanos(job.milli_units) * job.steps;
    job.deadline_ns = at_ns + 3 * job.solo_ns;
    workload.jobs.push_back(job);
  }
  return workload;
}

class SimulationTest : public ::testing::TestWithParam<std::string> {};

TEST_P(SimulationTest, EveryPolicyEndsEveryJobOnceAndRepeatsItself) {
  const Workload workload = Mix(200, 5);
  SimulationOptions options;
  options.cost_error = 0.1;
  options.outages = {{1, 5'000'000'000, 20'000'000'000}, {0, 9'000'000'000, 9'500'000'000}};
  SimulationResult results[2];
  for (SimulationResult& result : results) {
    auto policy = MakePolicy(GetParam(), {});
    ASSERT_TRUE(policy.ok());
    result = Simulate(workload, **policy, options);
  }
  for (size_t i = 0; i < workload.jobs.size(); ++i) {
    const JobState& state = results[0].states[i];
    EXPECT_GE(state.finished_ns, workload.jobs[i].arrival_ns) << "job " << i << " never ended";
    EXPECT_EQ(state.steps_done, workload.jobs[i].steps);
    EXPECT_EQ(state.finished_ns, results[1].states[i].finished_ns);
  }
  EXPECT_EQ(results[0].quanta, results[1].quanta);
  EXPECT_LE(results[0].busy_ns, results[0].end_ns * workload.gpus);
}

INSTANTIATE_TEST_SUITE_P(Policies, SimulationTest, ::testing::ValuesIn(PolicyNames()));

TEST(SimulationMetricsTest, CountWhatWasInTime) {
  Workload workload;
  workload.gpus = 1;
  for (int i = 0; i < 4; ++i) {
    WorkJob job;
    job.request = static_cast<uint32_t>(i / 2);
    job.tenant = static_cast<uint32_t>(i % 2);
    job.shape = i < 2 ? 512 : 1024;
    job.solo_ns = 100;
    job.deadline_ns = 1000;
    workload.jobs.push_back(job);
  }
  SimulationResult result;
  result.states.resize(4);
  result.end_ns = 2000;
  result.states[0].finished_ns = 1000;  // at the deadline is in time
  result.states[1].finished_ns = 1001;
  result.states[2].finished_ns = 200;
  result.states[3].refused = true;
  const RunMetrics metrics = Measure(workload, result);
  EXPECT_DOUBLE_EQ(metrics.attainment, 0.5);
  EXPECT_DOUBLE_EQ(metrics.attainment_by_shape.at(512), 0.5);
  EXPECT_DOUBLE_EQ(metrics.attainment_requests, 0.0);
  EXPECT_DOUBLE_EQ(metrics.tenant_worst, 0.0);
  EXPECT_DOUBLE_EQ(metrics.jain, 0.5);
  EXPECT_EQ(metrics.refused, 1);
  EXPECT_DOUBLE_EQ(metrics.slowdown_p50, 10.0);
}

TEST(SimulationMetricsTest, IntervalIsStudents) {
  const Interval interval = MeanInterval({1, 2, 3, 4, 5});
  EXPECT_DOUBLE_EQ(interval.mean, 3);
  EXPECT_NEAR(interval.high, 3 + 2.776 * std::sqrt(2.5 / 5), 1e-9);
  EXPECT_DOUBLE_EQ(Percentile({5, 1, 3}, 0.5), 3);
  EXPECT_DOUBLE_EQ(Percentile({}, 0.5), 0);
}

}  // namespace
}  // namespace darkroom::simulator
