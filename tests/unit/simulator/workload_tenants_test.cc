#include "simulator/workload_tenants.h"

#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "gtest/gtest.h"
#include "simulator/metrics.h"
#include "simulator/policies.h"
#include "simulator/simulation.h"

namespace darkroom::simulator {
namespace {

using Mix = TenantsWorkloadOptions::Mix;

Workload Make(Mix mix, uint64_t seed = 1) {
  TenantsWorkloadOptions options;
  options.mix = mix;
  auto workload = MakeTenantsWorkload(options, seed);
  EXPECT_TRUE(workload.ok()) << workload.status();
  return *std::move(workload);
}

double Share(const Workload& workload, bool flood) {
  double marked = 0;
  for (const WorkJob& job : workload.jobs) marked += job.flood == flood ? 1 : 0;
  return marked / static_cast<double>(workload.jobs.size());
}

double OfferedLoad(const Workload& workload) {
  double work_s = 0;
  for (const WorkJob& job : workload.jobs) {
    work_s += .052 * static_cast<double>(job.milli_units) / 1000 * job.steps;
  }
  return work_s / (workload.gpus * static_cast<double>(workload.jobs.back().arrival_ns) / 1e9);
}

double Victims(const Workload& workload, const char* policy) {
  auto made = MakePolicy(policy, {});
  EXPECT_TRUE(made.ok());
  return Measure(workload, Simulate(workload, **made, {})).attainment_victims;
}

TEST(WorkloadTenantsTest, OnOffTenantsAreSilentMostOfTheTime) {
  const Workload workload = Make(Mix::kOnOff);
  EXPECT_NEAR(Share(workload, true), 0.5, 0.15);
  EXPECT_NEAR(OfferedLoad(workload), 0.8, 0.15);
  // In most periods of ten seconds such a tenant sends nothing; a steady one seldom is so quiet.
  std::map<uint32_t, std::set<int64_t>> periods;
  for (const WorkJob& job : workload.jobs) {
    periods[job.tenant].insert(job.arrival_ns / 10'000'000'000);
  }
  const auto all = static_cast<double>(workload.jobs.back().arrival_ns / 10'000'000'000 + 1);
  for (uint32_t tenant = 20; tenant < 24; ++tenant) {
    EXPECT_LT(static_cast<double>(periods[tenant].size()) / all, 0.5) << tenant;
  }
}

TEST(WorkloadTenantsTest, TheThrasherNeverAsksForAnAdapterTwice) {
  const Workload workload = Make(Mix::kThrash);
  std::map<uint32_t, int> of_thrasher;
  std::set<uint32_t> of_others;
  for (const WorkJob& job : workload.jobs) {
    if (job.flood) {
      EXPECT_EQ(++of_thrasher[job.adapter], 1);
    } else {
      of_others.insert(job.adapter);
    }
  }
  EXPECT_EQ(of_others.size(), 60u);
  EXPECT_NEAR(Share(workload, true), 1.0 / 3, 0.03);
  EXPECT_EQ(workload.gpu_models, 3);
  // A bound share of what is loaded is the thrasher's, so that the others keep most of their time.
  EXPECT_GT(Victims(workload, "darkroom"), Victims(workload, "srtf-equal") + 0.05);
}

TEST(WorkloadTenantsTest, ThousandsOfTenantsAreServed) {
  const Workload workload = Make(Mix::kTiny);
  std::set<uint32_t> tiny;
  for (const WorkJob& job : workload.jobs) {
    if (!job.flood) tiny.insert(job.tenant);
  }
  EXPECT_GT(tiny.size(), 1500u);
  EXPECT_GT(Victims(workload, "darkroom"), 0.95);
}

TEST(WorkloadTenantsTest, RefusesWhatIsOutOfRange) {
  const auto reason = [](auto change) {
    TenantsWorkloadOptions options;
    change(options);
    return ErrorReason(MakeTenantsWorkload(options, 1).status());
  };
  EXPECT_EQ(reason([](auto& o) { o.gpus = 0; }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.load = std::nan(""); }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.deadline_slack = 0; }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.pictures = 0; }), "WORKLOAD_INVALID");
}

}  // namespace
}  // namespace darkroom::simulator
