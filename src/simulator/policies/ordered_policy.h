#pragma once

#include "simulator/policies/peer_policy.h"

namespace darkroom::simulator {

// Policies that sort what waits anew at every step and pack from the front.
class OrderedPolicy final : public PeerPolicy {
 public:
  enum class Order {
    kDeadline,   // EDF
    kRemaining,  // shortest remaining time first
  };
  OrderedPolicy(std::string_view name, Order order, bool equal_keys, int degree)
      : name_(name), order_(order), equal_keys_(equal_keys), degree_(degree) {}

  std::string_view name() const override { return name_; }
  void Decide(const World& world, std::vector<Quantum>& start,
              std::vector<JobIndex>& refused) override;

 private:
  const std::string_view name_;
  const Order order_;
  const bool equal_keys_;
  const int degree_;  // accelerators that run each batch together
};

}  // namespace darkroom::simulator
