// A decision log, read and run again.
#include "fuzz/fuzz_target.h"
#include "scheduler/decision_log.h"

namespace darkroom::fuzz {

using namespace darkroom::scheduler;  // NOLINT(google-build-using-namespace): all that there is
                                      // here

void Run(std::string_view bytes) {
  auto replay = DecisionReplay::Open(bytes);
  if (!replay.ok()) return;
  while (true) {
    const auto more = replay->Next();
    if (!more.ok() || !*more) break;
  }
  Require(replay->torn_bytes() <= static_cast<int64_t>(bytes.size()), "the tail is of the log");
}

std::vector<std::string> Seeds() {
  // A day in the life: a replica, a tenant, two jobs, their plans.
  Scheduler scheduler{PolicyConfig()};
  std::string log = DecisionLogHead(PolicyConfig(), 2);
  scheduler.set_checkpoint_steps(2);
  int64_t now_ns = 1'000'000;
  std::vector<RunPlan> plans;
  const auto tell = [&](const Event& event) {
    std::vector<Command> commands;
    scheduler.Handle(event, now_ns, commands);
    AppendDecision(event, now_ns, commands, log);
    for (const Command& command : commands) {
      if (const auto* plan = std::get_if<RunPlan>(&command)) plans.push_back(*plan);
    }
    now_ns += 1'000'000;
  };
  ReplicaSpec spec;
  spec.stages = 0xff;
  spec.models = {0};
  spec.slots = 4;
  spec.step_tokens_max = 4096;
  spec.numerics = 1;
  tell(ReplicaAttached{1, spec});
  tell(TenantWeight{7, 2.0});
  for (JobId id = 1; id <= 2; ++id) {
    JobSpec job;
    job.id = id;
    job.tenant = 7;
    job.steps = 3;
    job.step_tokens = 64;
    job.stages = 0xff;
    tell(JobSubmitted{job});
  }
  for (size_t i = 0; i < plans.size() && i < 64; ++i) {
    const RunPlan plan = plans[i];
    PlanFinished done;
    done.replica = plan.replica;
    done.sequence = plan.sequence;
    done.duration_ns = 900'000;
    for (const RunPlan::Item& item : plan.items) done.items.push_back({item.job});
    tell(done);
  }
  return {log};
}

}  // namespace darkroom::fuzz
