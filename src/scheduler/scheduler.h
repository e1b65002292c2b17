#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/node_hash_map.h"
#include "absl/types/span.h"
#include "scheduler/cost_error.h"
#include "scheduler/cost_table.h"
#include "scheduler/fair_share.h"
#include "scheduler/forecast.h"
#include "scheduler/gang_allotment.h"
#include "scheduler/job.h"
#include "scheduler/policy_config.h"
#include "scheduler/replica.h"
#include "scheduler/residency.h"
#include "scheduler/token_bucket.h"
#include "scheduler/types.h"
#include "scheduler/wait_queue.h"

namespace darkroom::scheduler {

// When a job is expected to run.
struct Forecast {
  enum class Wait : uint8_t {
    kNone,         // it runs with the next step
    kNoReplica,    // no replica has its weights (yet)
    kCapacity,     // replicas are busy
    kTenantLimit,  // its tenant runs as many jobs as it may
    kLate,         // it can no longer be in time, and others that can come first
  };
  // Monotonic; kNoDeadline: unknown.
  int64_t start_ns = kNoDeadline;
  int64_t end_ns = kNoDeadline;
  Wait wait = Wait::kNone;
};

// Decides which jobs run together, where, at every step. Pure: no thread, clock, lock, socket or
// random number; the same events give the same commands. docs/scheduling.md describes the policy.
//
// A job goes through encode, image encode where it starts from a picture, its denoising steps,
// decode and media encode, or those of them that it needs. It takes a slot on one replica for all
// but the last. Each plan runs one stage for the jobs of one packed batch; jobs join and leave at
// every step. While one plan runs, the next may be staged, built on the assumption that the first
// succeeds.
class Scheduler {
 public:
  explicit Scheduler(PolicyConfig config = {}) : config_(config), fair_(config.burst_credit_ns) {}

  // Steps between checkpoints of a running job, 1 at least.
  void set_checkpoint_steps(int32_t steps) { checkpoint_steps_ = steps; }

  // Appends to `commands`. `now_ns` is monotonic; a clock that jumps back stands still instead. An
  // event that CheckEvent (event_check.h) refuses changes nothing; a job is answered JobRefused.
  void Handle(const Event& event, int64_t now_ns, std::vector<Command>& commands);

  // Jobs of the tenant that wait and are served before this one, up to kJobsAheadMax; for the
  // client's `position`.
  int64_t JobsAhead(JobId id) const;
  // Predicted nanoseconds until the job ends if nothing else arrives: its own remaining work on its
  // replica at the present batch. 0 when unknown.
  int64_t PredictRemaining(JobId id) const;
  // When the first of these jobs begins and the last of them ends, and why they wait, if nothing
  // else comes. They are of one tenant and model, held ones as if they had been released; those
  // that are not known are left out. What waits is played forward up to kForecastJobsMax jobs; what
  // is behind that counts by its sum.
  Forecast Predict(absl::Span<const JobId> ids) const;
  // Accelerator time that is left of the job, alone; 0: unknown.
  int64_t NanosAlone(JobId id) const;
  // And of one of its denoising steps.
  int64_t StepNanosAlone(JobId id) const;
  // By which it should end, monotonic; kNoDeadline: unknown.
  int64_t DeadlineOf(JobId id) const;
  struct TenantView {
    int64_t waiting = 0;
    int64_t running = 0;
    double virtual_ns = 0;
    bool is_protected = true;
  };
  TenantView ViewOf(TenantId tenant) const;
  struct CostView {
    int64_t hardware = 0;
    ModelId model = 0;
    const CostTable* table = nullptr;
  };
  // By hardware, then model.
  std::vector<CostView> Costs() const;
  size_t job_count() const { return jobs_.size(); }
  size_t running_count() const { return running_; }
  double VirtualTime(TenantId tenant) const { return fair_.VirtualTime(tenant); }
  // Jobs wait for weights that are not on their way: ClockTicked may change that.
  bool wants_clock() const { return residency_.wants_clock(); }
  double epsilon() const { return cost_error_.Epsilon(); }
  const CostError& cost_error() const { return cost_error_; }

