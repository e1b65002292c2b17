#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "scheduler/cost_table.h"
#include "scheduler/fair_share.h"
#include "scheduler/types.h"

namespace darkroom::scheduler {

// Decides which jobs run together, where, at every step. Pure: no thread, clock, lock, socket or
// random number; the same events give the same commands.
//
// A job goes through encode, image encode where it starts from a picture, its denoising steps,
// decode and media encode. It takes a slot on one replica for all but the last. Each plan runs one
// stage for the jobs of one packed batch; jobs join and leave at every step. While one plan runs,
// the next is already staged, built on the assumption that the first succeeds.
//
// Policy: tenants take turns by weighted virtual time, a tenant's own jobs by arrival; a batch is
// filled in that order up to the replica's token budget. Decoding comes before denoising of the
// same tenant, and a job that would fit into the running batch is let in at once, because below the
// knee its tokens are almost free.
class Scheduler {
 public:
  // Steps between checkpoints of a running job, 1 at least.
  void set_checkpoint_steps(int32_t steps) { checkpoint_steps_ = steps; }

  // Appends to `commands`. `now_ns` is monotonic.
  void Handle(const Event& event, int64_t now_ns, std::vector<Command>& commands);

  // Jobs of the tenant that wait and arrived before this one; for the client's `position`.
  int64_t JobsAhead(JobId id) const;
  // Predicted nanoseconds until the job ends if nothing else arrives: its own remaining work on its
  // replica at the present batch. 0 when unknown.
  int64_t PredictRemaining(JobId id) const;
  size_t job_count() const { return jobs_.size(); }
  size_t running_count() const;
  double VirtualTime(TenantId tenant) const { return fair_.VirtualTime(tenant); }

  // The invariants of the bookkeeping that do not hold, in words. For tests.
  std::vector<std::string> BrokenInvariants() const;

 private:
  // Where a job is: `step` is the next denoising step to run, kept through encode (where to
  // resume).
  struct Position {
    Stage stage = Stage::kEncode;
    int32_t step = 0;
    auto operator<=>(const Position&) const = default;
  };
  struct Job {
    JobSpec spec;
    uint64_t arrival = 0;  // order of arrival
    Position next;         // what the next plan may run
    int32_t checkpoint_step = 0;
    int in_flight = 0;  // plans that hold this job
    ReplicaId replica = kNowhere;
    uint32_t slot = 0;
    uint64_t epoch = 0;
    NumericsKey numerics = 0;  // of the replica whose checkpoint it continues
    // Times in a row that a worker died while this job ran at `crashed_at`; 0 once it is past that.
    int crashes = 0;
    int crashes_total = 0;
    Position crashed_at;
  };
  struct PlanItem {
    JobId job = 0;
    TenantId tenant = 0;
    Position at;
    int64_t tokens = 0;
    int64_t predicted_share_ns = 0;
  };
  struct Plan {
    uint64_t sequence = 0;
    Stage stage = Stage::kEncode;
    int64_t tokens = 0;
    std::vector<PlanItem> items;
  };
  struct Replica {
    ReplicaSpec spec;
    CostTable cost{{}};
    std::set<uint32_t> free_slots;
    std::set<JobId> residents;
    std::map<TenantId, int> residents_of;
    std::deque<Plan> plans;
    uint64_t last_sequence = 0;
  };
  // Jobs in their tenants' order of arrival.
  using Queues = std::map<TenantId, std::map<uint64_t, JobId>>;
  // Jobs that a plan could hold, per tenant in order.
  using Candidates = std::map<TenantId, std::vector<JobId>>;

  static constexpr ReplicaId kNowhere = -1;

  void On(const ReplicaAttached& event, std::vector<Command>& commands);
  void On(const ReplicaLost& event, std::vector<Command>& commands);
  void On(const TenantWeight& event, std::vector<Command>& commands);
  void On(const JobSubmitted& event, std::vector<Command>& commands);
  void On(const JobEnded& event, std::vector<Command>& commands);
  void On(const PlanFinished& event, std::vector<Command>& commands);

  // Gives every replica with room its next plans.
  void Dispatch(std::vector<Command>& commands);
  bool DispatchOne(ReplicaId id, Replica& replica, std::vector<Command>& commands);
  std::vector<JobId> ChooseMedia(const Replica& replica) const;
  std::vector<JobId> ChooseNewcomers(const Replica& replica) const;
  std::vector<JobId> ChooseResidents(const Replica& replica) const;
  // Takes candidates in fair order while they fit.
  std::vector<JobId> Pack(Candidates candidates, const Replica& replica, Stage stage,
                          int64_t tokens_max, int jobs_max) const;
  bool MayJoin(const std::vector<JobId>& batch, const Job& job) const;

  void SendPlan(ReplicaId id, Replica& replica, Stage stage, const std::vector<JobId>& batch,
                std::vector<Command>& commands);
  void TakeSlot(ReplicaId id, Replica& replica, Job& job, std::vector<Command>& commands);
  void LeaveSlot(Job& job, std::vector<Command>& commands);
  // The job was in the plan that ran when its worker died.
  static void Suspect(Job& job, const Position& at);
  void Requeue(Job& job, std::vector<Command>& commands);
  void FinishItem(const PlanItem& item, const PlanFinished::Item& result, int64_t nanos,
                  std::vector<Command>& commands);

  static Position After(const Position& at, const JobSpec& spec);
  static int64_t Tokens(const JobSpec& spec, Stage stage);
  Queues& QueueOf(Stage stage) { return stage == Stage::kMediaEncode ? media_ : waiting_; }
  void Enqueue(const Job& job);
  void Dequeue(const Job& job);

  std::map<JobId, Job> jobs_;
  std::map<ReplicaId, Replica> replicas_;
  Queues waiting_;  // hold no slot, wait for encode
  Queues media_;    // hold no slot, wait for media encode
  FairShare fair_;
  uint64_t last_arrival_ = 0;
  uint64_t last_epoch_ = 0;
  int32_t checkpoint_steps_ = 10;
};

}  // namespace darkroom::scheduler
