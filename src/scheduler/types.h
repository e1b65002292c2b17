#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <variant>
#include <vector>

// What goes into the scheduler and what comes out. Plain values without pointers, so that a log of
// events replays to the same commands; decision_log.cc names every field, and does not compile
// without a new one.
namespace darkroom::scheduler {

using JobId = uint64_t;
using TenantId = uint32_t;
using ModelId = uint32_t;
using ReplicaId = int32_t;
using NumericsKey = uint64_t;  // interned numerics_id; 0: none yet

// In the order in which a job meets them.
enum class Stage : uint8_t { kEncode, kImageEncode, kDenoise, kDecode, kMediaEncode };
inline constexpr int kStages = 5;

enum class Isolation : uint8_t { kShared, kExclusiveBatch, kDedicated };
enum class ServiceClass : uint8_t { kGuaranteed, kTarget, kBestEffort };

// What a replica must have in memory to run a job: a base model (`adapter` 0), or an adapter of it.
struct WeightsId {
  ModelId model = 0;
  uint32_t adapter = 0;
  auto operator<=>(const WeightsId&) const = default;
};

inline constexpr int64_t kNoDeadline = std::numeric_limits<int64_t>::max();

inline constexpr uint8_t StageBit(Stage stage) {
  return static_cast<uint8_t>(1u << static_cast<int>(stage));
}
inline constexpr uint8_t kAllStages = (1u << kStages) - 1;

struct JobSpec {
  JobId id = 0;
  TenantId tenant = 0;
  ModelId model = 0;
  ServiceClass service_class = ServiceClass::kBestEffort;
  Isolation isolation = Isolation::kShared;
  // Monotonic; kNoDeadline: its service class's, a multiple of the job's time alone.
  int64_t deadline_ns = kNoDeadline;
  // Stages that it needs, of StageBit; image encoding only with `image_encode`.
  uint8_t stages = kAllStages;
  // Evaluations of the transformer that are due.
  int32_t steps = 1;
  // It starts from a picture.
  bool image_encode = false;
  // Rows that one denoising step adds to a packed batch, all CFG branches together.
  int64_t step_tokens = 1;
  // Work of image encoding, decoding and media encoding, in the same unit: one image's tokens.
  int64_t image_tokens = 1;
  // Pieces of one denoising step that a quantum may end between; they take equally long.
  int32_t segments = 1;
  // The adapter that it needs beside its model; 0: none.
  uint32_t adapter = 0;
  // Taken, with its guarantee, but not to be run before JobReleased: its engine first makes durable
  // that it was taken.
  bool held = false;
  // It was taken in an earlier life of the engine and is not refused now, whatever its deadline.
  bool admitted = false;
};

// Predicted duration of one quantum by its tokens, ascending in tokens; a step function.
struct CostPoint {
  Stage stage = Stage::kDenoise;
  int64_t tokens = 0;
  int64_t nanos = 0;
};

// What was learned about one stage's quanta (cost_table.h).
struct CostLearned {
  Stage stage = Stage::kDenoise;
  double correction = 1;  // running mean of actual / profiled, positive
  int64_t observations = 0;
};

// What denoising takes on several accelerators together, and what was learned about it.
struct DegreeCost {
  int32_t degree = 2;  // a power of two, at most kGangMax
  std::vector<CostPoint> cost;
  std::vector<CostLearned> learned;
};

struct ReplicaSpec {
  uint8_t stages = 0;  // bit (1 << Stage)
  // Replicas of one hardware share what is learned about costs.
  uint32_t hardware = 0;
  // Set: only for this tenant's jobs at isolation kDedicated.
  std::optional<TenantId> dedicated_to;
  // Models that are resident; the media pool serves every model and names none.
  std::vector<ModelId> models;
  bool any_model = false;
  // Jobs that fit in memory; 0: stages here need no slot.
  int32_t slots = 0;
  int64_t step_tokens_max = 0;
  int32_t plans_in_flight_max = 1;
  // Bits that this replica makes; a job that began elsewhere goes on only where they are equal.
  NumericsKey numerics = 0;
  std::vector<CostPoint> cost;
  std::vector<CostLearned> learned;
  // Different adapters that one batch may hold.
  int32_t adapters_max = 8;
  // The longest that a quantum should take where a step can be cut into segments; 0: any. In a
  // gang steps are not cut, but run on as many accelerators as make them so short.
  int64_t quantum_ns_max = 0;
  // Started jobs may leave it, and come to it, between two of their steps: from and to replicas of
  // the same models and bits that allow it, too. `move_ns`: what taking over one of them takes.
  bool moves = false;
  int64_t move_ns = 0;
  // Memory for weights that are loaded and evicted as they are wanted; it begins with `models`. 0:
  // what it serves is fixed, `models` and any adapter of them.
  int64_t weights_bytes = 0;
  // Added to a denoising step for each different adapter in its batch, at any degree.
  int64_t adapter_ns = 0;
  // A staged plan can be taken back while it has not begun (RevokePlan).
  bool revokes = false;
  // Replicas of one gang may run a quantum together, by sequence parallelism that keeps the bits:
  // as many as `degrees` names, whose ranks are an aligned block. All of a gang are alike but for
  // their ranks, serve what is fixed, and revoke nothing. -1: it runs alone.
  int64_t gang = -1;
  int32_t gang_rank = 0;
  std::vector<DegreeCost> degrees;
};

// Events.
struct ReplicaAttached {
  ReplicaId replica = 0;
  ReplicaSpec spec;
};
struct ReplicaLost {
  ReplicaId replica = 0;
};
struct TenantWeight {
  TenantId tenant = 0;
  double weight = 1.0;
};
// Bounds of one tenant. A tenant without them has none but the scheduler's own.
struct TenantLimits {
  TenantId tenant = 0;
  int64_t jobs_max = 0;        // that wait or run; 0: no bound
  int64_t running_max = 0;     // that hold a slot; 0: no bound
  double jobs_per_second = 0;  // sustained; 0: no bound
  double jobs_burst = 1;       // at once above that
};
// The tenant is gone: its jobs are refused, whether they wait or run.
struct TenantRemoved {
  TenantId tenant = 0;
};
struct JobSubmitted {
  JobSpec spec;
};
// A held job may run.
struct JobReleased {
  JobId job = 0;
};
// The job leaves now, because its client, its own failure or its generation's says so.
struct JobEnded {
  JobId job = 0;
};
struct PlanFinished {
  enum class Outcome : uint8_t { kDone, kSkipped, kFailed };
  struct Item {
    JobId job = 0;
    Outcome outcome = Outcome::kDone;
    // A checkpoint after this step was saved.
    bool checkpointed = false;
  };
  ReplicaId replica = 0;
  uint64_t sequence = 0;
  int64_t duration_ns = 0;
  std::vector<Item> items;
};
// These weights may be loaded from now on. `load_ns` is what loading them is expected to take, and
// follows what it took.
struct WeightsKnown {
  WeightsId weights;
  int64_t bytes = 0;
  int64_t load_ns = 0;
};
// What LoadWeights ordered is done, or could not be.
struct WeightsLoaded {
  ReplicaId replica = 0;
  WeightsId weights;
  int64_t duration_ns = 0;
};
struct WeightsFailed {
  ReplicaId replica = 0;
  WeightsId weights;
};
// The replica gave up weights that nothing there uses, of its own accord.
struct WeightsEvicted {
  ReplicaId replica = 0;
  WeightsId weights;
};
// Time passed. Whoever has the scheduler load weights tells it so while wants_clock() says it.
struct ClockTicked {};
// How far predictions of whole jobs fell short in an earlier life, as CostError counts them; comes
// before any job.
struct CostErrorKnown {
  std::vector<int64_t> counts;
};
// Answers RevokePlan: nothing of the plan has run, and nothing will.
struct PlanRevoked {
  ReplicaId replica = 0;
  uint64_t sequence = 0;
};
// Answers RevokePlan: it came too late, the plan runs.
struct PlanBegun {
  ReplicaId replica = 0;
  uint64_t sequence = 0;
};
using Event = std::variant<ReplicaAttached, ReplicaLost, TenantWeight, TenantLimits, TenantRemoved,
                           JobSubmitted, JobReleased, JobEnded, PlanFinished, PlanRevoked,
                           PlanBegun, WeightsKnown, WeightsLoaded, WeightsFailed, WeightsEvicted,
                           ClockTicked, CostErrorKnown>;

// Commands.
struct OpenSlot {
  ReplicaId replica = 0;
  JobId job = 0;
  uint32_t slot = 0;
  uint64_t epoch = 0;
  int32_t resume_step = 0;  // 0: from noise
  // Set: its latents, after `resume_step` steps, and its conditioning are in this slot of another
  // replica. The command that follows closes it.
  ReplicaId from_replica = -1;
  uint32_t from_slot = 0;
  uint64_t from_epoch = 0;
};
struct CloseSlot {
  ReplicaId replica = 0;
  JobId job = 0;
  uint32_t slot = 0;
  uint64_t epoch = 0;
};
struct RunPlan {
  struct Item {
    JobId job = 0;
    uint32_t slot = 0;
    uint64_t epoch = 0;
    int32_t step = 0;  // denoise only
    bool checkpoint = false;
  };
  ReplicaId replica = 0;
  uint64_t sequence = 0;
  Stage stage = Stage::kEncode;
  int64_t predicted_ns = 0;
  // Denoising only: the pieces of the step that run, [begin, end) of the jobs' segments.
  int32_t segment_begin = 0;
  int32_t segment_end = 1;
  std::vector<Item> items;
  // That run it together with `replica`, which has the jobs' slots; by rank. It is done when all
  // are, and lost when one is.
  std::vector<ReplicaId> helpers;
};
// The job's share of a finished quantum; shares of one quantum sum to its duration exactly, times
// the accelerators that ran it.
struct Charge {
  // 0: nobody's, of accelerators that were idle and joined a gang that no deadline asked to be so
  // wide.
  JobId job = 0;
  Stage stage = Stage::kEncode;
  int64_t nanos = 0;
};
// Every stage is done.
struct JobFinished {
  JobId job = 0;
};
// Its worker died and it waits again; it goes on from `resume_step`.
struct JobRequeued {
  JobId job = 0;
  int32_t resume_step = 0;
};
// Taken for the cause of its workers' crashes and given up.
struct JobQuarantined {
  JobId job = 0;
};
enum class Refusal : uint8_t {
  kInvalid,          // a field out of range (event_check.h)
  kDeadlinePassed,   // before now
  kDeadlineTooSoon,  // not even alone on an idle replica
  kNoGuarantee,      // no replica can promise this deadline
  kTenantJobsFull,   // TenantLimits::jobs_max
  kTenantRate,       // TenantLimits::jobs_per_second
  kOverload,         // more jobs than the scheduler holds
  kTenantRemoved,
};
// The job is not taken, or, with kTenantRemoved, no longer.
struct JobRefused {
  JobId job = 0;
  Refusal why = Refusal::kInvalid;
  // When the same request may succeed; 0: unknown.
  int64_t retry_after_ns = 0;
  // The earliest deadline that would be accepted now; kNoDeadline: none.
  int64_t offered_deadline_ns = kNoDeadline;
  // The most steps that the wanted deadline allows; 0: none.
  int32_t offered_steps = 0;
};
// To a replica of its own memory for weights; carried out in order, beside what runs. Evicted
// weights are of nothing that runs or is staged, and make the room for the load that follows.
struct EvictWeights {
  ReplicaId replica = 0;
  WeightsId weights;
};
struct LoadWeights {
  ReplicaId replica = 0;
  WeightsId weights;
};
// A better plan has turned up than this staged one. Answered by PlanRevoked or PlanBegun; its
// PlanFinished means the latter. The replica gets no other plan until then.
struct RevokePlan {
  ReplicaId replica = 0;
  uint64_t sequence = 0;
};
using Command = std::variant<OpenSlot, CloseSlot, RunPlan, Charge, JobFinished, JobRequeued,
                             JobQuarantined, JobRefused, RevokePlan, EvictWeights, LoadWeights>;

}  // namespace darkroom::scheduler
