#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "darkroom/store.h"
#include "engine/controller.h"
#include "sim/sim_loop.h"
#include "sim/sim_worker.h"

namespace darkroom::sim {

// The whole daemon without its sockets and threads: the real controller and scheduler on a
// simulated clock, store, worker processes and media pool. Kill() is kill -9: what the store had
// not committed is gone, and so are the workers; Boot() starts it again on what is left.
class SimDaemon {
 public:
  struct Options {
    int workers = 2;
    int slots = 6;
    int checkpoint_steps = 3;
    int64_t quantum_ns_max = 3'000'000;  // what any takes; a fifteenth at least
    int64_t cut_ns = 0;                  // steps that take longer are cut; 0: none is
    int64_t move_ns = 10'000;            // steps are short here
    double checkpoint_loss = 0;          // the share of checkpoints that workers leave out
    int generations_max = 1000;
    std::vector<engine::TenantPolicy> tenants;
    scheduler::PolicyConfig policy;
    bool record_decisions = false;
  };
  using Answer = std::function<void(absl::StatusOr<v1::Generation>)>;

  SimDaemon(SimLoop& loop, Options options, std::unique_ptr<GenerationStore> store);

  void Boot();
  void Kill();
  bool up() const { return controller_ != nullptr; }
  void KillWorker();
  void Drain();
  // The last attached stream of a generation went away, or one came back.
  void Streams(const std::string& name, bool attached);

  // Never answered when the daemon is killed first.
  void Submit(Engine::Submit submit, Answer answer);
  void Cancel(const std::string& name, Answer answer);
  // A tenant is there, or another than it was; and one goes, with all that it has.
  void SetTenant(engine::TenantPolicy policy);
  void RemoveTenant(const std::string& tenant, Answer answer);
  // Answered before it returns.
  v1::EstimateGenerationResponse Estimate(Engine::Submit submit);

  GenerationStore& store() { return *store_; }
  const std::map<std::string, std::string>& blobs() const { return blobs_; }
  // Previews published, by generation.
  const std::map<std::string, int>& previews() const { return previews_; }
  // Denoising steps published, by tenant.
  const std::map<std::string, int>& steps() const { return steps_; }
  // Nanoseconds that workers reported for plans in which something ran, over all boots.
  int64_t reported_busy_ns() const { return reported_busy_ns_; }
  // Plans that workers gave back.
  int plans_revoked() const { return plans_revoked_; }
  // Plans that ended inside a step.
  int cuts() const { return cuts_; }
  // Slots that were opened with latents.
  int slots_resumed() const { return slots_resumed_; }
  absl::Time WallTime() const { return Time().wall; }
  v1::ServerInfo Describe() const { return controller_->Describe(Time()); }
  // The decision log of the latest life.
  const std::string& decisions() const { return decisions_; }
  bool drained() const { return drained_; }
  // Of the latest life.
  const scheduler::Escrow& escrow() const { return controller_->budgets().escrow(); }
  size_t live() const { return controller_ ? controller_->live_generations() : 0; }
  std::vector<std::string> complaints() const { return complaints_; }
  // Of everything ordered and published, for comparing two runs.
  uint64_t digest() const { return digest_; }

 private:
  struct Write {
    std::function<void()> apply;   // inside the transaction
    std::function<void()> report;  // after the commit
  };

  engine::Now Time() const;
  void Handle(engine::Event event);
  void Tick();
  void Commit();
  template <typename Action>
  void Soon(int64_t low_ns, int64_t high_ns, Action action);

  void Do(engine::Reply& command);
  void Do(engine::ReplyEstimate& command);
  void Do(engine::ReplyStatus&) {}
  void Do(engine::ReplyFromStore& command);
  void Do(engine::ReplyRefused& command);
  void Do(engine::WriteCreate& command);
  void Do(engine::PrepareInputs& command);
  void Do(engine::WriteUpdate& command);
  void Do(engine::WriteDelete& command);
  void Do(engine::PurgeEnded& command);
  void Do(engine::StartWorker& command);
  void Do(engine::SendToWorker& command);
  void Do(engine::KillWorker& command);
  void Do(engine::EncodeMedia& command);
  void Do(engine::EncodePreview& command);
  void Do(engine::OpenTopic& command);
  void Do(engine::Publish& command);
  void Do(engine::CloseTopic& command);
  void Do(engine::SaveCosts&) {}
  void Do(engine::RecordDecision& command) { decisions_ += command.bytes; }
  void Do(engine::Drained& command);
  void Do(engine::Fatal& command);
  void Lose(WorkerId id, const std::string& detail);

  SimLoop& loop_;
  const Options options_;
  std::unique_ptr<GenerationStore> store_;    // survives Kill
  std::map<std::string, std::string> blobs_;  // survives Kill
  std::map<std::string, int64_t> last_sequence_;
  std::map<std::string, int> previews_;
  std::map<std::string, int> steps_;

  std::unique_ptr<engine::Controller> controller_;
  int64_t life_ = 0;  // counts boots: what was under way in an earlier life never arrives
  bool handling_ = false;
  std::vector<engine::Event> pending_;
  std::map<engine::CallId, Answer> calls_;
  v1::EstimateGenerationResponse estimate_;
  engine::CallId last_call_ = 0;
  std::map<WorkerId, std::shared_ptr<SimWorker>> workers_;
  std::vector<Write> writes_;
  bool commit_scheduled_ = false;
  std::set<std::string> topics_;
  std::string decisions_;
  bool drained_ = false;
  int64_t reported_busy_ns_ = 0;
  int plans_revoked_ = 0;
  int cuts_ = 0;
  int slots_resumed_ = 0;
  std::vector<std::string> complaints_;
  uint64_t digest_ = 0;
};

}  // namespace darkroom::sim
