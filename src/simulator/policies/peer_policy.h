#pragma once

#include <vector>

#include "simulator/policy.h"
#include "simulator/weights.h"

namespace darkroom::simulator {

// What others' policies have in common: weights by use (LruWeights).
class PeerPolicy : public Policy {
 public:
  void OnGpuLost(const World& world, int gpu) override {
    if (world.workload.gpu_models > 0) weights_.Lose(gpu);
  }
  void OnLoaded(const World&, const WeightLoad& load, int64_t) override {
    weights_.Arrive(load.gpu, load.weights);
  }
  void TakeLoads(std::vector<WeightLoad>& loads) override { weights_.TakeLoads(loads); }

 protected:
  LruWeights weights_;
};

}  // namespace darkroom::simulator
