#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "scheduler/scheduler.h"
#include "simulator/policy.h"

namespace darkroom::simulator {

struct DarkroomOptions {
  scheduler::PolicyConfig policy;
  // Work of a step up to which batches are filled, in milli-units.
  int64_t knee_milli_units = 10'000;
  // Plans that an accelerator holds: 1 decides at each quantum's end, which is what a daemon does
  // that revokes staged plans in time; 2 stages the next.
  int plans_in_flight = 1;
  // A staged plan is taken back when a better one turns up.
  bool revokes = false;
  int slots = 64;
  int64_t quantum_ns_max = 0;
  scheduler::ServiceClass service_class = scheduler::ServiceClass::kBestEffort;
  // Started jobs may go on at another accelerator; taking one over costs this.
  bool moves = true;
  int64_t move_ns = 1'000'000;
  // Weight of the tenant that floods; everybody else's is 1.
  double flood_weight = 1.0;
  // Accelerators run a quantum together where the step table has times for that.
  bool elastic = true;
  // Only jobs of the same base model share a batch.
  bool equal_models = false;
};

// The product's own scheduler (src/scheduler) in the simulated cluster: each accelerator is a
// replica, and its plans run in order.
class DarkroomPolicy final : public Policy {
 public:
  explicit DarkroomPolicy(DarkroomOptions options)
      : options_(options), scheduler_(options.policy) {}

  std::string_view name() const override { return "darkroom"; }
  void OnArrival(const World& world, JobIndex job) override;
  void OnDone(const World& world, const Quantum& quantum, int64_t duration_ns) override;
  void OnGpuLost(const World& world, int gpu) override;
  void OnGpuBack(const World& world, int gpu) override;
  void OnLoaded(const World& world, const WeightLoad& load, int64_t duration_ns) override;
  int64_t WakeAt(const World& world) const override;
  void TakeLoads(std::vector<WeightLoad>& loads) override;
  void Decide(const World& world, std::vector<Quantum>& start,
              std::vector<JobIndex>& refused) override;

  const scheduler::Scheduler& scheduler() const { return scheduler_; }

 private:
  void AttachAll(const World& world);
  void Attach(const World& world, int gpu);
  void TellWeights(const World& world);
  void Send(const World& world, const scheduler::Event& event);

  const DarkroomOptions options_;
  scheduler::Scheduler scheduler_;
  bool attached_ = false;
  std::vector<scheduler::Command> commands_;
  std::vector<std::deque<scheduler::RunPlan>> plans_;  // per accelerator, the first runs
  std::vector<int64_t> move_ns_;                       // per accelerator, before its next plan
  std::vector<scheduler::ReplicaId> replicas_;         // per accelerator; -1: lost
  std::vector<bool> started_;                          // the first plan of it runs
  std::vector<size_t> leads_;  // by the first accelerator of a quantum: which has its plan
  scheduler::ReplicaId last_replica_ = -1;
  absl::flat_hash_map<scheduler::ReplicaId, int> gpu_of_;
  std::vector<JobIndex> refused_;
  std::vector<WeightLoad> loads_;
};

}  // namespace darkroom::simulator
