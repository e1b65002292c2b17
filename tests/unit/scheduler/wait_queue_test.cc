#include "scheduler/wait_queue.h"

#include <algorithm>
#include <map>
#include <random>
#include <tuple>

#include "gtest/gtest.h"

namespace darkroom::scheduler {
namespace {

std::vector<JobId> All(const WaitQueue& queue, Lane lane) {
  std::vector<JobId> ids;
  queue.Visit(lane, [&](JobId id) {
    ids.push_back(id);
    return true;
  });
  return ids;
}

Job MakeJob(JobId id, TenantId tenant, int64_t key, bool late) {
  Job job;
  job.spec.id = id;
  job.spec.tenant = tenant;
  job.arrival = id;
  job.wait_key = key;
  job.waits_late = late;
  return job;
}

TEST(WaitQueueTest, MergesTenantsInOrder) {
  WaitQueue queue;
  queue.Add(MakeJob(1, 1, 50, false), true);
  queue.Add(MakeJob(2, 1, 10, false), true);
  queue.Add(MakeJob(3, 2, 30, false), true);
  queue.Add(MakeJob(4, 2, 60, false), true);
  queue.Add(MakeJob(5, 3, 5, true), true);
  EXPECT_EQ(All(queue, Lane::kFeasibleProtected), (std::vector<JobId>{2, 3, 1, 4}));
  EXPECT_EQ(All(queue, Lane::kLateProtected), (std::vector<JobId>{5}));
  EXPECT_EQ(queue.OldestLateProtected().second, 5u);
  queue.SetProtected(3, false);
  EXPECT_EQ(All(queue, Lane::kLateUnprotected), (std::vector<JobId>{5}));
  EXPECT_EQ(queue.OldestLateProtected().second, 0u);
}

// Beside a list that is sorted anew each time.
TEST(WaitQueueTest, AgreesWithASortedList) {
  std::mt19937_64 random(3);
  WaitQueue queue;
  std::map<JobId, Job> jobs;
  std::map<TenantId, bool> is_protected;
  for (int step = 0; step < 20'000; ++step) {
    const auto tenant = static_cast<TenantId>(random() % 7);
    const uint64_t dice = random() % 10;
    if (dice < 5) {
      const Job job = MakeJob(static_cast<JobId>(step) + 1, tenant,
                              static_cast<int64_t>(random() % 20), random() % 2 == 0);
      queue.Add(job, is_protected[tenant]);
      jobs[job.spec.id] = job;
    } else if (dice < 9 && !jobs.empty()) {
      const auto it = std::next(jobs.begin(), static_cast<long>(random() % jobs.size()));
      queue.Remove(it->second, is_protected[it->second.spec.tenant]);
      jobs.erase(it);
    } else {
      is_protected[tenant] = !is_protected[tenant];
      queue.SetProtected(tenant, is_protected[tenant]);
    }
    ASSERT_EQ(queue.size(), jobs.size());
    if (step % 50 != 0) continue;
    std::map<Lane, std::vector<std::pair<int64_t, JobId>>> expected;
    JobId oldest = 0;
    for (const auto& [id, job] : jobs) {
      const bool safe = is_protected[job.spec.tenant];
      const Lane lane = job.waits_late ? (safe ? Lane::kLateProtected : Lane::kLateUnprotected)
                        : safe         ? Lane::kFeasibleProtected
                                       : Lane::kFeasibleUnprotected;
      expected[lane].emplace_back(job.wait_key, id);
      if (job.waits_late && safe && oldest == 0) oldest = id;
    }
    EXPECT_EQ(queue.OldestLateProtected().second, oldest);
    for (int lane = 0; lane < kLanes; ++lane) {
      auto& sorted = expected[static_cast<Lane>(lane)];
      std::sort(sorted.begin(), sorted.end());
      std::vector<JobId> ids;
      for (const auto& [key, id] : sorted) ids.push_back(id);
      ASSERT_EQ(All(queue, static_cast<Lane>(lane)), ids) << "lane " << lane << " step " << step;
    }
  }
}

}  // namespace
}  // namespace darkroom::scheduler
