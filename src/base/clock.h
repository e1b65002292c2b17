#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace darkroom {

// Time, injected wherever a test or the simulator wants to own it. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Nanoseconds since an arbitrary origin; never goes back. For scheduling and accounting.
  virtual int64_t MonotonicNanos() const = 0;
  // For timestamps that people read.
  virtual absl::Time WallTime() const = 0;

  // The machine's own clock; lives for ever.
  static Clock& Real();
};

}  // namespace darkroom
