#pragma once

#include <cstdint>

namespace darkroom::scheduler {

// What is served first when not everything can be (docs/scheduling.md).
enum class Priority : uint8_t {
  // A tenant that has had less than its share comes before deadlines of one that has had more.
  kStrict,
  // Deadlines that can still be met come first, whoever's they are.
  kGoodput,
};

struct PolicyConfig {
  Priority priority = Priority::kStrict;
  // Accelerator time over weight by which a tenant may run ahead of the least served one and keep
  // its protection.
  int64_t burst_credit_ns = 1'000'000'000'000;
  // Share of each replica's time that is kept for late jobs of protected tenants.
  double reserve_share = 0.02;
  // Among jobs that can be in time those with the least left go first: in accelerator time (1), or
  // in steps whatever their size (0), which gives large pictures the chances of small ones and
  // keeps fewer deadlines in all. Between: left time / step time ^ (1 - size_weight).
  double size_weight = 1.0;
  // Deadlines of jobs that name none: this many times the job's time alone, plus the grace.
  double guaranteed_slack = 2.0;
  double target_slack = 3.0;
  double best_effort_slack = 10.0;
  int64_t deadline_grace_ns = 500'000'000;
};

}  // namespace darkroom::scheduler
