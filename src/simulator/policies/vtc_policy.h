#pragma once

#include <vector>

#include "simulator/policies/peer_policy.h"

namespace darkroom::simulator {

// Virtual Token Counter (Sheng et al., OSDI '24) at steps: each tenant has a counter of the work
// that it was given, the least served goes first, its own jobs by arrival; a tenant that comes back
// is lifted to the least counter of those that are there.
class VtcPolicy final : public PeerPolicy {
 public:
  explicit VtcPolicy(int degree) : degree_(degree) {}

  std::string_view name() const override { return "vtc"; }
  void OnArrival(const World& world, JobIndex job) override;
  void Decide(const World& world, std::vector<Quantum>& start,
              std::vector<JobIndex>& refused) override;

 private:
  const int degree_;              // accelerators that run each batch together
  std::vector<double> counters_;  // milli-units times steps, per tenant
};

}  // namespace darkroom::simulator
