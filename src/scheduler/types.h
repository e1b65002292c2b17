#pragma once

#include <cstdint>
#include <limits>
#include <variant>
#include <vector>

// What goes into the scheduler and what comes out. Plain values without pointers, so that a log of
// events replays to the same commands.
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

inline constexpr int64_t kNoDeadline = std::numeric_limits<int64_t>::max();

struct JobSpec {
  JobId id = 0;
  TenantId tenant = 0;
  ModelId model = 0;
  ServiceClass service_class = ServiceClass::kBestEffort;
  Isolation isolation = Isolation::kShared;
  int64_t deadline_ns = kNoDeadline;
  // Evaluations of the transformer that are due.
  int32_t steps = 1;
  // It starts from a picture.
  bool image_encode = false;
  // Rows that one denoising step adds to a packed batch, all CFG branches together.
  int64_t step_tokens = 1;
  // Work of image encoding, decoding and media encoding, in the same unit: one image's tokens.
  int64_t image_tokens = 1;
};

// Predicted duration of one quantum by its tokens, ascending in tokens; a step function.
struct CostPoint {
  Stage stage = Stage::kDenoise;
  int64_t tokens = 0;
  int64_t nanos = 0;
};

struct ReplicaSpec {
  uint8_t stages = 0;  // bit (1 << Stage)
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
struct JobSubmitted {
  JobSpec spec;
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
using Event =
    std::variant<ReplicaAttached, ReplicaLost, TenantWeight, JobSubmitted, JobEnded, PlanFinished>;

// Commands.
struct OpenSlot {
  ReplicaId replica = 0;
  JobId job = 0;
  uint32_t slot = 0;
  uint64_t epoch = 0;
  int32_t resume_step = 0;  // 0: from noise
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
  std::vector<Item> items;
};
// The job's share of a finished quantum; shares of one quantum sum to its duration exactly.
struct Charge {
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
using Command =
    std::variant<OpenSlot, CloseSlot, RunPlan, Charge, JobFinished, JobRequeued, JobQuarantined>;

}  // namespace darkroom::scheduler
