#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "darkroom/v1/admin.pb.h"
#include "engine/budget_book.h"
#include "engine/cost_book.h"
#include "engine/generation_record.h"
#include "engine/messages.h"
#include "engine/preparation_queue.h"
#include "engine/tenant_book.h"
#include "engine/worker_fleet.h"
#include "scheduler/scheduler.h"

namespace darkroom::engine {

struct ControllerConfig {
  FleetConfig fleet;
  int checkpoint_steps = 10;
  // What earlier starts measured.
  CostBook costs;
  // Order a RecordDecision for everything that the scheduler is told.
  bool record_decisions = false;
  int media_threads = 2;
  scheduler::PolicyConfig policy;
  std::vector<TenantPolicy> tenants;
  // Of a tenant that is not among them.
  int generations_per_tenant_max = 1000;
  int64_t retention_ns = 24LL * 3600 * 1'000'000'000;
  // From GenerationStore::NextBoot: the high part of every sequence number.
  int64_t boot = 1;
};

// The control thread's mind: every decision about generations, jobs, slots and workers. Events in,
// commands out; pure like the scheduler inside it, so the simulator runs this very class.
//
// Nothing that a client can see happens before it is durable: a state change goes to the store as a
// command, and is published when the store says that it is written.
class Controller {
 public:
  explicit Controller(ControllerConfig config);

  // The first orders: workers to start.
  void Start(Now now, Commands& commands);
  void Handle(Event event, Now now, Commands& commands);

  v1::ServerInfo Describe(Now now) const;
  std::vector<v1::Model> Models() const { return fleet_.Describe(); }
  // What was measured, as SaveCosts would have it.
  std::string CostsText();
  size_t live_generations() const { return generations_.size(); }
  const scheduler::Scheduler& scheduler() const { return scheduler_; }
  const BudgetBook& budgets() const { return budgets_; }

 private:
  // Sequence numbers: the boot in the high part, so that none repeats after a crash.
  static constexpr int kBootShift = 32;
  // The media pool is a replica like any worker; workers' ids begin at 1.
  static constexpr scheduler::ReplicaId kMediaReplica = 0;

  // Admission (controller_admission.cc).
  void On(SubmitReceived event, Now now, Commands& commands);
  void On(EstimateReceived event, Now now, Commands& commands);
  void On(CreateDone event, Now now, Commands& commands);
  // What operators ask (controller_status.cc).
  void On(StatusReceived event, Now now, Commands& commands);
  // Events, in the order of a generation's life (controller.cc).
  void On(Recovered event, Now now, Commands& commands);
  void On(CancelReceived event, Now now, Commands& commands);
  void On(DeleteReceived event, Now now, Commands& commands);
  void On(StreamsGone event, Now now, Commands& commands);
  void On(StreamsBack event, Now now, Commands& commands);
  void On(UpdateDone event, Now now, Commands& commands);
  void On(DrainRequested event, Now now, Commands& commands);
  void On(Tick event, Now now, Commands& commands);
  // Workers and the media pool (controller_workers.cc).
  void On(WorkerSaid event, Now now, Commands& commands);
  void On(WorkerGone event, Now now, Commands& commands);
  void On(MediaDone event, Now now, Commands& commands);
  // Tenants (controller_tenants.cc).
  void On(TenantChanged event, Now now, Commands& commands);
  void On(TenantGone event, Now now, Commands& commands);
  // Pictures (controller_pictures.cc).
  void On(InputsPrepared event, Now now, Commands& commands);
  void On(PreviewEncoded event, Now now, Commands& commands);

