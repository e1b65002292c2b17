#pragma once

#include <cstdint>

namespace darkroom::scheduler {

// Lets `burst` through at once and `per_second` in the long run. Time comes from the caller.
class TokenBucket {
 public:
  // Both positive and finite; burst at least 1.
  TokenBucket(double per_second, double burst, int64_t now_ns)
      : per_second_(per_second), burst_(burst), tokens_(burst), at_ns_(now_ns) {}

  // Whether one was there, and takes it.
  bool Take(int64_t now_ns);
  // Until one is there; 0: now.
  int64_t Wait(int64_t now_ns) const;

 private:
  double TokensAt(int64_t now_ns) const;

  double per_second_;
  double burst_;
  double tokens_;
  int64_t at_ns_;
};

}  // namespace darkroom::scheduler
