#include "engine/worker_fleet.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/numerics.h"
#include "engine/job_terms.h"
#include "engine/limits.h"
#include "scheduler/cost_table.h"
#include "scheduler/limits.h"
#include "spdlog/spdlog.h"

namespace darkroom::engine {
namespace {

constexpr uint8_t kWorkerStages = (1u << static_cast<int>(scheduler::Stage::kEncode)) |
                                  (1u << static_cast<int>(scheduler::Stage::kImageEncode)) |
                                  (1u << static_cast<int>(scheduler::Stage::kDenoise)) |
                                  (1u << static_cast<int>(scheduler::Stage::kDecode));

}  // namespace

WorkerFleet::WorkerFleet(FleetConfig config) : config_(std::move(config)) {
  for (size_t i = 0; i < config_.models.size(); ++i) {
    Model model;
    model.description.set_name(config_.models[i].name);
    model.description.set_state(v1::Model::STATE_LOADING);
    models_.push_back(model);
    weights_.emplace_back();
    load_errors_.push_back(absl::OkStatus());
    Seat seat;
    seat.model = static_cast<scheduler::ModelId>(i);
    seats_.insert(seats_.end(), static_cast<size_t>(config_.workers_per_model), seat);
    for (const FleetConfig::Dedicated& dedicated : config_.dedicated) {
      seat.dedicated_to = dedicated.tenant;
      seats_.insert(seats_.end(), static_cast<size_t>(dedicated.workers_per_model), seat);
    }
  }
  for (size_t i = 0; i < seats_.size(); ++i) {
    seats_[i].device = config_.devices[i % config_.devices.size()];
  }
}

void WorkerFleet::StartDue(int64_t now_ns, Commands& commands) {
  for (Seat& seat : seats_) {
    if (seat.worker != 0 || seat.given_up || now_ns < seat.start_at_ns) continue;
    seat.worker = ++last_worker_;
    Worker& worker = workers_[seat.worker];
    worker.model = seat.model;
    commands.push_back(StartWorker{seat.worker, seat.device});
  }
  // Whom they waited for may be gone.
  OrderLoads(now_ns, commands);
}

void WorkerFleet::OrderLoads(int64_t now_ns, Commands& commands) {
  for (auto& [id, worker] : workers_) {
    Weights& weights = weights_[worker.model];
    if (!worker.waits_to_load || weights.packing != 0) continue;
    worker.waits_to_load = false;
    worker.loading_heard_ns = now_ns;
    // Several at once would each pack the same weights.
    if (!weights.loaded) weights.packing = id;
    v1::ToWorker order;
    auto* load = order.mutable_load_model();
    load->set_path(config_.models[worker.model].path);
    load->set_name(config_.models[worker.model].name);
    load->set_precision(config_.models[worker.model].precision);
    load->set_slots(config_.slots);
    load->set_step_tokens_max(config_.step_tokens_max);
    auto* parallel = load->mutable_parallel();
    parallel->set_tensor(1);
    parallel->set_pipeline(1);
    parallel->set_sequence(1);
    parallel->set_ring(1);
    parallel->set_expert(1);
    parallel->set_cfg(1);
    if (!weights.attachments.empty()) *load->mutable_packed() = weights.packed;
    commands.push_back(SendToWorker{id, std::move(order), weights.attachments});
  }
}

std::optional<WorkerFleet::Ready> WorkerFleet::OnMessage(const WorkerSaid& said, int64_t now_ns,
                                                         Commands& commands) {
  const WorkerId id = said.worker;
  const v1::FromWorker& message = said.message;
  const auto it = workers_.find(id);
  if (it == workers_.end()) return std::nullopt;
  Worker& worker = it->second;
  switch (message.message_case()) {
    case v1::FromWorker::kHello: {
      worker.pid = message.hello().pid();
      worker.device = message.hello().device();
      worker.waits_to_load = true;
      OrderLoads(now_ns, commands);
      return std::nullopt;
    }
    case v1::FromWorker::kLoadProgress:
      if (worker.loading_heard_ns.has_value()) worker.loading_heard_ns = now_ns;
      return std::nullopt;
    case v1::FromWorker::kModelLoaded: {
      worker.loading_heard_ns.reset();
      auto ready = OnModelLoaded(worker, said);
      OrderLoads(now_ns, commands);
      return ready;
    }
    case v1::FromWorker::kFatal:
      spdlog::error("worker {} gives up: {}", id, message.fatal().message());
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

std::optional<WorkerFleet::Ready> WorkerFleet::OnModelLoaded(Worker& worker,
                                                             const WorkerSaid& said) {
  const WorkerId id = said.worker;
  const v1::ModelLoaded& loaded = said.message.model_loaded();
  Model& model = models_[worker.model];
  Weights& weights = weights_[worker.model];
  if (weights.packing == id) weights.packing = 0;
  const absl::Status status = FromProto(loaded.status());
  const auto seat =
      std::find_if(seats_.begin(), seats_.end(), [&](const Seat& s) { return s.worker == id; });
  if (!status.ok()) {
    spdlog::error("{} cannot be loaded: {}", model.description.name(),
                  std::string(status.message()));
    // A wrong file and a program built without the device stay wrong: trying again would only fill
    // the log.
    if (absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
        absl::IsUnimplemented(status)) {
      seat->given_up = true;
    }
    if (model.token_pixels == 0) {
      load_errors_[worker.model] = status;
      model.description.set_state(v1::Model::STATE_FAILED);
      model.description.set_error(std::string(status.message()));
    }
    return std::nullopt;
  }
  worker.state = v1::ServerInfo::Worker::STATE_READY;
  worker.numerics_id = NumericsId(loaded.numerics());
  seat->delay_ns = 0;
  weights.loaded = true;
  if (loaded.has_packed()) {
    weights.packed = loaded.packed();
    weights.attachments = said.attachments;
  }
  model.description = loaded.model();
  model.description.set_name(config_.models[worker.model].name);
  model.description.set_state(v1::Model::STATE_READY);
  model.description.set_numerics_id(worker.numerics_id);
  model.token_pixels = std::max(1, loaded.token_pixels());
  model.text_tokens = std::max(0, loaded.text_tokens());
  model.segments =
      config_.quantum_ns_max > 0 ? std::clamp(loaded.blocks(), 1, scheduler::kSegmentsMax) : 1;
  model.numerics_id = worker.numerics_id;
  load_errors_[worker.model] = absl::OkStatus();
  spdlog::info("worker {} (process {}) serves {} on {}", id, worker.pid, model.description.name(),
               worker.device);

  Ready ready{id, {}};
  ready.spec.stages = kWorkerStages;
  // What is learned about costs is shared by workers of one kind, and is not the media pool's.
  ready.spec.hardware = InternHardware(worker.device);
  ready.spec.dedicated_to = seat->dedicated_to;
  ready.spec.models = {worker.model};
  ready.spec.slots = config_.slots;
  ready.spec.step_tokens_max = std::max<int64_t>(
      1, config_.step_tokens_max > 0 ? config_.step_tokens_max : loaded.knee_tokens());
  ready.spec.plans_in_flight_max = kWorkerPlansMax;
  ready.spec.revokes = config_.revokes;
  ready.spec.quantum_ns_max = config_.quantum_ns_max;
  ready.spec.moves = Moves(id);
  ready.spec.numerics = Intern(worker.numerics_id);
  for (const auto& point : loaded.cost()) {
    ready.spec.cost.push_back({StageFromProto(point.stage()).value_or(scheduler::Stage::kDenoise),
                               point.tokens(), point.nanos()});
  }
  return ready;
}

bool WorkerFleet::OnLost(WorkerId id, LostCause cause, const std::string& detail, int64_t now_ns) {
  const auto it = workers_.find(id);
  if (it == workers_.end()) return false;
  const bool was_ready = it->second.state == v1::ServerInfo::Worker::STATE_READY;
  const scheduler::ModelId model = it->second.model;
  if (weights_[model].packing == id) weights_[model].packing = 0;
  workers_.erase(it);
  for (Seat& seat : seats_) {
    if (seat.worker != id) continue;
    seat.worker = 0;
    ++seat.restarts;
    seat.failed_starts = cause == LostCause::kStartFailed ? seat.failed_starts + 1 : 0;
    if (seat.failed_starts >= kFailedStartsMax && models_[model].token_pixels == 0) {
      seat.given_up = true;
      load_errors_[model] = Error(absl::StatusCode::kUnavailable, "WORKER_START_FAILED",
                                  absl::StrCat("no worker can be started: ", detail));
    }
    seat.start_at_ns = now_ns + seat.delay_ns;
    seat.delay_ns = std::clamp(seat.delay_ns * 2, kRestartDelayMinNs, kRestartDelayMaxNs);
  }
  return was_ready;
}

void WorkerFleet::PlanSent(WorkerId id, uint64_t sequence, int64_t predicted_ns) {
  const auto it = workers_.find(id);
  if (it != workers_.end()) it->second.plans[sequence] = {predicted_ns, 0};
}

void WorkerFleet::PlanStarted(WorkerId id, uint64_t sequence, int64_t now_ns) {
  const auto it = workers_.find(id);
  if (it == workers_.end()) return;
  const auto plan = it->second.plans.find(sequence);
  if (plan != it->second.plans.end()) plan->second.started_ns = now_ns;
}

void WorkerFleet::PlanRevoked(WorkerId id, uint64_t sequence) {
  const auto it = workers_.find(id);
  if (it != workers_.end()) it->second.plans.erase(sequence);
}

void WorkerFleet::PlanDone(WorkerId id, const v1::PlanDone& done, int64_t now_ns) {
  const auto it = workers_.find(id);
  if (it == workers_.end()) return;
  it->second.plans.erase(done.sequence());
  it->second.parked_bytes = std::max<int64_t>(0, done.parked_bytes());
  it->second.busy.Add(now_ns - (done.end_nanos() - done.start_nanos()), now_ns);
}

std::vector<WorkerId> WorkerFleet::Hung(int64_t now_ns) const {
  std::vector<WorkerId> hung;
  for (const auto& [id, worker] : workers_) {
    if (worker.loading_heard_ns.has_value() &&
        now_ns - *worker.loading_heard_ns > kLoadSilenceMaxNs) {
      hung.push_back(id);
      continue;
    }
    for (const auto& [sequence, plan] : worker.plans) {
      const int64_t limit = std::max(kHangFloorNs, kHangFactor * plan.predicted_ns);
      if (plan.started_ns != 0 && now_ns - plan.started_ns > limit) {
        hung.push_back(id);
        break;
      }
    }
  }
  return hung;
}

std::optional<scheduler::ModelId> WorkerFleet::FindModel(const std::string& name) const {
  for (size_t i = 0; i < config_.models.size(); ++i) {
    if (config_.models[i].name == name) return static_cast<scheduler::ModelId>(i);
  }
  return std::nullopt;
}

bool WorkerFleet::Moves(WorkerId id) const {
  const auto mine = std::find_if(seats_.begin(), seats_.end(),
                                 [&](const Seat& seat) { return seat.worker == id; });
  if (mine == seats_.end()) return false;
  return std::count_if(seats_.begin(), seats_.end(), [&](const Seat& seat) {
           return seat.model == mine->model && seat.dedicated_to == mine->dedicated_to;
         }) > 1;
}

int64_t WorkerFleet::MoveNanos(const scheduler::ReplicaSpec& spec) const {
  const scheduler::CostTable costs(spec.cost, spec.learned);
  return config_.move_ns_min + costs.Predict(scheduler::Stage::kEncode, 1);
}

std::string WorkerFleet::NumericsIdOf(WorkerId id) const {
  const auto it = workers_.find(id);
  return it == workers_.end() ? "" : it->second.numerics_id;
}

std::vector<v1::Model> WorkerFleet::Describe() const {
  std::vector<v1::Model> models;
  for (const Model& model : models_) models.push_back(model.description);
  return models;
}

void WorkerFleet::DescribeWorkers(int64_t now_ns, v1::ServerInfo& info) const {
  for (const Seat& seat : seats_) {
    auto* out = info.add_workers();
    out->set_id(seat.worker);
    out->set_model(config_.models[seat.model].name);
    out->set_restarts(seat.restarts);
    const auto it = workers_.find(seat.worker);
    if (it == workers_.end()) {
      out->set_state(v1::ServerInfo::Worker::STATE_LOST);
      continue;
    }
    out->set_state(it->second.state);
    out->set_pid(it->second.pid);
    out->set_device(it->second.device);
    out->set_busy_ratio(it->second.busy.Ratio(now_ns));
    out->set_parked_bytes(it->second.parked_bytes);
  }
}

std::optional<absl::Status> WorkerFleet::Hopeless() const {
  for (const Seat& seat : seats_) {
    if (!seat.given_up) return std::nullopt;
  }
  for (const absl::Status& status : load_errors_) {
    if (!status.ok()) return status;
  }
  return std::nullopt;
}

std::string WorkerFleet::HardwareName(int64_t hardware) const {
  return hardware >= 0 && hardware < static_cast<int64_t>(hardware_.size())
             ? hardware_[static_cast<size_t>(hardware)]
             : "";
}

uint32_t WorkerFleet::InternHardware(const std::string& device) {
  const auto it = std::find(hardware_.begin() + 1, hardware_.end(), device);
  if (it == hardware_.end()) hardware_.push_back(device);
  return static_cast<uint32_t>(std::find(hardware_.begin() + 1, hardware_.end(), device) -
                               hardware_.begin());
}

scheduler::NumericsKey WorkerFleet::Intern(const std::string& numerics_id) {
  const auto [it, inserted] = numerics_keys_.try_emplace(numerics_id, numerics_keys_.size() + 1);
  return it->second;
}

}  // namespace darkroom::engine
