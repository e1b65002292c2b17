#include "simulator/policies/darkroom_policy.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <variant>

namespace darkroom::simulator {
namespace {

// Jobs are numbered from 1 in the scheduler.
scheduler::JobId ToId(JobIndex job) { return static_cast<scheduler::JobId>(job) + 1; }
JobIndex ToIndex(scheduler::JobId id) { return static_cast<JobIndex>(id) - 1; }

}  // namespace

void DarkroomPolicy::AttachAll(const World& world) {
  attached_ = true;
  const auto& jobs = world.workload.jobs;
  const auto flood =
      std::find_if(jobs.begin(), jobs.end(), [](const WorkJob& job) { return job.flood; });
  if (flood != jobs.end()) {
    Send(world, scheduler::TenantWeight{flood->tenant, options_.flood_weight});
  }
  if (world.workload.gpu_models > 0) TellWeights(world);
  const auto gpus = static_cast<size_t>(world.workload.gpus);
  plans_.resize(gpus);
  move_ns_.resize(gpus, 0);
  replicas_.resize(gpus, -1);
  started_.resize(gpus, false);
  leads_.resize(gpus, 0);
  for (int gpu = 0; gpu < world.workload.gpus; ++gpu) {
    if (!world.lost[static_cast<size_t>(gpu)]) Attach(world, gpu);
  }
}

void DarkroomPolicy::Attach(const World& world, int gpu) {
  scheduler::ReplicaSpec spec;
  spec.stages = scheduler::StageBit(scheduler::Stage::kDenoise);
  spec.slots = options_.slots;
  spec.step_tokens_max = options_.knee_milli_units;
  spec.plans_in_flight_max = options_.plans_in_flight;
  spec.numerics = 1;
  spec.quantum_ns_max = options_.quantum_ns_max;
  spec.moves = options_.moves;
  spec.move_ns = options_.move_ns;
  spec.revokes = options_.revokes;
  spec.models = {0};
  if (options_.equal_models) {
    std::set<uint32_t> models;
    for (const WorkJob& job : world.workload.jobs) models.insert(job.model);
    spec.models.assign(models.begin(), models.end());
  }
  if (world.workload.gpu_models > 0) {
    spec.models.clear();
    spec.weights_bytes = world.workload.gpu_models * kModelBytes;
  }
  for (const auto& [milli_units, nanos] : world.table.Points()) {
    spec.cost.push_back({scheduler::Stage::kDenoise, milli_units, nanos});
  }
  // A gang serves fixed weights.
  const bool elastic = options_.elastic && spec.weights_bytes == 0;
  for (const int degree : world.table.degrees()) {
    if (degree == 1 || !elastic) continue;
    spec.revokes = false;  // nor has it a staged plan to take back
    // Aligned gangs of as many as the widest degree.
    spec.gang = gpu / world.table.degrees().back();
    spec.gang_rank = gpu % world.table.degrees().back();
    scheduler::DegreeCost cost{degree, {}, {}};
    for (const auto& [milli_units, nanos] : world.table.Points(degree)) {
      cost.cost.push_back({scheduler::Stage::kDenoise, milli_units, nanos});
    }
    spec.degrees.push_back(std::move(cost));
  }
  replicas_[static_cast<size_t>(gpu)] = ++last_replica_;
  gpu_of_[last_replica_] = gpu;
  Send(world, scheduler::ReplicaAttached{last_replica_, spec});
}

void DarkroomPolicy::OnArrival(const World& world, JobIndex job) {
  if (!attached_) AttachAll(world);
  const WorkJob& work = world.workload.jobs[static_cast<size_t>(job)];
  scheduler::JobSpec spec;
  spec.id = ToId(job);
  spec.tenant = work.tenant;
  const bool loads = world.workload.gpu_models > 0;
  spec.model = options_.equal_models || loads ? work.model : 0;
  spec.adapter = loads ? work.adapter : 0;
  spec.service_class = options_.service_class;
  spec.deadline_ns = work.deadline_ns;
  spec.stages = scheduler::StageBit(scheduler::Stage::kDenoise);
  spec.steps = work.steps;
  spec.step_tokens = work.milli_units;
  spec.segments = work.segments;
  Send(world, scheduler::JobSubmitted{spec});
}

void DarkroomPolicy::OnDone(const World& world, const Quantum& quantum, int64_t duration_ns) {
  const size_t gpu = leads_[static_cast<size_t>(quantum.gpu)];
  const scheduler::RunPlan plan = std::move(plans_[gpu].front());
  plans_[gpu].pop_front();
  started_[gpu] = false;
  // What a step costs is learned without what came before it.
  scheduler::PlanFinished finished{plan.replica, plan.sequence, duration_ns - quantum.delay_ns, {}};
  for (const auto& item : plan.items) {
    finished.items.push_back({item.job, scheduler::PlanFinished::Outcome::kDone, item.checkpoint});
  }
  Send(world, finished);
}

void DarkroomPolicy::OnGpuLost(const World& world, int gpu) {
  if (!attached_) return;
  const auto index = static_cast<size_t>(gpu);
  const scheduler::ReplicaId replica = std::exchange(replicas_[index], -1);
  if (replica < 0) return;
  // A gang's plan ends with any of its accelerators.
  for (size_t other = 0; other < plans_.size(); ++other) {
    const bool helped =
        !plans_[other].empty() &&
        std::find(plans_[other].front().helpers.begin(), plans_[other].front().helpers.end(),
                  replica) != plans_[other].front().helpers.end();
    if (other != index && !helped) continue;
    plans_[other].clear();
    move_ns_[other] = 0;
    started_[other] = false;
  }
  gpu_of_.erase(replica);
  Send(world, scheduler::ReplicaLost{replica});
}

void DarkroomPolicy::OnGpuBack(const World& world, int gpu) {
  if (attached_) Attach(world, gpu);
}

void DarkroomPolicy::Send(const World& world, const scheduler::Event& event) {
  commands_.clear();
  scheduler_.Handle(event, world.now_ns, commands_);
  std::optional<scheduler::RevokePlan> revoke;
  for (scheduler::Command& command : commands_) {
    if (auto* run = std::get_if<scheduler::RunPlan>(&command)) {
      plans_[static_cast<size_t>(gpu_of_.at(run->replica))].push_back(std::move(*run));
    } else if (const auto* open = std::get_if<scheduler::OpenSlot>(&command)) {
      if (open->from_replica >= 0) {
        move_ns_[static_cast<size_t>(gpu_of_.at(open->replica))] += options_.move_ns;
      }
    } else if (const auto* load = std::get_if<scheduler::LoadWeights>(&command)) {
      loads_.push_back(
          {gpu_of_.at(load->replica), {load->weights.model, load->weights.adapter}, load->replica});
    } else if (const auto* asked = std::get_if<scheduler::RevokePlan>(&command)) {
      revoke = *asked;
    } else if (const auto* refused = std::get_if<scheduler::JobRefused>(&command)) {
      refused_.push_back(ToIndex(refused->job));
    } else if (const auto* dropped = std::get_if<scheduler::JobQuarantined>(&command)) {
      refused_.push_back(ToIndex(dropped->job));
    }
  }
  if (!revoke) return;
  // The first plan has begun or is about to; the one behind it has not.
  auto& plans = plans_[static_cast<size_t>(gpu_of_.at(revoke->replica))];
  if (plans.size() > 1 && plans.back().sequence == revoke->sequence) {
    plans.pop_back();
    Send(world, scheduler::PlanRevoked{revoke->replica, revoke->sequence});
  } else {
    Send(world, scheduler::PlanBegun{revoke->replica, revoke->sequence});
  }
}

void DarkroomPolicy::TellWeights(const World& world) {
  std::set<Weights> weights;
  for (const WorkJob& job : world.workload.jobs) {
    weights.insert({job.model, 0});
    weights.insert({job.model, job.adapter});
  }
  for (const Weights& of : weights) {
    const bool model = of.adapter == 0;
    Send(world, scheduler::WeightsKnown{{of.model, of.adapter},
                                        model ? kModelBytes : kAdapterBytes,
                                        model ? kModelLoadNs : kAdapterLoadNs});
  }
}

void DarkroomPolicy::OnLoaded(const World& world, const WeightLoad& load, int64_t duration_ns) {
  Send(world, scheduler::WeightsLoaded{static_cast<scheduler::ReplicaId>(load.tag),
                                       {load.weights.model, load.weights.adapter},
                                       duration_ns});
}

int64_t DarkroomPolicy::WakeAt(const World& world) const {
  return scheduler_.wants_clock() ? world.now_ns + 100'000'000 : -1;
}

void DarkroomPolicy::TakeLoads(std::vector<WeightLoad>& loads) {
  loads.insert(loads.end(), loads_.begin(), loads_.end());
  loads_.clear();
}

void DarkroomPolicy::Decide(const World& world, std::vector<Quantum>& start,
                            std::vector<JobIndex>& refused) {
  refused.insert(refused.end(), refused_.begin(), refused_.end());
  refused_.clear();
  if (attached_ && scheduler_.wants_clock()) Send(world, scheduler::ClockTicked{});
  for (size_t gpu = 0; gpu < plans_.size(); ++gpu) {
    if (started_[gpu] || plans_[gpu].empty() || world.busy[gpu]) continue;
    started_[gpu] = true;
    const scheduler::RunPlan& plan = plans_[gpu].front();
    Quantum quantum;
    quantum.gpu = static_cast<int>(gpu);
    quantum.degree = 1 + static_cast<int>(plan.helpers.size());
    for (const scheduler::ReplicaId helper : plan.helpers) {
      quantum.gpu = std::min(quantum.gpu, gpu_of_.at(helper));
    }
    leads_[static_cast<size_t>(quantum.gpu)] = gpu;
    quantum.segments = plan.segment_end - plan.segment_begin;
    quantum.delay_ns = std::exchange(move_ns_[gpu], 0);
    for (const auto& item : plan.items) quantum.jobs.push_back(ToIndex(item.job));
    start.push_back(std::move(quantum));
  }
}

}  // namespace darkroom::simulator