  // The invariants of the bookkeeping that do not hold, in words. For tests.
  std::vector<std::string> BrokenInvariants() const;

 private:
  // A job that the next plan of a replica could hold.
  struct Candidate {
    Job* job = nullptr;
    int rank = 0;  // of its lane
    bool late = false;
    bool is_protected = true;
    bool takes_slot = false;  // of those that nobody is promised
    int64_t key = 0;
    // The longest step that it can take part in at every step to come and be in time.
    int64_t step_ns_max = 0;
  };
  struct Batch {
    Stage stage = Stage::kDenoise;
    int32_t segments = 1;
    int64_t predicted_ns = 0;
    int32_t degree = 1;  // accelerators that it is packed for
    std::vector<ReplicaId> helpers;
    int64_t billed_ns = 0;  // of the helpers' time and its own (Plan), only with helpers
    bool first_pays = false;
    int64_t tokens = 0;
    bool mixed = false;      // several tenants
    bool exclusive = false;  // one of them shares no batch
    std::vector<Job*> jobs;
    std::vector<uint32_t> adapters;  // that they need, each once
  };
  // What a gang has to give, and to whom.
  struct GangRound {
    std::vector<RankState> ranks;
    std::vector<Candidate> order;
    std::vector<GangAsk> asks;       // of each in `order`
    std::vector<GangBlock> forming;  // that somebody waits for
    bool somebody_waits = false;
  };
  struct Tenant {
    TenantLimits limits;
    std::optional<TokenBucket> bucket;
    int64_t running = 0;
    absl::btree_set<JobId> jobs;
  };

  // ---- events (scheduler.cc) ----
  void On(const ReplicaAttached& event, std::vector<Command>& commands);
  void On(const ReplicaLost& event, std::vector<Command>& commands);
  void On(const TenantWeight& event, std::vector<Command>& commands);
  void On(const TenantLimits& event, std::vector<Command>& commands);
  void On(const TenantRemoved& event, std::vector<Command>& commands);
  void On(const JobSubmitted& event, std::vector<Command>& commands);
  void On(const JobReleased& event, std::vector<Command>& commands);
  void On(const JobEnded& event, std::vector<Command>& commands);
  void On(const PlanFinished& event, std::vector<Command>& commands);
  // ---- weights (scheduler_residency.cc) ----
  void On(const WeightsKnown& event, std::vector<Command>& commands);
  void On(const WeightsLoaded& event, std::vector<Command>& commands);
  void On(const WeightsFailed& event, std::vector<Command>& commands);
  void On(const WeightsEvicted& event, std::vector<Command>& commands);
  void On(const ClockTicked&, std::vector<Command>&) {}
  void On(const CostErrorKnown& event, std::vector<Command>&) { cost_error_.Restore(event.counts); }
  // Loads what jobs wait for and is not there, evicting what is worth less.
  void OrderLoads(std::vector<Command>& commands);
  // The replica serves the group from now on, and no longer does.
  void Join(ReplicaId id, Replica& replica, const GroupKey& key);
  void JoinAdapters(ReplicaId id, Replica& replica, const GroupKey& model);
  void Leave(ReplicaId id, Replica& replica, const GroupKey& key);
  void AddCosts(const ReplicaSpec& spec, ModelId model);
  // Whether its adapter is one that is loaded by itself, and who serves it then.
  void SetWeights(Job& job);
  // What the job needs in memory, of those weights that are loaded.
  std::vector<Residency::Key> WeightsOf(const Job& job) const;
  void AskForWeights(const Job& job);
  // It waits for its weights, and no longer does.
  void WaitForWeights(Job& job, bool waits);
  // It has a place on the replica that it cannot leave, and no longer has.
  void PinWeights(ReplicaId id, const Job& job, bool pin);
  void OfferAfterLoad(const Job& job, JobRefused& refused) const;
  // Replicas that serve the group, or will, with when.
  std::vector<std::pair<ReplicaId, int64_t>> ServesSoon(const GroupKey& key) const;
  // Until weights for the job are there: 0 where they are, kNoDeadline where they cannot be.
  int64_t LoadWait(const Job& job) const;
  // That the replica has the weights of a job that has a slot there.
  bool HasWeights(ReplicaId id, const Job& job) const;
  // The hardware that will run what waits in a group that no replica serves yet; -1: none.
  int64_t HardwareFor(const Job& job);

