#pragma once

#include <vector>

#include "simulator/policy.h"

namespace darkroom::simulator {

// Edits as FlashPS serves them (InstGenIE, arXiv 2505.20600, sections on continuous batching and on
// its scheduler): a request is sent, when it comes, to the worker that has the least work left by
// what masks make of it, and stays there; a worker's batch is joined at the next step, in the order
// of arrival, while there is room. Work left is steps left times a step's work. The paper's loads
// of cached activations are not simulated, for nobody.
class FlashPsPolicy final : public Policy {
 public:
  std::string_view name() const override { return "flashps"; }
  void OnArrival(const World& world, JobIndex job) override;
  void OnGpuLost(const World& world, int gpu) override;
  void OnGpuBack(const World& world, int gpu) override;
  void Decide(const World& world, std::vector<Quantum>& start,
              std::vector<JobIndex>& refused) override;

 private:
  void Assign(const World& world, JobIndex job);

  std::vector<std::vector<JobIndex>> queues_;  // per accelerator, by arrival
  std::vector<JobIndex> stranded_;             // that came while there was no accelerator
};

}  // namespace darkroom::simulator
