#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "darkroom/v1/admin.pb.h"
#include "darkroom/v1/model.pb.h"
#include "engine/busy_meter.h"
#include "engine/limits.h"
#include "engine/messages.h"
#include "scheduler/types.h"

namespace darkroom::engine {

struct FleetConfig {
  struct Model {
    std::string name;  // "models/{model}"
    std::string path;
    std::string precision = "f32";
  };
  // Workers of one tenant's own.
  struct Dedicated {
    scheduler::TenantId tenant = 0;
    int workers_per_model = 1;
  };
  std::vector<Model> models;  // the index is the scheduler's ModelId
  int workers_per_model = 1;
  std::vector<Dedicated> dedicated;
  std::vector<std::string> devices = {"cpu"};  // that workers take in turn; at least one
  int slots = 32;
  int64_t step_tokens_max = 0;  // 0: the worker proposes
  // Steps that take longer are cut between blocks; 0: none is.
  int64_t quantum_ns_max = 0;
  bool revokes = true;  // staged plans, when something better comes
  // What taking over a started job takes, beside encoding its prompt again.
  int64_t move_ns_min = kMoveNsMin;
};

// The workers' lives: start, load, ready, lost, start again; and what the models turned out to be.
// Part of the controller, and as pure.
class WorkerFleet {
 public:
  explicit WorkerFleet(FleetConfig config);

  struct Model {
    v1::Model description;
    int32_t token_pixels = 0;  // 0 until a worker has loaded it once
    int32_t text_tokens = 0;   // of every sequence
    int32_t segments = 1;      // pieces of one step that a quantum may end between
    std::string numerics_id;
  };
  // A worker that became ready, for the scheduler.
  struct Ready {
    WorkerId worker = 0;
    scheduler::ReplicaSpec spec;
  };

  // Orders every start that is due.
  void StartDue(int64_t now_ns, Commands& commands);
  // Hello, load progress, model loaded. Ready when this made the worker ready.
  std::optional<Ready> OnMessage(const WorkerSaid& said, int64_t now_ns, Commands& commands);
  // True if the worker was ready. One whose kind never started, time after time, is given up.
  bool OnLost(WorkerId id, LostCause cause, const std::string& detail, int64_t now_ns);

  void PlanSent(WorkerId id, uint64_t sequence, int64_t predicted_ns);
  void PlanStarted(WorkerId id, uint64_t sequence, int64_t now_ns);
  void PlanRevoked(WorkerId id, uint64_t sequence);
  void PlanDone(WorkerId id, const v1::PlanDone& done, int64_t now_ns);
  // Workers whose running plan has taken far too long, or who load and are not heard of.
  std::vector<WorkerId> Hung(int64_t now_ns) const;

  // The scheduler's number of the media pool, and of the worker kinds from 1 on.
  static constexpr uint32_t kMediaHardware = 0;
  std::string HardwareName(int64_t hardware) const;
  const std::string& PrecisionOf(scheduler::ModelId id) const {
    return config_.models[id].precision;
  }
  const Model& model(scheduler::ModelId id) const { return models_[id]; }
  std::optional<scheduler::ModelId> FindModel(const std::string& name) const;
  std::string NumericsIdOf(WorkerId id) const;
  // Its jobs may go on at another worker, which needs their latents after every step.
  bool Moves(WorkerId id) const;
  // What taking over one job costs a worker of this spec.
  int64_t MoveNanos(const scheduler::ReplicaSpec& spec) const;
  std::vector<v1::Model> Describe() const;
  void DescribeWorkers(int64_t now_ns, v1::ServerInfo& info) const;
  // The first error of a model that never loaded, when no model can be served at all.
  std::optional<absl::Status> Hopeless() const;

 private:
  struct Worker {
    scheduler::ModelId model = 0;
    v1::ServerInfo::Worker::State state = v1::ServerInfo::Worker::STATE_LOADING;
    bool waits_to_load = false;  // it has said hello and was not told yet
    // While it loads: when it was told to, or last told how far it is.
    std::optional<int64_t> loading_heard_ns;
    int32_t pid = 0;
    std::string device;
    std::string numerics_id;
    BusyMeter busy;
    int64_t parked_bytes = 0;  // after its latest plan
    struct Plan {
      int64_t predicted_ns;
      int64_t started_ns;  // 0: staged
    };
    std::map<uint64_t, Plan> plans;
  };
  // A place for a worker, filled anew when its worker dies.
  struct Seat {
    scheduler::ModelId model = 0;
    std::string device;
    std::optional<scheduler::TenantId> dedicated_to;
    WorkerId worker = 0;  // 0: empty
    int64_t start_at_ns = 0;
    int64_t delay_ns = 0;
    int32_t restarts = 0;
    int32_t failed_starts = 0;  // in a row
    bool given_up = false;
  };

  // A model's weights as its first worker packed them. They stay as long as the model is
  // configured, so that a worker that starts anew loads at once.
  struct Weights {
    WorkerId packing = 0;  // the worker that others wait for; 0: none
    bool loaded = false;   // by some worker, at some time
    v1::PackedWeights packed;
    std::vector<Payload> attachments;  // of `packed`
  };

  // Tells every worker that waits to load its model, unless the first is still packing it.
  void OrderLoads(int64_t now_ns, Commands& commands);
  std::optional<Ready> OnModelLoaded(Worker& worker, const WorkerSaid& said);
  scheduler::NumericsKey Intern(const std::string& numerics_id);
  uint32_t InternHardware(const std::string& device);

  const FleetConfig config_;
  std::vector<Model> models_;
  std::vector<Weights> weights_;  // of each model
  std::vector<absl::Status> load_errors_;
  std::vector<Seat> seats_;
  std::map<WorkerId, Worker> workers_;
  WorkerId last_worker_ = 0;
  std::map<std::string, scheduler::NumericsKey> numerics_keys_;
  std::vector<std::string> hardware_ = {"media"};  // by number
};

}  // namespace darkroom::engine
