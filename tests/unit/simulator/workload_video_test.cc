#include "simulator/workload_video.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "gtest/gtest.h"
#include "simulator/metrics.h"
#include "simulator/policies.h"
#include "simulator/simulation.h"

namespace darkroom::simulator {
namespace {

TEST(WorkloadVideoTest, OffersTheLoadsThatWereAskedFor) {
  VideoWorkloadOptions options;
  options.pictures = 20'000;
  const auto workload = MakeVideoWorkload(options, 3);
  ASSERT_TRUE(workload.ok());
  double pictures_s = 0;
  double clips_s = 0;
  int64_t arrival_ns = 0;
  for (const WorkJob& job : workload->jobs) {
    const double work_s = .052 * static_cast<double>(job.milli_units) / 1000 * job.steps;
    (job.shape == kVideoShape ? clips_s : pictures_s) += work_s;
    EXPECT_EQ(job.segments, job.shape == kVideoShape ? options.video_segments : 1);
    EXPECT_GE(job.arrival_ns, arrival_ns);
    arrival_ns = job.arrival_ns;
  }
  const double capacity_s = options.gpus * static_cast<double>(arrival_ns) / 1e9;
  EXPECT_NEAR(pictures_s / capacity_s, options.picture_load, 0.02);
  EXPECT_NEAR(clips_s / capacity_s, options.video_load, 0.06);
}

TEST(WorkloadVideoTest, RefusesWhatIsOutOfRange) {
  const auto reason = [](auto change) {
    VideoWorkloadOptions options;
    change(options);
    return ErrorReason(MakeVideoWorkload(options, 1).status());
  };
  EXPECT_EQ(reason([](auto& o) { o.gpus = 0; }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.video_segments = 5000; }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.picture_load = std::nan(""); }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.video_load = -1; }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.deadline_slack = 0; }), "WORKLOAD_INVALID");
  EXPECT_EQ(reason([](auto& o) { o.pictures = 0; }), "WORKLOAD_INVALID");
}

// A clip's step of 5 s is cut, so that a picture waits for a quantum and not for a step.
TEST(WorkloadVideoTest, PicturesWaitForAQuantumOfAClipAndTheStagedOne) {
  VideoWorkloadOptions options;
  options.gpus = 2;
  options.pictures = 400;
  const auto workload = MakeVideoWorkload(options, 1);
  ASSERT_TRUE(workload.ok());
  const auto waits_s = [&](int64_t quantum_ns, int plans) {
    DarkroomOptions darkroom;
    darkroom.quantum_ns_max = quantum_ns;
    darkroom.plans_in_flight = plans;
    auto policy = MakePolicy("darkroom", darkroom);
    EXPECT_TRUE(policy.ok());
    return Measure(*workload, Simulate(*workload, **policy, {})).behind_video_s_p99;
  };
  EXPECT_GT(waits_s(0, 1), 1.0);
  EXPECT_LE(waits_s(70'000'000, 1), 0.070);
  EXPECT_LE(waits_s(70'000'000, 2), 0.140);
}

TEST(WorkloadVideoTest, AcceleratorsAreLostInTurn) {
  Workload workload;
  workload.gpus = 4;
  workload.jobs.resize(1);
  workload.jobs[0].arrival_ns = 80;
  const std::vector<Outage> outages = OutagesInTurn(workload, 5);
  ASSERT_EQ(outages.size(), 4);
  for (int gpu = 0; gpu < 4; ++gpu) {
    EXPECT_EQ(outages[static_cast<size_t>(gpu)].gpu, gpu);
    EXPECT_EQ(outages[static_cast<size_t>(gpu)].from_ns, 10 + 20 * gpu);
    EXPECT_EQ(outages[static_cast<size_t>(gpu)].until_ns, 15 + 20 * gpu);
  }
}

}  // namespace
}  // namespace darkroom::simulator
