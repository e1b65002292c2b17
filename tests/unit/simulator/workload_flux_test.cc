#include "simulator/workload_flux.h"

#include <map>

#include "base/error.h"
#include "gtest/gtest.h"
#include "simulator/metrics.h"
#include "simulator/policies.h"
#include "simulator/simulation.h"

namespace darkroom::simulator {
namespace {

double Attainment(const Workload& workload, const std::string& name) {
  auto policy = MakePolicy(name, {});
  return Measure(workload, Simulate(workload, **policy, {})).attainment;
}

TEST(FluxWorkloadTest, IsPoissonWithDeadlinesByResolution) {
  FluxWorkloadOptions options;
  options.slo_scale = 1.1;
  options.requests = 4000;
  const auto workload = MakeFluxWorkload(options, 3);
  ASSERT_TRUE(workload.ok());
  std::map<int32_t, int> shapes;
  for (const WorkJob& job : workload->jobs) {
    ++shapes[job.shape];
    const double due_s = static_cast<double>(job.deadline_ns - job.arrival_ns) / 1e9;
    const std::map<int32_t, double> due = {{256, 1.65}, {512, 2.2}, {1024, 3.3}, {2048, 5.5}};
    EXPECT_NEAR(due_s, due.at(job.shape), 1e-6);
    EXPECT_LE(job.solo_ns, job.deadline_ns - job.arrival_ns) << "nobody could be in time";
  }
  for (const auto& [shape, count] : shapes) EXPECT_NEAR(count, 1000, 100) << shape;
  EXPECT_NEAR(static_cast<double>(workload->jobs.back().arrival_ns) / 1e9, 4000 * 5, 1000);
  options.skewed = true;
  const auto skewed = MakeFluxWorkload(options, 3);
  int large = 0;
  for (const WorkJob& job : skewed->jobs) large += job.shape == 2048 ? 1 : 0;
  // exp(1) of exp(1/64) + exp(1/16) + exp(1/4) + exp(1).
  EXPECT_NEAR(large, 4000 * 2.718 / (1.016 + 1.064 + 1.284 + 2.718), 120);
  options.slo_scale = 0;
  EXPECT_EQ(ErrorReason(MakeFluxWorkload(options, 3).status()), "WORKLOAD_INVALID");
}

TEST(FluxWorkloadTest, OneLargePictureUsesTheWholeGang) {
  FluxWorkloadOptions options;
  options.requests = 60;
  options.requests_per_minute = 1;
  const auto workload = MakeFluxWorkload(options, 1);
  ASSERT_TRUE(workload.ok());
  // On one accelerator each, every one of 2048x2048 and of 1024x1024 is late.
  EXPECT_LT(Attainment(*workload, "srtf"), 0.6);
  EXPECT_GT(Attainment(*workload, "tetriserve"), 0.9);
  EXPECT_GT(Attainment(*workload, "darkroom"), 0.95);
}

TEST(FluxWorkloadTest, TetriServeIsAsPublished) {
  FluxWorkloadOptions options;
  options.requests = 3000;
  for (const auto& [scale, published] :
       std::map<double, double>{{1.0, 0.76}, {1.1, 0.83}, {1.2, 0.91}, {1.5, 0.95}}) {
    options.slo_scale = scale;
    const auto workload = MakeFluxWorkload(options, 1);
    ASSERT_TRUE(workload.ok());
    EXPECT_NEAR(Attainment(*workload, "tetriserve"), published, 0.03) << scale;
  }
}

TEST(FluxWorkloadTest, AcceleratorsMayBeLost) {
  FluxWorkloadOptions options;
  options.requests = 300;
  const auto workload = MakeFluxWorkload(options, 1);
  ASSERT_TRUE(workload.ok());
  SimulationOptions simulation;
  simulation.outages = OutagesInTurn(*workload, 60'000'000'000);
  for (const std::string name : {"darkroom", "tetriserve"}) {
    auto policy = MakePolicy(name, {});
    const SimulationResult result = Simulate(*workload, **policy, simulation);
    for (size_t i = 0; i < workload->jobs.size(); ++i) {
      EXPECT_GE(result.states[i].finished_ns, 0) << name << ", job " << i << " never ended";
    }
  }
}

}  // namespace
}  // namespace darkroom::simulator
