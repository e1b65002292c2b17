#pragma once

#include <vector>

#include "simulator/policy.h"

namespace darkroom::simulator {

// TetriServe (Lu et al., ASPLOS '26, doi 10.1145/3779212.3790233): rounds of fixed length. At each
// round's begin every picture gets the allotments, of at most two degrees, that meet its deadline
// with the least accelerator time (section 4.2.1); a knapsack then chooses who runs so that the
// most can still be in time afterwards (algorithm 1), and what is idle goes to who gains most from
// it (section 4.2.3). Where the paper leaves a choice open this takes the one that keeps more
// deadlines: a round begins at once when nothing runs, idle accelerators go to pictures that the
// knapsack left out before they widen others, and a picture that is late has one. Batches of equal
// small pictures are left out: at the paper's rates there is an accelerator for each.
class TetriServePolicy final : public Policy {
 public:
  std::string_view name() const override { return "tetriserve"; }
  void OnGpuLost(const World& world, int gpu) override;
  int64_t WakeAt(const World& world) const override;
  void Decide(const World& world, std::vector<Quantum>& start,
              std::vector<JobIndex>& refused) override;

 private:
  // What a picture gets for a round.
  struct Share {
    JobIndex job = 0;
    int degree = 1;
    int gpu = -1;
    int32_t steps = 0;  // left of the round
  };
  // A picture's choices for a round.
  struct Choice {
    JobIndex job = 0;
    bool late = false;
    bool waits_in_time = false;  // not served in this round, it can still be in time
    // Degrees that its plan holds; [k]: whether it can be in time after a round at it.
    std::vector<int> degrees;
    std::vector<bool> in_time;
  };

  int64_t RoundNanos(const World& world) const;
  Choice ChoicesOf(const World& world, JobIndex job, int gpus) const;
  int32_t StepsOfRound(const World& world, JobIndex job, int degree) const;
  void PlanRound(const World& world);
  void Knapsack(const World& world, const std::vector<Choice>& choices, int gpus);
  void UseIdle(const World& world, const std::vector<Choice>& choices, int gpus);
  void Place(const World& world);

  int64_t round_ns_ = 0;
  int64_t round_ends_ns_ = 0;
  std::vector<Share> shares_;
};

}  // namespace darkroom::simulator
