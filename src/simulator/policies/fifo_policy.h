#pragma once

#include "simulator/policies/peer_policy.h"

namespace darkroom::simulator {

// Step batching as vLLM-Omni does it: each accelerator keeps its batch until its jobs end, and
// fills free room with the first that wait and have the batch's key (the base model).
class FifoPolicy final : public PeerPolicy {
 public:
  explicit FifoPolicy(int degree) : degree_(degree) {}

  std::string_view name() const override { return "fifo"; }
  void OnDone(const World& world, const Quantum& quantum, int64_t duration_ns) override;
  void OnGpuLost(const World& world, int gpu) override;
  void Decide(const World& world, std::vector<Quantum>& start,
              std::vector<JobIndex>& refused) override;

 private:
  // Begins a batch where there is none, and tells what it must load.
  std::vector<Weights> Refresh(const World& world, int gpu, std::vector<JobIndex>& batch);

  const int degree_;                            // accelerators that run each batch together
  std::vector<std::vector<JobIndex>> batches_;  // per (first) accelerator
  std::vector<bool> held_;                      // per job: in a batch
};

}  // namespace darkroom::simulator