  void On(const PlanRevoked& event, std::vector<Command>& commands);
  void On(const PlanBegun& event, std::vector<Command>& commands);
  void FinishItem(const Plan& plan, const PlanItem& item, const PlanFinished::Item& result,
                  int64_t nanos, std::vector<Command>& commands);
  // The job was in the plan that ran when its worker died.
  static void Suspect(Job& job, const Position& at);
  void Requeue(Job& job, std::vector<Command>& commands);
  // Takes the job out of everything.
  void Drop(Job& job, std::vector<Command>& commands);
  void Erase(JobId id);

  // ---- admission (scheduler_admission.cc) ----
  std::optional<JobRefused> Refuse(const JobSpec& spec);
  std::optional<JobRefused> RefuseByDeadline(const Job& job) const;
  // Puts the job on a replica's timeline, or tells the earliest deadline that one could promise.
  bool Place(Job& job, int64_t& earliest_ns);
  void SetCost(Job& job, int64_t hardware) const;
  // The least that one step takes at any degree that its replicas offer; `alone_ns` at one
  // accelerator.
  int64_t FastestStep(const Job& job, int64_t hardware, int64_t alone_ns) const;
  void FillDeadline(Job& job) const;

  // ---- predictions (scheduler_forecast.cc) ----
  ForecastJob Snapshot(const Job& job, int replica) const;
  void SnapshotReplicas(const std::vector<std::pair<ReplicaId, int64_t>>& serving, ModelId model,
                        std::vector<ForecastReplica>& replicas,
                        std::vector<ForecastJob>& jobs) const;
  // Appends what waits, in order, as far as it is played; false when there is more.
  bool SnapshotWaiting(const Group& group, std::vector<ForecastJob>& jobs) const;
  // After what was played: what waits ahead of the job beyond it counts by its sum.
  Forecast BeyondPlay(const Job& job, const Group& group, const std::vector<ForecastJob>& jobs,
                      const std::vector<ForecastReplica>& replicas) const;

