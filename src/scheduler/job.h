#pragma once

#include <algorithm>
#include <cstdint>

#include "scheduler/types.h"

namespace darkroom::scheduler {

inline constexpr ReplicaId kNowhere = -1;

// Where a job is: `step` is the next denoising step to run, kept through encode (where to resume),
// `segment` the next piece of it.
struct Position {
  Stage stage = Stage::kEncode;
  int32_t step = 0;
  int32_t segment = 0;
  auto operator<=>(const Position&) const = default;
};

// Predicted nanoseconds of a job's stages, each alone; frozen when it is admitted.
struct JobCost {
  int64_t stage_ns[kStages] = {};  // of kDenoise one step
  int64_t fastest_step_ns = 0;     // the same at the degree that makes it fastest
};

struct Job {
  JobSpec spec;
  uint64_t arrival = 0;  // order of arrival
  int64_t arrival_ns = 0;
  JobCost cost;
  double epsilon = 0;  // of the prediction, frozen with it
  Position next;       // what the next plan may run
  int32_t checkpoint_step = 0;
  int in_flight = 0;  // plans that hold this job
  ReplicaId replica = kNowhere;
  // Set: it has a guarantee on that replica's timeline.
  ReplicaId placed_on = kNowhere;
  bool opened = false;  // and has its slot there
  uint32_t slot = 0;
  uint64_t epoch = 0;
  int32_t slot_step = 0;     // its next step when it took the slot
  NumericsKey numerics = 0;  // of the replica whose checkpoint it continues
  // Times in a row that a worker died while this job ran at `crashed_at`; 0 once it is past that.
  int crashes = 0;
  int crashes_total = 0;
  Position crashed_at;
  // Fixed at its arrival (residency.h): its adapter, if that is loaded by itself, and whether its
  // model is.
  uint32_t adapter = 0;
  bool loads_model = false;
  bool in_media = false;  // past its replica: waits for the media pool, or is with it
  // Of its quanta so far: what they took, and what had been predicted.
  int64_t actual_ns = 0;
  int64_t predicted_ns = 0;
  // Scales what is left of it to its place in the order (PolicyConfig::size_weight).
  double size_factor = 1.0;
  // It waits in a WaitQueue, under these keys.
  bool waits = false;
  bool wants_weights = false;  // and counts among those that want its weights
  bool waits_late = false;
  int64_t wait_key = 0;
  int64_t wait_ns = 0;  // what is left of it
  int64_t latest_start_ns = 0;
};

inline bool Needs(const JobSpec& spec, Stage stage) {
  if (stage == Stage::kImageEncode && !spec.image_encode) return false;
  return stage == Stage::kDenoise || (spec.stages & StageBit(stage)) != 0;
}

// The stage at or after `stage` that the job needs; past the last, `done` is set.
inline Stage NextStage(const JobSpec& spec, int stage, bool& done) {
  for (; stage < kStages; ++stage) {
    if (Needs(spec, static_cast<Stage>(stage))) return static_cast<Stage>(stage);
  }
  done = true;
  return Stage::kMediaEncode;
}

inline Position FirstPosition(const JobSpec& spec, int32_t step) {
  bool done = false;
  return {NextStage(spec, 0, done), step, 0};
}

// Where the job is after a quantum at `at`, of `segments` pieces of a step if it denoises.
inline Position After(const Position& at, const JobSpec& spec, int32_t segments, bool& done) {
  if (at.stage == Stage::kDenoise) {
    if (at.segment + segments < spec.segments) {
      return {Stage::kDenoise, at.step, at.segment + segments};
    }
    if (at.step + 1 < spec.steps) return {Stage::kDenoise, at.step + 1, 0};
    return {NextStage(spec, static_cast<int>(Stage::kDecode), done), at.step + 1, 0};
  }
  return {NextStage(spec, static_cast<int>(at.stage) + 1, done), at.step, 0};
}

// Work of one quantum of the stage, in the unit of the cost table.
inline int64_t Tokens(const JobSpec& spec, Stage stage) {
  switch (stage) {
    case Stage::kEncode:
      return 1;
    case Stage::kDenoise:
      return std::max<int64_t>(1, spec.step_tokens);
    case Stage::kImageEncode:
    case Stage::kDecode:
    case Stage::kMediaEncode:
      return std::max<int64_t>(1, spec.image_tokens);
  }
  return 1;
}

// Denoising that is left, in steps; parts of a step count as parts.
inline double StepsLeft(const Job& job) {
  if (job.next.stage > Stage::kDenoise) return 0;
  return static_cast<double>(job.spec.steps - job.next.step) -
         static_cast<double>(job.next.segment) / job.spec.segments;
}

// What is left besides denoising, alone.
inline int64_t OtherNanosLeft(const Job& job) {
  int64_t nanos = 0;
  for (int stage = static_cast<int>(job.next.stage); stage < kStages; ++stage) {
    const auto of = static_cast<Stage>(stage);
    if (of != Stage::kDenoise && Needs(job.spec, of)) nanos += job.cost.stage_ns[stage];
  }
  return nanos;
}

// Everything that is left, alone.
inline int64_t NanosLeft(const Job& job) {
  const auto denoise = static_cast<double>(job.cost.stage_ns[static_cast<int>(Stage::kDenoise)]);
  return OtherNanosLeft(job) + static_cast<int64_t>(StepsLeft(job) * denoise);
}

// The same if each step takes `step_ns`, with the prediction's error on top.
inline int64_t SafeNanosLeftAt(const Job& job, int64_t step_ns) {
  const int64_t nanos =
      OtherNanosLeft(job) + static_cast<int64_t>(StepsLeft(job) * static_cast<double>(step_ns));
  return static_cast<int64_t>(static_cast<double>(nanos) * (1.0 + job.epsilon));
}

// Its place among jobs of its lane: the least goes first.
inline int64_t OrderKey(const Job& job) {
  return static_cast<int64_t>(static_cast<double>(NanosLeft(job)) * job.size_factor);
}

// NanosLeft with the prediction's error on top: what a guarantee must leave room for.
inline int64_t SafeNanosLeft(const Job& job) {
  return SafeNanosLeftAt(job, job.cost.stage_ns[static_cast<int>(Stage::kDenoise)]);
}

// The same with as many accelerators as make it fastest: what a deadline must leave room for.
inline int64_t SoonestNanosLeft(const Job& job) {
  return SafeNanosLeftAt(job, job.cost.fastest_step_ns);
}

}  // namespace darkroom::scheduler
