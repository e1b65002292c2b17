#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <utility>

namespace darkroom::sim {

// Simulated time: closures ordered by when they are due, ties by when they were asked for. All
// randomness of a run comes from its seed.
class SimLoop {
 public:
  explicit SimLoop(uint64_t seed) : random_(seed) {}

  int64_t now_ns() const { return now_ns_; }
  void After(int64_t delay_ns, std::function<void()> action) {
    queue_.emplace(std::pair(now_ns_ + delay_ns, ++last_), std::move(action));
  }
  // False when nothing is left to do.
  bool Step() {
    if (queue_.empty()) return false;
    auto node = queue_.extract(queue_.begin());
    now_ns_ = node.key().first;
    node.mapped()();
    return true;
  }
  // Uniform in [low, high].
  int64_t Random(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  bool Chance(double probability) {
    return static_cast<double>(random_() % 1'000'000) < probability * 1'000'000;
  }
  uint64_t Bits() { return random_(); }

 private:
  std::mt19937_64 random_;
  int64_t now_ns_ = 1'000'000'000;
  uint64_t last_ = 0;
  std::map<std::pair<int64_t, uint64_t>, std::function<void()>> queue_;
};

}  // namespace darkroom::sim
