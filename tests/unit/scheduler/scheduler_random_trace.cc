// Traces that follow from a seed.

#include <algorithm>
#include <random>

#include "scheduler/job.h"
#include "scheduler_trace.h"

namespace darkroom::scheduler {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kBucket = 64;

// t = max(launch cost, slope * tokens), rounded up to buckets of one size.
std::vector<CostPoint> Costs(std::mt19937_64& random) {
  std::vector<CostPoint> points;
  for (const Stage stage : {Stage::kEncode, Stage::kImageEncode, Stage::kDenoise, Stage::kDecode}) {
    const auto launch = static_cast<int64_t>(1 + random() % 20) * kMillisecond;
    const auto slope = static_cast<int64_t>(1 + random() % 200) * 1000;
    for (int64_t tokens = kBucket; tokens <= 64 * kBucket; tokens += kBucket) {
      points.push_back({stage, tokens, std::max(launch, slope * tokens)});
    }
  }
  return points;
}

int64_t SoloNanos(const ReplicaSpec& replica, const JobSpec& spec) {
  int64_t nanos = 0;
  for (int i = 0; i < kStages; ++i) {
    const auto stage = static_cast<Stage>(i);
    if (stage == Stage::kMediaEncode || !Needs(spec, stage)) continue;
    nanos +=
        Cost(replica, stage, Tokens(spec, stage)) * (stage == Stage::kDenoise ? spec.steps : 1);
  }
  return nanos;
}

JobSpec RandomJob(JobId id, const ReplicaSpec& like, std::mt19937_64& random) {
  JobSpec spec;
  spec.id = id;
  spec.tenant = static_cast<TenantId>(1 + random() % 4);
  spec.model = static_cast<ModelId>(random() % 2);
  spec.isolation = random() % 6 == 0 ? Isolation::kExclusiveBatch : Isolation::kShared;
  spec.steps = 1 + static_cast<int32_t>(random() % 10);
  spec.step_tokens = kBucket * (1 + static_cast<int64_t>(random() % 6));
  spec.image_tokens = kBucket;
  spec.image_encode = random() % 4 == 0;
  spec.stages = kAllStages & ~StageBit(Stage::kMediaEncode);
  if (random() % 2 == 0) spec.stages = StageBit(Stage::kDenoise);
  spec.segments = random() % 6 == 0 ? 1 + static_cast<int32_t>(random() % 8) : 1;
  const uint64_t dice = random() % 10;
  spec.service_class = dice < 3   ? ServiceClass::kGuaranteed
                       : dice < 5 ? ServiceClass::kTarget
                                  : ServiceClass::kBestEffort;
  if (spec.service_class == ServiceClass::kGuaranteed || random() % 4 != 0) {
    const double slack = 0.5 + static_cast<double>(random() % 800) / 100.0;
    spec.deadline_ns = 1 + static_cast<int64_t>(slack * static_cast<double>(SoloNanos(like, spec)));
  }
  return spec;
}

}  // namespace

int64_t Cost(const ReplicaSpec& replica, Stage stage, int64_t tokens) {
  for (const CostPoint& point : replica.cost) {
    if (point.stage == stage && tokens <= point.tokens) return point.nanos;
  }
  return 0;
}

Trace RandomTrace(uint64_t seed) {
  std::mt19937_64 random(seed);
  Trace trace;
  trace.config.priority = random() % 2 == 0 ? Priority::kStrict : Priority::kGoodput;
  trace.config.burst_credit_ns = static_cast<int64_t>(random() % 4) * 200 * kMillisecond;
  trace.pace = random() % 2 == 0 ? 1.0 : 0.6 + static_cast<double>(random() % 40) / 100.0;
  ReplicaSpec spec;
  spec.stages = 0b01111;
  spec.models = {0, 1};
  spec.slots = 2 + static_cast<int32_t>(random() % 12);
  spec.step_tokens_max = kBucket << (random() % 5);
  spec.plans_in_flight_max = 1 + static_cast<int32_t>(random() % 2);
  spec.numerics = 1;
  spec.quantum_ns_max = static_cast<int64_t>(1 + random() % 40) * kMillisecond;
  spec.cost = Costs(random);
  spec.moves = random() % 4 != 0;
  spec.move_ns = static_cast<int64_t>(random() % 3) * kMillisecond / 10;
  spec.revokes = seed % 2 == 0;
  trace.replicas.assign(1 + random() % 4, spec);
  // Some make other bits than the first.
  for (size_t i = 1; i < trace.replicas.size(); ++i) {
    if (random() % 4 == 0) trace.replicas[i].numerics = 2;
    if (random() % 8 == 0) trace.replicas[i].moves = false;
  }
  const uint64_t ops = 4 + random() % 36;
  const uint64_t pause_ms = 1 + random() % 100;
  int64_t at_ns = 0;
  for (uint64_t i = 0; i < ops; ++i) {
    at_ns += static_cast<int64_t>(random() % pause_ms) * kMillisecond;
    TraceOp op;
    op.at_ns = at_ns;
    op.pick = random();
    const uint64_t dice = random() % 40;
    if (dice == 0) {
      op.kind = TraceOp::Kind::kLose;
    } else if (dice < 4) {
      op.kind = TraceOp::Kind::kCancel;
    } else if (dice < 6) {
      op.kind = TraceOp::Kind::kWeight;
      op.weight = {static_cast<TenantId>(1 + random() % 4),
                   0.25 * static_cast<double>(1 + random() % 8)};
    } else {
      op.spec = RandomJob(i + 1, spec, random);
    }
    trace.ops.push_back(op);
  }
  return trace;
}

Trace RandomGangTrace(uint64_t seed) {
  Trace trace = RandomTrace(seed);
  std::mt19937_64 random(seed * 7919 + 1);
  ReplicaSpec spec = trace.replicas.front();
  spec.gang = 0;
  spec.revokes = false;
  spec.slots = 64;
  spec.moves = random() % 4 != 0;
  spec.move_ns = random() % 2 == 0 ? 0 : kMillisecond / 10;
  // Wide enough, at times, that no step passes.
  spec.quantum_ns_max = random() % 2 == 0 ? 0 : static_cast<int64_t>(random() % 40) * kMillisecond;
  const int degrees = 1 + static_cast<int>(random() % 3);
  for (int i = 0; i < degrees; ++i) {
    DegreeCost cost{2 << i, {}, {}};
    const auto exchange_ns = static_cast<int64_t>(random() % 4) * kMillisecond;
    for (const CostPoint& point : spec.cost) {
      if (point.stage != Stage::kDenoise) continue;
      cost.cost.push_back(
          {point.stage, point.tokens, point.nanos / cost.degree + exchange_ns + kMillisecond});
    }
    spec.degrees.push_back(cost);
  }
  trace.replicas.assign(2 + random() % 7, spec);
  for (size_t i = 0; i < trace.replicas.size(); ++i) {
    trace.replicas[i].gang_rank = static_cast<int32_t>(i);
  }
  return trace;
}

}  // namespace darkroom::scheduler
