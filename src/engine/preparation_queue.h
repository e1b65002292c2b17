#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "engine/limits.h"

namespace darkroom::engine {

// Generations whose pictures must be decoded again, because a restart has found them: a few at a
// time, so that a long queue neither floods the decoder nor fails for want of it, and again after a
// while where the decoder could not. Belongs to the control thread.
class PreparationQueue {
 public:
  void Add(std::string name) { due_.push_back(std::move(name)); }

  // Those that are to be prepared now, oldest first; each is under way until Done or Again.
  std::vector<std::string> Next(int64_t now_ns) {
    std::vector<std::string> names;
    while (now_ns >= not_before_ns_ && under_way_ < kInputsPreparingMax && !due_.empty()) {
      names.push_back(std::move(due_.front()));
      due_.pop_front();
      ++under_way_;
    }
    return names;
  }
  void Done() { --under_way_; }
  // It could not be done now: it is first when the next are.
  void Again(std::string name, int64_t now_ns) {
    --under_way_;
    due_.push_front(std::move(name));
    not_before_ns_ = now_ns + kInputsRetryNs;
  }

 private:
  std::deque<std::string> due_;
  int under_way_ = 0;
  int64_t not_before_ns_ = 0;
};

}  // namespace darkroom::engine
