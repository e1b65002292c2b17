#include "simulator/weights.h"

#include <string>

#include "gtest/gtest.h"
#include "simulator/metrics.h"
#include "simulator/policies.h"
#include "simulator/simulation.h"

namespace darkroom::simulator {
namespace {

WorkJob Job(uint32_t model, uint32_t adapter) {
  WorkJob job;
  job.model = model;
  job.adapter = adapter;
  return job;
}

Workload Room(int gpu_models) {
  Workload workload;
  workload.gpus = 2;
  workload.gpu_models = gpu_models;
  return workload;
}

TEST(WeightsTest, WhatWasUsedLeastLatelyGoes) {
  LruWeights weights;
  weights.Reset(Room(2));
  const WorkJob a = Job(1, 0);
  const WorkJob b = Job(2, 0);
  const WorkJob c = Job(3, 0);
  EXPECT_EQ(weights.Bring(0, {&a}).size(), 1u);
  EXPECT_EQ(weights.Bring(0, {&b}).size(), 1u);
  EXPECT_TRUE(weights.Bring(0, {&a}).empty());
  weights.Bring(0, {&c});
  EXPECT_TRUE(weights.Holds(0, a));
  EXPECT_FALSE(weights.Holds(0, b));
  EXPECT_FALSE(weights.Holds(1, a));
}

TEST(WeightsTest, WhatIsFetchedIsThereWhenItArrives) {
  LruWeights weights;
  weights.Reset(Room(2));
  weights.Fetch(0, Job(1, 7));
  std::vector<WeightLoad> loads;
  weights.TakeLoads(loads);
  ASSERT_EQ(loads.size(), 2u);
  EXPECT_TRUE(weights.Anywhere(Job(1, 0)));
  weights.Fetch(0, Job(2, 0));  // not while two are under way
  for (const WeightLoad& load : loads) {
    EXPECT_FALSE(weights.Holds(0, Job(1, 7)));
    weights.Arrive(0, load.weights);
  }
  EXPECT_TRUE(weights.Holds(0, Job(1, 7)));
  weights.Fetch(0, Job(2, 0));
  loads.clear();
  weights.TakeLoads(loads);
  EXPECT_EQ(loads.size(), 1u);
}

// Two models by turns on one accelerator that has room for one.
Workload ByTurns() {
  Workload workload;
  workload.gpus = 1;
  workload.gpu_models = 2;
  for (uint32_t i = 0; i < 60; ++i) {
    WorkJob job = Job(i % 3, 0);
    job.request = i;
    job.steps = 20;
    job.arrival_ns = int64_t{i} * 5'000'000'000;
    job.deadline_ns = job.arrival_ns + 30'000'000'000;
    workload.jobs.push_back(job);
  }
  return workload;
}

TEST(WeightsTest, LoadsBlockOrDoNotForEverybody) {
  const Workload workload = ByTurns();
  for (const std::string name : {"darkroom", "srtf-equal", "vtc", "fifo"}) {
    const auto mean_s = [&](LoadMode mode) {
      auto policy = MakePolicy(name, {});
      EXPECT_TRUE(policy.ok());
      SimulationOptions options;
      options.load_mode = mode;
      const SimulationResult result = Simulate(workload, **policy, options);
      double sum_s = 0;
      for (size_t i = 0; i < workload.jobs.size(); ++i) {
        EXPECT_GE(result.states[i].finished_ns, 0) << name << ", job " << i << " never ended";
        sum_s += static_cast<double>(result.states[i].finished_ns - workload.jobs[i].arrival_ns);
      }
      return sum_s / 1e9 / static_cast<double>(workload.jobs.size());
    };
    const bool ours = name == "darkroom";
    EXPECT_LT(mean_s(LoadMode::kBeside), mean_s(LoadMode::kBlock)) << name;
    EXPECT_EQ(mean_s(LoadMode::kOwn), mean_s(ours ? LoadMode::kBeside : LoadMode::kBlock)) << name;
  }
}

}  // namespace
}  // namespace darkroom::simulator