  // ---- forming batches (scheduler_dispatch.cc) ----
  void Dispatch(std::vector<Command>& commands);
  // Gives the replica one more plan; false when it has no room or there is nothing for it.
  bool DispatchOne(ReplicaId id, std::vector<Command>& commands);
  bool DispatchMedia(ReplicaId id, Replica& replica, std::vector<Command>& commands);
  void Gather(ReplicaId id, Replica& replica, int64_t start_ns);
  // Jobs that one decision looks at in each of the replica's queues.
  int LooksPerQueue(const Replica& replica) const;
  // From one queue, as far as there are slots for them.
  // `looks`: jobs of it that are looked at.
  void GatherWaiting(ReplicaId id, const Replica& replica, const WaitQueue& queue, int looks,
                     int64_t start_ns);
  // `soonest_ns`: what is left of it as fast as can be here, with the prediction's error on top.
  void AddCandidate(Job& job, int64_t key, int64_t start_ns, int64_t soonest_ns);
  // The candidate that goes first although it is not the first in order, or the first.
  size_t ChooseHead(Replica& replica, bool& from_reserve) const;
  bool MayHead(const Replica& replica, const Candidate& candidate) const;
  // Of the candidates, whether one waits inside a step.
  bool AnyParked() const;
  // Fills a batch in order around its head, up to the knee, as far as no member gets late.
  // `limit_ns`: of the quantum; `same_stage`: only jobs that are where the head is.
  Batch Pack(const Replica& replica, size_t head, int64_t limit_ns, bool same_stage,
             int32_t degree = 1) const;
  bool MayJoin(const Batch& batch, const Job& job, const Replica& replica, bool same_stage) const;
  // Of a batch whose members are not all ready to denoise, those that are furthest from it run
  // first. Of a step, as many segments as the quantum allows.
  void NarrowToStage(const Replica& replica, int64_t limit_ns, Batch& batch) const;
  // A batch around the first guaranteed job that can go on; `otherwise` when none can.
  Batch FirstGuaranteed(const Replica& replica, int64_t room_ns, Batch otherwise) const;
  void SendPlan(ReplicaId id, Replica& replica, const Batch& batch, std::vector<Command>& commands);
  static std::tuple<int, int64_t, uint64_t> PlaceOf(const Candidate& candidate) {
    return {candidate.rank, candidate.key, candidate.job->arrival};
  }

  // ---- taking back staged plans (scheduler_revision.cc) ----
  // Of the replicas that the event may have given something better than they have staged, the one
  // whose staged plan begins first is asked to give it back.
  void Revise(const Event& event, std::vector<Command>& commands);
  // When the staged plan begins; nothing when there is none worth taking back.
  std::optional<int64_t> StagedStart(const Replica& replica) const;
  // A member has left it, or a job goes before its head.
  bool Outdated(ReplicaId id, Replica& replica, int64_t start_ns);

  // ---- gangs (scheduler_degree.cc) ----
  // True: it brings a degree that was not offered before.
  bool JoinGang(ReplicaId id, Replica& replica);
  // The replica is lost, and with it the plan that it helped with.
  void LeaveGang(ReplicaId id, Replica& replica, std::vector<Command>& commands);
  // The helpers of a plan that ended or was lost are free again.
  void FreeHelpers(const Plan& plan);
  // Gives what is idle of a gang to its jobs, once per event.
  void DispatchGang(int64_t id, std::vector<Command>& commands);
  // Into candidates_, in order: jobs that may run on the gang next, and those whose quantum there
  // has not ended, of which others may have what they leave.
  void GatherGang(const Gang& gang);
  void GatherGangQueue(int64_t id, const WaitQueue& queue, int looks);
  // Of denoising, by the logarithm of the degree; null where it is not offered.
  using DegreeTables = std::array<const CostTable*, kDegreeSteps>;
  DegreeTables TablesOf(uint32_t hardware, ModelId model, int32_t widest) const;
  GangAsk AskOf(int64_t id, const Gang& gang, const DegreeTables& tables,
                const Candidate& candidate) const;
  // Jobs that can wait for a wide one to end go behind it in candidates_, and their asks, where
  // it would be late otherwise.
  void LetOthersPass(std::vector<GangAsk>& asks);
  // The oldest late job of a protected tenant goes first when its reserve pays for it.
  JobId PutReservedFirst(const Gang& gang);
  // The part of `block` that the job runs on now; degree 0: it waits for the rest.
  GangBlock PartNow(const Gang& gang, const GangAsk& ask, const GangBlock& block) const;
  // When all of the block is idle, as predicted.
  int64_t ReadyNanos(const Gang& gang, const GangBlock& block) const;
  // What is idle may wait for these blocks, and no longer than it was first told; without blocks
  // nobody waits for it.
  void Hold(const Gang& gang, const std::vector<GangBlock>& forming);
  bool IdleBlock(const Gang& gang, const GangBlock& block) const;
  // Gives ranks to jobs in order: who can begin does. True: some that were given were not taken
  // while there are others; `round` is these ranks and those others then.
  bool ServeGang(const Gang& gang, JobId reserved, GangRound& round,
                 std::vector<Command>& commands);
  // Runs the job on the block with what is left over for company; false: nobody there has a slot.
  bool SendGang(const Gang& gang, const GangAsk& ask, const GangBlock& block, Candidate head,
                std::vector<Candidate>& company, std::vector<Command>& commands);
  // The helpers of a plan that is being sent are its own from now on.
  void Lend(ReplicaId id, const Batch& batch, Plan& plan, RunPlan& command);