  // ---- admission (controller_admission.cc) ----
  // What speaks against a new generation before the scheduler is asked.
  absl::Status CheckNew(const Engine::Submit& submit, Now now);
  // Answers a submission that was refused.
  static void Refuse(CallId call, const std::string& tenant, const std::string& request_id,
                     const std::string& request_hash, absl::Status status, Commands& commands);
  // Makes the record's jobs, and has the scheduler take all of them and hold them, or none.
  absl::Status Admit(GenerationRecord& record, Now now, Commands& commands);
  std::optional<scheduler::JobRefused> TakeHeld(const std::vector<scheduler::JobSpec>& specs,
                                                Now now, Commands& commands);
  // What the scheduler is told of each of the record's jobs, but its id. REQUIRES: its model was
  // loaded.
  scheduler::JobSpec SpecOf(const GenerationRecord& record, Now now);
  // What the record's jobs may cost at most, out of its tenant's budget.
  absl::Status Reserve(const GenerationRecord& record);
  // One job for each output that is still to be made; none while its model was never loaded.
  std::vector<scheduler::JobSpec> MakeJobs(GenerationRecord& record, Now now);
  // Of a generation that was accepted before.
  void SubmitJobs(GenerationRecord& record, Now now, Commands& commands);
  CostBook::Key CostKeyOf(int64_t hardware, scheduler::ModelId model) const;
  void SaveCostsIfDue(Now now, Commands& commands);
  void FillCosts(const scheduler::Scheduler::CostView& view, v1::GetStatusResponse& status) const;

  // ---- generations (controller.cc) ----
  void Cancel(GenerationRecord& record, CallId call, std::string_view why, Now now,
              Commands& commands);
  void Fail(GenerationRecord& record, const absl::Status& status, Now now, Commands& commands);
  void End(GenerationRecord& record, v1::Generation::State state, const absl::Status& error,
           CallId call, Now now, Commands& commands);
  void EndJobs(GenerationRecord& record, Now now, Commands& commands, bool refund = false);
  // The job is gone: gives back what is left of its reservation, once no plan holds it any more.
  void Settle(scheduler::JobId id, bool refund);
  void Forget(const std::string& name, Commands& commands);
  void ForgetIfDone(const std::string& name, Commands& commands);
  void ExpireStreams(Now now, Commands& commands);
  void ReportDrained(Commands& commands);
  void ReportHopeless(Commands& commands);

  // Events of a generation; `sequences`: how many numbers this one takes.
  v1::GenerateEvent NewEvent(GenerationRecord& record, Now now, int64_t sequences = 1);
  void Write(GenerationRecord& record, std::vector<v1::GenerateEvent> events, bool ends,
             CallId call, Commands& commands);
  void PublishProgress(GenerationRecord& record, const JobRecord& job, scheduler::JobId id, Now now,
                       Commands& commands);
  void FillUsage(GenerationRecord& record);

  // ---- tenants (controller_tenants.cc) ----
  void TellPolicy(scheduler::TenantId id, Now now, Commands& commands);
  // Answers who waits for a tenant's end.
  void ReportTenantsGone(Now now, Commands& commands);

  // ---- pictures (controller_pictures.cc) ----
  // RESOURCE_EXHAUSTED (INPUTS_FULL) when there is no room for them.
  absl::Status CheckInputs(const JobInputs& inputs) const;
  void HoldInputs(GenerationRecord& record, JobInputs inputs);
  void ReleaseInputs(GenerationRecord& record);
  void OrderPreparations(Now now, Commands& commands);
  void OrderPreview(const JobRecord& job, const v1::TensorRef& preview,
                    const std::vector<Payload>& attachments, Commands& commands);

