#include "scheduler/token_bucket.h"

#include <algorithm>
#include <cmath>

namespace darkroom::scheduler {
namespace {

constexpr double kNanosPerSecond = 1e9;

}  // namespace

double TokenBucket::TokensAt(int64_t now_ns) const {
  const auto passed = static_cast<double>(std::max<int64_t>(0, now_ns - at_ns_));
  return std::min(burst_, tokens_ + passed / kNanosPerSecond * per_second_);
}

bool TokenBucket::Take(int64_t now_ns) {
  tokens_ = TokensAt(now_ns);
  at_ns_ = std::max(at_ns_, now_ns);
  if (tokens_ < 1.0) return false;
  tokens_ -= 1.0;
  return true;
}

int64_t TokenBucket::Wait(int64_t now_ns) const {
  const double missing = 1.0 - TokensAt(now_ns);
  if (missing <= 0) return 0;
  return static_cast<int64_t>(std::ceil(missing / per_second_ * kNanosPerSecond));
}

}  // namespace darkroom::scheduler