  // ---- slots, queues and the indexes over them (scheduler_queues.cc) ----
  // The job has a slot on the replica from now on; it brings its latents if it had one elsewhere.
  void TakeSlot(ReplicaId id, Replica& replica, Job& job, std::vector<Command>& commands);
  // Takes its slot from the job; what is to be told of it.
  CloseSlot FreeSlot(Job& job);
  void LeaveSlot(Job& job, std::vector<Command>& commands);
  // It has a slot, and may go on from here elsewhere.
  bool MayMove(const Job& job) const;
  WaitQueue& QueueOf(const Job& job);
  void Enqueue(Job& job);
  void Dequeue(Job& job);
  void Unplace(Job& job);
  // Jobs whose deadline has become out of reach while they waited move among the late.
  void MoveLate();
  void MoveProtected();
  void Rekey(Group& group, const GroupKey& key);
  void SetHungry(ReplicaId id, const Replica& replica, bool add);
  GroupKey GroupOf(const Job& job) const;
  const CostTable& CostOf(int64_t hardware, ModelId model) const;
  CostTable& CostOf(const Replica& replica, ModelId model, int32_t degree = 1);
  // Of denoising on several accelerators together; null: not offered.
  const CostTable* CostAt(int64_t hardware, ModelId model, int32_t degree) const;
  // That the tenant may take on the replica with jobs that have none yet.
  // `running`: they run elsewhere already.
  int SlotsLeft(const Replica& replica, TenantId id, bool running) const;
  // The lanes in the order in which the policy serves them.
  Lane LaneOfRank(int rank) const;
  int RankOf(bool late, bool is_protected) const;

  PolicyConfig config_;
  int64_t now_ns_ = 0;

  absl::node_hash_map<JobId, Job> jobs_;
  absl::node_hash_map<TenantId, Tenant> tenants_;
  std::map<ReplicaId, Replica> replicas_;
  absl::btree_map<GroupKey, Group> groups_;
  // Groups that a tenant has waiting jobs in.
  absl::flat_hash_map<TenantId, absl::btree_map<GroupKey, int>> groups_of_;
  // Waiting jobs that can still be in time, by when they no longer can.
  absl::btree_set<std::pair<int64_t, JobId>> latest_starts_;
  // Costs by hardware and model, shared by replicas.
  std::map<std::pair<int64_t, ModelId>, CostTable> costs_;
  // The same of several accelerators together, by hardware, model and degree.
  std::map<std::tuple<int64_t, ModelId, int32_t>, CostTable> degree_costs_;
  std::map<int64_t, Gang> gangs_;
  CostError cost_error_;
  Residency residency_;
  FairShare fair_;

  uint64_t last_arrival_ = 0;
  uint64_t last_epoch_ = 0;
  int32_t checkpoint_steps_ = 10;
  size_t running_ = 0;

  // What the event at hand may have given work to.
  absl::btree_set<ReplicaId> touched_replicas_;
  absl::btree_set<GroupKey> touched_groups_;
  absl::btree_set<int64_t> settled_gangs_;          // that were given work since
  std::vector<Candidate> candidates_;               // of the decision at hand
  absl::flat_hash_map<TenantId, int> slots_taken_;  // by those that have none yet
  int slots_free_ = 0;                              // that they did not take
  std::vector<TenantId> changed_;
};

}  // namespace darkroom::scheduler