  // ---- jobs and plans (controller_workers.cc) ----
  void Schedule(const scheduler::Event& event, Now now, Commands& commands);
  void Apply(const scheduler::OpenSlot& order, Now now, Commands& commands);
  void Apply(const scheduler::CloseSlot& order, Now now, Commands& commands);
  void Apply(const scheduler::RunPlan& order, Now now, Commands& commands);
  void Apply(const scheduler::RevokePlan& order, Now now, Commands& commands);
  void Apply(const scheduler::Charge& order, Now now, Commands& commands);
  void Apply(const scheduler::JobFinished& order, Now now, Commands& commands);
  void Apply(const scheduler::JobRequeued& order, Now now, Commands& commands);
  void Apply(const scheduler::JobQuarantined& order, Now now, Commands& commands);
  void Apply(const scheduler::JobRefused& order, Now now, Commands& commands);
  // The daemon's replicas keep their weights as long as they live: these are never ordered.
  void Apply(const scheduler::EvictWeights&, Now, Commands&) {}
  void Apply(const scheduler::LoadWeights&, Now, Commands&) {}
  void OrderMedia(const scheduler::RunPlan& order, Commands& commands);
  // Of a plan that denoises, whether its jobs' step is done after it.
  bool EndsStep(const scheduler::RunPlan& plan, const GenerationRecord& record) const;
  void SetSegments(const scheduler::RunPlan& order, v1::BatchPlan& plan) const;
  void OnPlanStarted(const WorkerSaid& said, Now now, Commands& commands);
  void OnPlanDone(WorkerSaid& said, Now now, Commands& commands);
  void OnPlanRevoked(WorkerId worker, uint64_t sequence, Now now, Commands& commands);
  // Keeps what the result of the plan's job `index` brought: progress, a checkpoint, pixels.
  absl::Status TakeResult(const scheduler::RunPlan& plan, size_t index,
                          const v1::PlanDone::JobResult& result,
                          const std::vector<Payload>& attachments, Now now, Commands& commands);
  void ReleasePlan(const scheduler::RunPlan& plan, Commands& commands);
  // Takes the job back from the scheduler and gives it again, from its first step.
  void StartAnew(scheduler::JobId id, Now now, Commands& commands);
  // Whether the quantum of the job that has just been charged was paid for before it was lost.
  static bool PaidBefore(JobRecord& job, scheduler::Stage stage);
  void EnterStage(JobRecord& job, scheduler::Stage stage, Now now);
  GenerationRecord* FindLive(const std::string& name);
  GenerationRecord* GenerationOf(scheduler::JobId id);

  const ControllerConfig config_;
  WorkerFleet fleet_;
  TenantBook tenants_;
  BudgetBook budgets_;
  scheduler::Scheduler scheduler_;

  std::map<std::string, GenerationRecord> generations_;
  std::map<scheduler::JobId, JobRecord> jobs_;
  // Whom to charge for each job that a plan in flight holds, also after the job ended.
  struct Owner {
    std::string generation;
    int plans_out = 0;
    bool refund = false;  // of what it was charged, once they are back
  };
  std::map<scheduler::JobId, Owner> owners_;
  std::map<std::pair<scheduler::ReplicaId, uint64_t>, scheduler::RunPlan> plans_;
  // Of plans_, those that their workers were asked to give back and have not answered for.
  std::set<std::pair<scheduler::ReplicaId, uint64_t>> revoking_;
  std::map<WriteId, PendingWrite> writes_;
  // Who waits until a tenant has nothing left, by tenant.
  std::multimap<std::string, CallId> leaving_;
  // Generations whose model no worker has loaded yet.
  std::vector<std::string> parked_;

  scheduler::JobId last_job_ = 0;
  // Of the orders at hand, jobs that should go on from latents which are not there.
  std::vector<scheduler::JobId> without_latents_;
  // While an admission is under way: where its refusal goes.
  std::optional<scheduler::JobRefused>* admission_ = nullptr;
  CostBook costs_;
  int64_t save_costs_at_ns_ = 0;
  WriteId last_write_ = 0;
  int creates_pending_ = 0;
  int64_t purge_at_ns_ = 0;
  PreparationQueue preparations_;
  int64_t input_bytes_ = 0;  // of decoded pictures, as InputWeight counts
  int32_t recovered_ = 0;
  absl::Time start_time_;
  bool draining_ = false;
  bool drained_reported_ = false;
  bool hopeless_reported_ = false;
  absl::Status store_status_;
};

}  // namespace darkroom::engine
