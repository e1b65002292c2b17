#pragma once

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "base/clock.h"

namespace darkroom::testing {

// Time that only the test moves. Thread-safe.
class FakeClock final : public Clock {
 public:
  int64_t MonotonicNanos() const override { return now_ns_.load(); }
  absl::Time WallTime() const override {
    return absl::FromUnixSeconds(1'700'000'000) + absl::Nanoseconds(now_ns_.load());
  }
  void Advance(absl::Duration by) { now_ns_ += absl::ToInt64Nanoseconds(by); }
  void Set(int64_t now_ns) { now_ns_ = now_ns; }

 private:
  std::atomic<int64_t> now_ns_{0};
};

}  // namespace darkroom::testing
